//! Keeps the instances of functions running.

mod cgroup;
mod docker;
mod environment;
mod owner;
mod process;
mod rights;
mod secrets;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use self::docker::reap;
use self::docker::{Container, Engine};
pub(crate) use self::process::{Become, exec_child};
use self::process::{Process, Processes};
use crate::call::Failure;
use crate::dispatch::{InstanceId, Phase};
use crate::function::Function;
use crate::instance::{self, Instance};
use crate::logs::LogSink;
use crate::manifest::FunctionConfig;
use crate::runtime_api::RuntimeApi;
use crate::server::{self, Bounds, Until};

/// First and longest pause before a failed instance is replaced.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// An instance that ran this long had no bad start.
const SETTLED_AFTER: Duration = Duration::from_secs(30);
/// Time between SIGTERM and SIGKILL.
const TERMINATION_GRACE: Duration = Duration::from_millis(500);
/// An instance may hold twice as many connections as it can take invocations, and some more; it
/// leaves them open while it works.
const INSTANCE: Bounds = Bounds {
    connections_max: 4096,
    per_ip_max: 4096,
    patient: true,
};
/// Most processes and threads of one instance, as on AWS.
const PIDS_MAX: u32 = 1024;

/// Which driver is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Each instance is a process, limited where control groups are writable
    Process,
    /// Each instance is a container
    Docker,
    /// Each instance is a process, limited by nothing but what limits the runtime.
    #[value(skip)]
    Unlimited,
}

/// What instances are made of.
pub(crate) enum Driver {
    /// Processes of this machine.
    Process(Processes),
    /// Containers of a Docker engine on this machine.
    Docker(Arc<Engine>),
}

/// An instance that is not started yet.
pub(crate) struct Spare {
    instance: Instance,
    listener: TcpListener,
    /// Absent if it is to be made with the start.
    body: Option<Body>,
}

/// What one instance is made of.
enum Body {
    Process(Process),
    Container(Container),
}

/// How a body ended.
struct Exit {
    /// The words that AWS has for it.
    reason: String,
    /// Whether the kernel ended it, or a part of it, for want of memory.
    out_of_memory: bool,
}

/// How an instance came to its end.
enum End {
    /// The runtime is stopping, or the instance is not needed any more.
    Stopped,
    /// It was killed for being stuck.
    Killed,
    /// It ended by itself.
    Failed,
}

impl Driver {
    /// Takes what the driver needs.
    ///
    /// # Errors
    /// If there is no Docker engine for it.
    pub(crate) async fn open(kind: Kind) -> anyhow::Result<Self> {
        Ok(match kind {
            Kind::Process => Self::Process(Processes::limited()),
            Kind::Docker => Self::Docker(Arc::new(Engine::open().await?)),
            Kind::Unlimited => Self::Process(Processes::unlimited()),
        })
    }

    /// Whether functions say what this driver runs, and as whom it can.
    ///
    /// # Errors
    /// Names those that do not.
    pub(crate) fn check<'a>(
        &self,
        functions: impl Iterator<Item = &'a FunctionConfig> + Clone,
    ) -> anyhow::Result<()> {
        let (member, lacks): (_, fn(&FunctionConfig) -> bool) = match self {
            Self::Process(_) => ("command", |function| function.command.is_empty()),
            Self::Docker(_) => ("image", |function| function.image.is_none()),
        };
        let lacking = functions.clone().filter(|function| lacks(function));
        let lacking: Vec<&str> = lacking.map(|function| function.name.as_str()).collect();
        ensure!(
            lacking.is_empty(),
            "no {member}, which this driver needs: {}",
            lacking.join(", ")
        );
        if let Self::Process(_) = self {
            for function in functions {
                let user = function.user.as_ref().map(rights::ids).transpose();
                user.with_context(|| format!("user of {}", function.name))?;
            }
        }
        Ok(())
    }

    /// Removes what is left when no instance runs any more.
    pub(crate) async fn finish(&self) {
        match self {
            Self::Process(processes) => processes.finish(),
            Self::Docker(engine) => engine.finish().await,
        }
    }

    /// Whether starting takes so long that it pays to have done most of it before.
    pub(crate) fn keeps_spares(&self) -> bool {
        match self {
            Self::Process(processes) => processes.are_limited(),
            Self::Docker(_) => true,
        }
    }

    /// Makes an instance that only has to be started.
    ///
    /// # Errors
    /// If there is no address for it, or what it is made of cannot be had.
    pub(crate) async fn spare(&self, function: &Function) -> anyhow::Result<Spare> {
        let mut spare = describe(function, function.next_instance()).await?;
        let body = self.prepare(function, &spare.instance).await?;
        spare.body = Some(body);
        Ok(spare)
    }

    async fn prepare(&self, function: &Function, instance: &Instance) -> anyhow::Result<Body> {
        match self {
            Self::Process(processes) => Ok(Body::Process(processes.prepare(function, instance)?)),
            Self::Docker(engine) => Ok(Body::Container(engine.prepare(function, instance).await?)),
        }
    }
}

impl Spare {
    /// Leaves nothing of it behind.
    pub(crate) async fn discard(self) {
        if let Some(body) = self.body {
            body.finish().await;
        }
    }
}

impl Body {
    async fn start(
        &mut self,
        function: &Arc<Function>,
        instance: &Arc<Instance>,
        sink: &LogSink,
    ) -> anyhow::Result<()> {
        match self {
            Self::Process(process) => process.start(function, instance, sink).await,
            Self::Container(container) => container.start(function, instance, sink).await,
        }
    }

    /// Waits for the end, which need not be the first wait.
    async fn ended(&mut self) -> Exit {
        match self {
            Self::Process(process) => process.ended().await,
            Self::Container(container) => container.ended().await,
        }
    }

    async fn signal(&mut self, signal: Signal) {
        match self {
            Self::Process(process) => process.signal(signal),
            Self::Container(container) => container.signal(signal).await,
        }
    }

    /// Waits for the last lines, and leaves nothing behind.
    async fn finish(self) {
        match self {
            Self::Process(process) => process.finish().await,
            Self::Container(container) => container.finish().await,
        }
    }
}

/// Keeps one instance of `function` running until it is retired or `stop`; the first is `spare`, if
/// there is one.
pub(crate) async fn supervise(
    function: Arc<Function>,
    driver: Arc<Driver>,
    mut spare: Option<Spare>,
    sink: LogSink,
    stop: CancellationToken,
) {
    let mut backoff = BACKOFF_MIN;
    let first = spare.as_ref().map(|spare| spare.instance.id);
    let mut next = first.unwrap_or_else(|| function.next_instance());
    while !stop.is_cancelled() {
        let started = Instant::now();
        match run(&function, next, spare.take(), &driver, &sink, &stop).await {
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

async fn describe(function: &Function, id: InstanceId) -> anyhow::Result<Spare> {
    let listener = instance::bind()
        .await
        .context("no free address in 127.0.0.0/8")?;
    let instance = Instance::new(&function.config.name, id, listener.local_addr()?);
    Ok(Spare {
        instance,
        listener,
        body: None,
    })
}

/// Runs one instance until its end.
async fn run(
    function: &Arc<Function>,
    id: InstanceId,
    spare: Option<Spare>,
    driver: &Driver,
    sink: &LogSink,
    stop: &CancellationToken,
) -> anyhow::Result<End> {
    let Spare {
        mut instance,
        listener,
        body,
    } = match spare {
        Some(spare) => spare,
        None => describe(function, id).await?,
    };
    instance.started = Instant::now();
    let instance = Arc::new(instance);
    function.add_instance(Arc::clone(&instance));
    let api = Arc::new(RuntimeApi::new(Arc::clone(function), Arc::clone(&instance)));
    let serving = server::serve(listener, INSTANCE, Until::default(), api);
    // Dropped at the end, which ends the connections.
    let mut tasks = JoinSet::new();
    tasks.spawn(serving);
    // Not broken off: what the driver has begun to make would be nobody's to remove.
    match start(function, &instance, body, driver, sink).await {
        Ok(body) => Ok(run_to_end(function, &instance, body, stop).await),
        Err(error) => {
            function.remove_instance(id, &Failure::Exited(format!("{error:#}")));
            if stop.is_cancelled() {
                Ok(End::Stopped)
            } else {
                Err(error)
            }
        }
    }
}

async fn start(
    function: &Arc<Function>,
    instance: &Arc<Instance>,
    body: Option<Body>,
    driver: &Driver,
    sink: &LogSink,
) -> anyhow::Result<Body> {
    let mut body = match body {
        Some(body) => body,
        None => driver.prepare(function, instance).await?,
    };
    match body.start(function, instance, sink).await {
        Ok(()) => Ok(body),
        Err(error) => {
            body.finish().await;
            Err(error)
        }
    }
}

async fn run_to_end(
    function: &Function,
    instance: &Instance,
    mut body: Body,
    stop: &CancellationToken,
) -> End {
    let (end, exit) = await_end(&mut body, instance, stop).await;
    let ready = matches!(
        function.instance_state(instance.id),
        Some((Phase::Ready, _))
    );
    function.remove_instance(instance.id, &Failure::Exited(exit.reason.clone()));
    body.finish().await;
    if exit.out_of_memory {
        function.metrics.out_of_memory.increment(1);
    }
    if matches!(end, End::Failed) {
        log_end(function, instance, ready, &exit);
    }
    end
}

/// Waits until the body ends, by itself or because it is told to.
async fn await_end(body: &mut Body, instance: &Instance, stop: &CancellationToken) -> (End, Exit) {
    let end = tokio::select! {
        exit = body.ended() => return (End::Failed, exit),
        () = instance.kill.notified() => End::Killed,
        () = instance.retire.notified() => End::Stopped,
        () = stop.cancelled() => End::Stopped,
    };
    if matches!(end, End::Stopped) {
        body.signal(Signal::SIGTERM).await;
        if let Ok(exit) = timeout(TERMINATION_GRACE, body.ended()).await {
            return (end, exit);
        }
    }
    body.signal(Signal::SIGKILL).await;
    (end, body.ended().await)
}

fn log_end(function: &Function, instance: &Instance, ready: bool, exit: &Exit) {
    let memory = if exit.out_of_memory {
        format!(
            ", out of memory at memory_mb = {}",
            function.config.memory_mb
        )
    } else {
        String::new()
    };
    tracing::error!(
        function = function.config.name,
        instance = &*instance.name,
        ready,
        log = instance.log_tail(),
        "the instance ended: {}{memory}",
        exit.reason
    );
}
