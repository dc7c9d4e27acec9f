//! Keeps the instances of functions running.

mod attached;
mod cgroup;
mod docker;
mod environment;
mod owner;
mod process;
mod rights;
mod secrets;
mod supervisor;

use std::sync::Arc;

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use tokio::net::TcpListener;

use self::attached::Attached;
pub(crate) use self::attached::Link;
pub(crate) use self::docker::reap;
use self::docker::{Container, Engine};
pub(crate) use self::process::{Become, exec_child};
use self::process::{Process, Processes};
use self::supervisor::describe;
pub(crate) use self::supervisor::{Relayed, supervise, supervise_attached};
use crate::function::Function;
use crate::instance::Instance;
use crate::logs::LogSink;
use crate::manifest::FunctionConfig;

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
    Attached(Attached),
}

/// How a body ended.
pub(crate) struct Exit {
    /// The words that AWS has for it.
    pub(crate) reason: String,
    /// Whether the kernel ended it, or a part of it, for want of memory.
    pub(crate) out_of_memory: bool,
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

    /// Whether functions say what this driver runs, but those whose instances attach, and as whom it
    /// can.
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
        let lacking = functions
            .clone()
            .filter(|function| !function.attached && lacks(function));
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
            // Its agent does.
            Self::Attached(_) => Ok(()),
        }
    }

    /// Waits for the end, which need not be the first wait.
    async fn ended(&mut self) -> Exit {
        match self {
            Self::Process(process) => process.ended().await,
            Self::Container(container) => container.ended().await,
            Self::Attached(attached) => attached.ended().await,
        }
    }

    async fn signal(&mut self, signal: Signal) {
        match self {
            Self::Process(process) => process.signal(signal),
            Self::Container(container) => container.signal(signal).await,
            Self::Attached(attached) => attached.signal(signal),
        }
    }

    /// Waits for the last lines, and leaves nothing behind.
    async fn finish(self) {
        match self {
            Self::Process(process) => process.finish().await,
            Self::Container(container) => container.finish().await,
            // Its end is that of the connection.
            Self::Attached(attached) => drop(attached),
        }
    }
}
