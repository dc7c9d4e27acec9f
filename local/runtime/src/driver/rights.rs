//! What a function's process may do: as little as a function needs.
//!
//! Source: Linux manual, `credentials(7)`, `seccomp(2)`, `PR_SET_PDEATHSIG(2const)`; the refused
//! calls are those that Docker's own profile refuses to a container without capabilities.

use std::env::consts::ARCH;

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::libc::{
    CLONE_NEWUSER, SYS_acct, SYS_add_key, SYS_bpf, SYS_clock_adjtime, SYS_clock_settime, SYS_clone,
    SYS_clone3, SYS_delete_module, SYS_finit_module, SYS_fsconfig, SYS_fsmount, SYS_fsopen,
    SYS_fspick, SYS_init_module, SYS_io_uring_enter, SYS_io_uring_register, SYS_io_uring_setup,
    SYS_kcmp, SYS_kexec_file_load, SYS_kexec_load, SYS_keyctl, SYS_mount, SYS_mount_setattr,
    SYS_move_mount, SYS_open_by_handle_at, SYS_open_tree, SYS_perf_event_open, SYS_pidfd_getfd,
    SYS_pivot_root, SYS_process_vm_readv, SYS_process_vm_writev, SYS_ptrace, SYS_quotactl,
    SYS_reboot, SYS_request_key, SYS_setdomainname, SYS_sethostname, SYS_setns, SYS_settimeofday,
    SYS_swapoff, SYS_swapon, SYS_syslog, SYS_umount2, SYS_unshare, SYS_userfaultfd, SYS_vhangup,
    c_long,
};
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::manifest::User;

/// Calls that administer the machine or look into other processes.
const REFUSED: &[c_long] = &[
    SYS_acct,
    SYS_add_key,
    SYS_bpf,
    SYS_clock_adjtime,
    SYS_clock_settime,
    SYS_delete_module,
    SYS_finit_module,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_fspick,
    SYS_init_module,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_io_uring_setup,
    SYS_kcmp,
    SYS_kexec_file_load,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_mount,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_open_by_handle_at,
    SYS_open_tree,
    SYS_perf_event_open,
    SYS_pidfd_getfd,
    SYS_pivot_root,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_ptrace,
    SYS_quotactl,
    SYS_reboot,
    SYS_request_key,
    SYS_setdomainname,
    SYS_sethostname,
    SYS_setns,
    SYS_settimeofday,
    SYS_swapoff,
    SYS_swapon,
    SYS_syslog,
    SYS_umount2,
    SYS_unshare,
    SYS_userfaultfd,
    SYS_vhangup,
];

/// The ids of a user whose processes this runtime can start.
///
/// # Errors
/// If there is no such user, or this process may not become it.
pub(super) fn ids(user: &User) -> anyhow::Result<(Uid, Gid)> {
    let (uid, gid) = match user {
        User::Numbered { uid, gid } => (Uid::from_raw(*uid), Gid::from_raw(*gid)),
        User::Named(name) => {
            let known = nix::unistd::User::from_name(name)?;
            let known = known.with_context(|| format!("there is no user {name}"))?;
            (known.uid, known.gid)
        }
    };
    let (own, root) = (geteuid(), geteuid().is_root());
    ensure!(
        root || uid == own,
        "only root can run a function as the user {uid}: this runtime runs as {own}"
    );
    Ok((uid, gid))
}

/// Gives up every right but those of a user, with no other group.
///
/// # Errors
/// If this process may not become that user.
pub(super) fn become_user(uid: u32, gid: u32) -> nix::Result<()> {
    if geteuid().is_root() {
        let gid = Gid::from_raw(gid);
        setgroups(&[gid])?;
        setgid(gid)?;
    }
    setuid(Uid::from_raw(uid))
}

/// Has the kernel refuse what no function needs, to this process and to what it starts.
///
/// # Errors
/// If the kernel cannot.
pub(super) fn refuse_calls() -> anyhow::Result<()> {
    let mut refused: Vec<_> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let user_namespace = u64::try_from(CLONE_NEWUSER)?;
    let condition = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(user_namespace),
        user_namespace,
    )?;
    refused.push((SYS_clone, vec![SeccompRule::new(vec![condition])?]));
    apply(refused, Errno::EPERM)?;
    // Its flags are out of a filter's sight; C libraries then fall back to `clone`.
    apply(vec![(SYS_clone3, Vec::new())], Errno::ENOSYS)
}

fn apply(calls: Vec<(c_long, Vec<SeccompRule>)>, errno: Errno) -> anyhow::Result<()> {
    let filter = SeccompFilter::new(
        calls.into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(u32::try_from(errno as i32)?),
        ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
