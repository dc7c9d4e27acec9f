//! The process driver: keeps the instances of a function running.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getppid};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::call::Failure;
use crate::dispatch::{InstanceId, Phase};
use crate::function::Function;
use crate::instance::{self, Instance};
use crate::logs::{self, LogSink};
use crate::manifest::FunctionConfig;
use crate::program::SEARCHED;
use crate::runtime_api::RuntimeApi;
use crate::server::{self, Bounds};

/// First and longest pause before a failed instance is replaced.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// An instance that ran this long had no bad start.
const SETTLED_AFTER: Duration = Duration::from_secs(30);
/// Time between SIGTERM and SIGKILL.
const TERMINATION_GRACE: Duration = Duration::from_millis(500);
/// Time for the last lines of an ended process, whose children may still hold the pipe.
const LAST_LINES_WAIT: Duration = Duration::from_millis(200);
/// An instance may hold twice as many connections as it can take invocations, and some more; it
/// leaves them open while it works.
const INSTANCE: Bounds = Bounds {
    connections_max: 4096,
    per_ip_max: 4096,
    patient: true,
};
const REGION: &str = "ap-northeast-2";

/// How an instance came to its end.
enum End {
    /// The runtime is stopping, or the instance is not needed any more.
    Stopped,
    /// It was killed for being stuck.
    Killed,
    /// It ended by itself.
    Failed,
}

/// Keeps one instance of `function` running until it is retired or `stop`.
pub(crate) async fn supervise(function: Arc<Function>, sink: LogSink, stop: CancellationToken) {
    let mut backoff = BACKOFF_MIN;
    let mut next = function.next_instance();
    while !stop.is_cancelled() {
        let started = std::time::Instant::now();
        match run(&function, next, &sink, &stop).await {
            Ok(End::Stopped) => return,
            Ok(End::Killed) => {
                function.metrics.restarts.increment(1);
                next = function.next_instance();
                continue;
            }
            Ok(End::Failed) => next = function.next_instance(),
            // The number is not used up: the instance was never there.
            Err(error) => {
                let name = &function.config.name;
                tracing::error!(function = name, "cannot start an instance: {error:#}");
            }
        }
        function.metrics.restarts.increment(1);
        if started.elapsed() >= SETTLED_AFTER {
            backoff = BACKOFF_MIN;
        }
        function.restarts_in(next, backoff);
        let _stopping = timeout(backoff, stop.cancelled()).await;
        backoff = BACKOFF_MAX.min(backoff * 2);
    }
}

async fn run(
    function: &Arc<Function>,
    id: InstanceId,
    sink: &LogSink,
    stop: &CancellationToken,
) -> anyhow::Result<End> {
    let listener = instance::bind()
        .await
        .context("no free address in 127.0.0.0/8")?;
    let instance = Arc::new(Instance::new(
        &function.config.name,
        id,
        listener.local_addr()?,
    ));
    let mut child = command(function, &instance)
        .spawn()
        .with_context(|| format!("cannot run {:?}", function.config.command))?;
    instance.set_pid(child.id().unwrap_or_default());
    function.add_instance(Arc::clone(&instance));

    let api = Arc::new(RuntimeApi::new(Arc::clone(function), Arc::clone(&instance)));
    let serving = server::serve(listener, INSTANCE, CancellationToken::new(), api);
    // Dropped at the end, which ends the connections.
    let mut tasks = JoinSet::new();
    tasks.spawn(serving);
    let mut lines = pump_lines(&mut child, function, &instance, sink);

    let (end, status) = await_end(&mut child, &instance, stop).await;
    let ready = matches!(function.instance_state(id), Some((Phase::Ready, _)));
    function.remove_instance(id, &Failure::Exited(describe(&status)));
    let _cut_short = timeout(LAST_LINES_WAIT, async {
        while lines.join_next().await.is_some() {}
    })
    .await;
    if matches!(end, End::Failed) {
        log_end(function, &instance, ready, &describe(&status));
    }
    Ok(end)
}

fn log_end(function: &Function, instance: &Instance, ready: bool, end: &str) {
    tracing::error!(
        function = function.config.name,
        instance = &*instance.name,
        ready,
        log = instance.log_tail(),
        "the instance ended: {end}"
    );
}

fn pump_lines(
    child: &mut Child,
    function: &Arc<Function>,
    instance: &Arc<Instance>,
    sink: &LogSink,
) -> JoinSet<()> {
    let mut lines = JoinSet::new();
    let (function, instance) = (Arc::clone(function), Arc::clone(instance));
    if let Some(stdout) = child.stdout.take() {
        let (function, instance) = (Arc::clone(&function), Arc::clone(&instance));
        lines.spawn(logs::pump(stdout, "INFO", function, instance, sink.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        lines.spawn(logs::pump(stderr, "WARN", function, instance, sink.clone()));
    }
    lines
}

/// Waits until the process ends, by itself or because it is told to.
async fn await_end(
    child: &mut Child,
    instance: &Instance,
    stop: &CancellationToken,
) -> (End, io::Result<ExitStatus>) {
    let end = tokio::select! {
        status = child.wait() => return (End::Failed, status),
        () = instance.kill.notified() => End::Killed,
        () = instance.retire.notified() => End::Stopped,
        () = stop.cancelled() => End::Stopped,
    };
    if matches!(end, End::Stopped) {
        signal(instance, Signal::SIGTERM);
        if let Ok(status) = timeout(TERMINATION_GRACE, child.wait()).await {
            return (end, status);
        }
    }
    signal(instance, Signal::SIGKILL);
    (end, child.wait().await)
}

/// Signals the process and what it started. The process is not waited for yet, so its id is
/// still its own.
fn signal(instance: &Instance, signal: Signal) {
    let group = i32::try_from(instance.pid()).map(Pid::from_raw);
    if let Ok(group) = group
        && let Err(error) = killpg(group, signal)
    {
        tracing::debug!(instance = &*instance.name, "cannot send {signal}: {error}");
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
fn command(function: &Function, instance: &Instance) -> Command {
    let config = &function.config;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("exec-child")
        .arg(std::process::id().to_string());
    if let Some(program) = &function.version.program {
        command.arg("--program").arg(program.path());
    }
    command
        .arg("--")
        .args(&config.command)
        .env_clear()
        .envs(environment(config, instance))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// The environment of an instance: AWS's, then the manifest's, and nothing of the runtime's own.
fn environment(config: &FunctionConfig, instance: &Instance) -> Vec<(String, String)> {
    let name = &config.name;
    let mut variables: Vec<(String, String)> = [
        ("AWS_LAMBDA_RUNTIME_API", instance.address.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        (
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            config.memory_mb.to_string(),
        ),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", instance.name.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("_HANDLER", name.clone()),
        ("TZ", ":UTC".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("PATH", SEARCHED.to_owned()),
        (
            "LOCAL_LAMBDA_METRICS_ADDR",
            instance.metrics_address().to_string(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    // Its mere presence makes some clients poll many times at once.
    if let Some(concurrency) = config.concurrency {
        variables.push((
            "AWS_LAMBDA_MAX_CONCURRENCY".to_owned(),
            concurrency.to_string(),
        ));
    }
    variables.extend(config.environment.clone());
    let secrets = config.secrets.iter();
    variables.extend(secrets.map(|(name, path)| (name.clone(), path.display().to_string())));
    variables
}

/// Becomes `command`, of which the program is in `file` if that is given, bound to die with the process `parent`, and without a way to more rights.
///
/// The kernel sends the signal when the thread that started this process ends, which is the
/// runtime's only one.
///
/// # Errors
/// Returns only if the command cannot be run, or `parent` is gone already.
pub(crate) fn exec_child(
    parent: u32,
    file: Option<&Path>,
    command: &[String],
) -> anyhow::Result<std::convert::Infallible> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("cannot set the death signal")?;
    nix::sys::prctl::set_no_new_privs().context("cannot give up new privileges")?;
    if u32::try_from(getppid().as_raw()) != Ok(parent) {
        return Err(Errno::ESRCH).context("the runtime ended before its function began");
    }
    let (program, arguments) = command.split_first().context("no command")?;
    let error = std::process::Command::new(file.unwrap_or(Path::new(program)))
        .arg0(program)
        .args(arguments)
        .exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}
