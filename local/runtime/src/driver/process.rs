//! Instances as processes of this machine.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Gid, Pid, Uid, geteuid, getppid};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Exit;
use super::cgroup::{Cgroup, Cgroups};
use super::environment::environment;
use super::owner::Owner;
use super::rights;
use super::secrets::Secrets;
use crate::function::{Function, locked};
use crate::instance::Instance;
use crate::logs::{self, LogSink};
use crate::manifest::FunctionConfig;

/// Time for the last lines of an ended process, whose children may still hold the pipe.
const LAST_LINES_WAIT: Duration = Duration::from_millis(200);

/// The process driver.
pub(crate) struct Processes {
    cgroups: Option<Cgroups>,
    /// Where functions of another user have theirs, once there is one.
    secrets: Mutex<Option<Secrets>>,
}

impl Processes {
    /// Processes without limits.
    pub(super) fn unlimited() -> Self {
        Self {
            cgroups: None,
            secrets: Mutex::default(),
        }
    }

    /// Processes with limits of memory and of processes where control groups are writable, which
    /// they may not be: then the log says so.
    pub(super) fn limited() -> Self {
        let cgroups = Cgroups::open()
            .inspect_err(|error| tracing::info!("memory_mb is not enforced: {error:#}"))
            .ok();
        Self {
            cgroups,
            secrets: Mutex::default(),
        }
    }

    /// Whether the processes have limits.
    pub(super) fn are_limited(&self) -> bool {
        self.cgroups.is_some()
    }

    /// A process that waits to become the function.
    ///
    /// # Errors
    /// If none can be started, or it cannot be limited.
    pub(super) fn prepare(
        &self,
        function: &Function,
        instance: &Instance,
    ) -> anyhow::Result<Process> {
        let config = &function.config;
        let cgroup = self
            .cgroups
            .as_ref()
            .map(|cgroups| cgroups.create(&instance.name, config.memory_mb))
            .transpose()
            .context("cannot limit an instance's memory")?;
        let user = config.user.as_ref().map(rights::ids).transpose()?;
        let child = command(function, instance, cgroup.as_ref(), user)
            .envs(self.secrets(config, user)?)
            .spawn()
            .with_context(|| format!("cannot run {:?}", config.command))?;
        instance.set_pid(child.id().unwrap_or_default());
        Ok(Process {
            group: child.id().and_then(|id| i32::try_from(id).ok()),
            child,
            cgroup,
            lines: JoinSet::new(),
        })
    }
}

impl Processes {
    /// The variables that lead to a function's secrets: the files themselves, or copies if it is to
    /// run as another user.
    fn secrets(
        &self,
        config: &FunctionConfig,
        user: Option<(Uid, Gid)>,
    ) -> anyhow::Result<BTreeMap<String, PathBuf>> {
        let Some((uid, gid)) = user.filter(|(uid, _)| *uid != geteuid()) else {
            return Ok(config.secrets.clone());
        };
        if config.secrets.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut secrets = locked(&self.secrets);
        let secrets = match &mut *secrets {
            Some(secrets) => secrets,
            none => none.insert(Secrets::new(Owner::this()?)?),
        };
        let folder = secrets.provide(config, (uid.as_raw(), gid.as_raw()))?;
        let names = config.secrets.keys();
        Ok(names
            .map(|name| (name.clone(), folder.join(name)))
            .collect())
    }

    /// Removes what is left when no instance runs any more.
    pub(super) fn finish(&self) {
        if let Some(secrets) = locked(&self.secrets).take() {
            secrets.remove();
        }
    }
}

/// One process, and what it starts.
pub(super) struct Process {
    child: Child,
    group: Option<i32>,
    cgroup: Option<Cgroup>,
    lines: JoinSet<()>,
}

impl Process {
    /// Lets it become the function.
    ///
    /// # Errors
    /// If it is not waiting any more.
    pub(super) async fn start(
        &mut self,
        function: &Arc<Function>,
        instance: &Arc<Instance>,
        sink: &LogSink,
    ) -> anyhow::Result<()> {
        let (function, instance) = (Arc::clone(function), Arc::clone(instance));
        if let Some(stdout) = self.child.stdout.take() {
            let (function, instance) = (Arc::clone(&function), Arc::clone(&instance));
            let lines = logs::pump(stdout, "INFO", function, instance, sink.clone());
            self.lines.spawn(lines);
        }
        if let Some(stderr) = self.child.stderr.take() {
            let lines = logs::pump(stderr, "WARN", function, instance, sink.clone());
            self.lines.spawn(lines);
        }
        let mut stdin = self.child.stdin.take().context("started twice")?;
        // One that has ended already says why in its last lines.
        let _ended = stdin.write_all(b"\n").await;
        Ok(())
    }

    pub(super) async fn ended(&mut self) -> Exit {
        let status = self.child.wait().await;
        Exit {
            reason: describe(&status),
            out_of_memory: self.cgroup.as_ref().is_some_and(Cgroup::ran_out_of_memory),
        }
    }

    /// Signals the process and what it started. The process is not waited for yet, so its id is
    /// still its own.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group
            && let Err(error) = killpg(Pid::from_raw(group), signal)
        {
            tracing::debug!("cannot send {signal} to {group}: {error}");
        }
    }

    pub(super) async fn finish(mut self) {
        let _cut_short = timeout(LAST_LINES_WAIT, async {
            while self.lines.join_next().await.is_some() {}
        })
        .await;
    }
}

fn describe(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
            (None, Some(signal)) => {
                let name = Signal::try_from(signal).map_or("unknown signal", Signal::as_str);
                format!("Runtime exited with error: signal: {name}")
            }
            (None, None) => "Runtime exited without providing a reason".to_owned(),
        },
        Err(error) => format!("Runtime exited, status unknown: {error}"),
    }
}

/// This very program runs the function's command in place of itself: see [`exec_child`].
fn command(
    function: &Function,
    instance: &Instance,
    cgroup: Option<&Cgroup>,
    user: Option<(Uid, Gid)>,
) -> Command {
    let config = &function.config;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("exec-child")
        .arg(std::process::id().to_string());
    for folder in cgroup.into_iter().flat_map(Cgroup::folders) {
        command.arg("--cgroup").arg(folder);
    }
    if let Some(program) = &function.version.program {
        command.arg("--program").arg(program.path());
    }
    if let Some((uid, gid)) = user {
        command.arg("--uid").arg(uid.to_string());
        command.arg("--gid").arg(gid.to_string());
    }
    command
        .arg("--")
        .args(&config.command)
        .env_clear()
        .envs(environment(config, instance))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// What a process of a function is to become.
#[derive(clap::Args)]
pub(crate) struct Become {
    /// The runtime: the process ends with it
    parent: u32,
    /// Control groups to join
    #[arg(long)]
    cgroup: Vec<PathBuf>,
    /// The file of COMMAND's program
    #[arg(long)]
    program: Option<PathBuf>,
    /// The user to be
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    #[arg(long, requires = "uid")]
    gid: Option<u32>,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Becomes another program when a byte comes on standard input: a member of its control groups, bound
/// to die with the runtime, with the rights of its user and without a way to more.
///
/// The kernel sends the signal when the thread that started this process ends, which is the
/// runtime's only one.
///
/// # Errors
/// Returns only if the command cannot be run, or the runtime is gone already.
pub(crate) fn exec_child(this: &Become) -> anyhow::Result<Infallible> {
    for folder in &this.cgroup {
        super::cgroup::join(folder).context("cannot join the control group")?;
    }
    // The user may have no way to it.
    let program = this.program.as_ref().map(File::open).transpose();
    let program = program.context("cannot open the program")?;
    if let (Some(uid), Some(gid)) = (this.uid, this.gid) {
        rights::become_user(uid, gid).context("cannot become the user")?;
    }
    // Forgotten when the user changes.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("cannot set the death signal")?;
    nix::sys::prctl::set_no_new_privs().context("cannot give up new privileges")?;
    if u32::try_from(getppid().as_raw()) != Ok(this.parent) {
        return Err(Errno::ESRCH).context("the runtime ended before its function began");
    }
    rights::refuse_calls().context("cannot refuse system calls")?;
    let (name, arguments) = this.command.split_first().context("no command")?;
    io::stdin()
        .read_exact(&mut [0])
        .context("not needed any more")?;
    let path = match &program {
        Some(program) => format!("/proc/self/fd/{}", program.as_raw_fd()),
        None => name.clone(),
    };
    let error = std::process::Command::new(path)
        .arg0(name)
        .args(arguments)
        .stdin(Stdio::null())
        .exec();
    Err(error).with_context(|| format!("cannot run {name}"))
}
