//! Instances as processes of this machine.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getppid};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Exit;
use super::cgroup::{Cgroup, Cgroups};
use super::environment::environment;
use crate::function::Function;
use crate::instance::Instance;
use crate::logs::{self, LogSink};

/// Time for the last lines of an ended process, whose children may still hold the pipe.
const LAST_LINES_WAIT: Duration = Duration::from_millis(200);

/// The process driver.
pub(crate) struct Processes {
    cgroups: Option<Cgroups>,
}

impl Processes {
    /// Processes without limits.
    pub(super) fn unlimited() -> Self {
        Self { cgroups: None }
    }

    /// Processes with limits of memory and of processes where control groups are writable, which
    /// they may not be: then the log says so.
    pub(super) fn limited() -> Self {
        let cgroups = Cgroups::open()
            .inspect_err(|error| tracing::info!("memory_mb is not enforced: {error:#}"))
            .ok();
        Self { cgroups }
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
        let child = command(function, instance, cgroup.as_ref())
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
fn command(function: &Function, instance: &Instance, cgroup: Option<&Cgroup>) -> Command {
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
    let secrets = config.secrets.iter();
    command
        .arg("--")
        .args(&config.command)
        .env_clear()
        .envs(environment(config, instance))
        .envs(secrets)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Becomes `command`, of which the program is in `file` if that is given, when a byte comes on standard
/// input: a member of the control groups at
/// `cgroups`, bound to die with the process `parent`, and without a way to more rights.
///
/// The kernel sends the signal when the thread that started this process ends, which is the
/// runtime's only one.
///
/// # Errors
/// Returns only if the command cannot be run, or `parent` is gone already.
pub(crate) fn exec_child(
    parent: u32,
    cgroups: &[PathBuf],
    file: Option<&Path>,
    command: &[String],
) -> anyhow::Result<std::convert::Infallible> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("cannot set the death signal")?;
    nix::sys::prctl::set_no_new_privs().context("cannot give up new privileges")?;
    if u32::try_from(getppid().as_raw()) != Ok(parent) {
        return Err(Errno::ESRCH).context("the runtime ended before its function began");
    }
    for folder in cgroups {
        super::cgroup::join(folder).context("cannot join the control group")?;
    }
    let (program, arguments) = command.split_first().context("no command")?;
    io::stdin()
        .read_exact(&mut [0])
        .context("not needed any more")?;
    let error = std::process::Command::new(file.unwrap_or(Path::new(program)))
        .arg0(program)
        .args(arguments)
        .stdin(Stdio::null())
        .exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}
