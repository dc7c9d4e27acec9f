//! Runs instances from their start to their end, and replaces those that end by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::join;
use nix::sys::signal::Signal;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::attached::{Attached, Link};
use super::{Body, Driver, Exit, Spare};
use crate::attach::{Order, line};
use crate::call::Failure;
use crate::dispatch::{InstanceId, Phase};
use crate::function::Function;
use crate::instance::{self, Instance};
use crate::logs::LogSink;
use crate::runtime_api::RuntimeApi;
use crate::server::{self, Bounds, Handle, Until};

/// First and longest pause before a failed instance is replaced.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// An instance that ran this long had no bad start.
const SETTLED_AFTER: Duration = Duration::from_secs(30);
/// Time between SIGTERM and SIGKILL.
const TERMINATION_GRACE: Duration = Duration::from_millis(500);
/// How often an instance that is to leave is looked at whether it has anything left to do.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// An instance may hold twice as many connections as it can take invocations, and some more; it
/// leaves them open while it works.
const INSTANCE: Bounds = Bounds {
    connections_max: 4096,
    per_ip_max: 4096,
    patient: true,
};

/// How an instance came to its end.
enum End {
    /// The runtime is stopping, or the instance is not needed any more.
    Stopped,
    /// It was killed for being stuck.
    Killed,
    /// It ended by itself.
    Failed,
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

pub(super) async fn describe(function: &Function, id: InstanceId) -> anyhow::Result<Spare> {
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

/// Follows an instance that has attached until its end. It leaves when its agent wants it to, when its
/// version has ended, and with `stop`; from `hand_over` on, another runtime gets the one in its place.
pub(crate) async fn supervise_attached(
    function: Arc<Function>,
    instance: Arc<Instance>,
    link: Link,
    sink: LogSink,
    hand_over: CancellationToken,
    stop: CancellationToken,
) {
    let (name, host) = (&function.config.name, instance.host.as_deref());
    let shown = &*instance.name;
    tracing::info!(function = name, instance = shown, host, "attached");
    let (draining, stop) = (CancellationToken::new(), stop.child_token());
    let orders = link.orders.pieces.clone();
    let attached = Attached::new(link, &function, &instance, sink, draining.clone());
    let replaced = async {
        tokio::select! {
            () = function.retired() => {}
            () = hand_over.cancelled() => {}
        }
        let _full_or_gone = orders.try_send(line(&Order::Replace));
        until(|| function.is_over()).await;
        stop.cancel();
    };
    let drained = async {
        draining.cancelled().await;
        function.retire_instance(instance.id);
        until(|| !matches!(function.instance_state(instance.id), Some((_, 1..)))).await;
        instance.retire.notify_one();
    };
    let ended = run_to_end(&function, &instance, Body::Attached(attached), &stop);
    tokio::select! {
        end = ended => {
            if !matches!(end, End::Stopped) {
                function.metrics.restarts.increment(1);
            }
            tracing::info!(function = name, instance = shown, host, "has left");
        }
        () = async { join(replaced, drained).await; std::future::pending().await } => {}
    }
}

async fn until(condition: impl Fn() -> bool) {
    let mut looks = interval(LOOK_EVERY);
    while !condition() {
        looks.tick().await;
    }
}

/// An instance whose calls come from another machine.
pub(crate) struct Relayed {
    /// What is known of it.
    pub(crate) instance: Arc<Instance>,
    listener: TcpListener,
}

impl Relayed {
    /// An instance of the number that the other machine has given it.
    ///
    /// # Errors
    /// If there is no address for it.
    pub(crate) async fn bind(function: &Function, id: InstanceId) -> anyhow::Result<Self> {
        let Spare {
            instance, listener, ..
        } = describe(function, id).await?;
        Ok(Self {
            instance: Arc::new(instance),
            listener,
        })
    }

    /// Runs it to its end, and has `api` answer what it asks.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) async fn run(
        self,
        function: &Arc<Function>,
        api: impl Handle,
        driver: &Driver,
        sink: &LogSink,
        stop: &CancellationToken,
    ) -> anyhow::Result<Exit> {
        let _serving = serve(self.listener, Arc::new(api));
        let mut body = start(function, &self.instance, None, driver, sink).await?;
        let (_, exit) = await_end(&mut body, &self.instance, stop).await;
        body.finish().await;
        Ok(exit)
    }
}

/// Answers an instance until it is dropped, which ends the connections.
fn serve(listener: TcpListener, api: Arc<impl Handle>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(server::serve(listener, INSTANCE, Until::default(), api));
    tasks
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
    let api = RuntimeApi::new(Arc::clone(function), Arc::clone(&instance));
    let _serving = serve(listener, Arc::new(api));
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
        Some((Phase::Ready | Phase::Draining, _))
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
