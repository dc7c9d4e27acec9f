//! What the first process of a container owes the others.

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::Fleet;

/// Waits for the processes that the fleet's functions have left behind, if they come to this one because it is
/// the first of its container; else they would stay there as zombies.
///
/// # Errors
/// If the signal that tells of ended processes cannot be had.
pub(crate) async fn reap_orphans(fleet: &Fleet) -> std::io::Result<()> {
    let mut ended = signal(SignalKind::child())?;
    while ended.recv().await.is_some() {
        // An instance's own process is waited for by its driver.
        while let Some(pid) = first_ended().filter(|pid| !is_instance(fleet, *pid)) {
            let _reaped = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
    }
    Ok(())
}

/// A process that has ended; it stays to be waited for.
fn first_ended() -> Option<Pid> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    waitid(Id::All, flags).ok()?.pid()
}

fn is_instance(fleet: &Fleet, pid: Pid) -> bool {
    let versions = fleet.versions();
    let instances = versions.iter().flat_map(|version| version.instances());
    instances
        .into_iter()
        .any(|instance| i32::try_from(instance.pid) == Ok(pid.as_raw()))
}
