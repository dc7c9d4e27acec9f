//! `local-lambda serve`: puts everything together, and takes it apart again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::HeaderValue;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::dispatch::Dispatcher;
use crate::function::{Function, SharedDispatcher, locked};
use crate::gateway::{Gateway, Target};
use crate::invoke_api::InvokeApi;
use crate::logs::LogSink;
use crate::manifest::{Manifest, Route, RouteTable};
use crate::metrics::Registry;
use crate::scale::Memory;
use crate::server::{self, Bounds};
use crate::wakes::Wakes;
use crate::{manifest, scale, sources};

/// Longest wait at the end for requests in progress.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How often the histograms are tidied.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// How often calls are looked at that wait or run too long.
const SWEEP_EVERY: Duration = Duration::from_millis(20);
/// Bounds of the addresses that only programs of this machine connect to.
const OPERATORS: Bounds = Bounds {
    connections_max: 1024,
    per_ip_max: 1024,
    patient: false,
};
/// File descriptors kept for other things than HTTP connections: the other addresses, instances.
const DESCRIPTORS_KEPT: u64 = 4096;
const HEALTH: &[u8] = br#"{"status":"ok"}"#;

/// Where the runtime listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// HTTP routes.
    pub(crate) http: SocketAddr,
    /// The Invoke API.
    pub(crate) invoke: SocketAddr,
    /// Metrics and what `ps` asks for.
    pub(crate) admin: SocketAddr,
}

/// The functions, by name.
type Functions = BTreeMap<String, Arc<Function>>;

/// Runs the functions of `manifest` until SIGTERM or SIGINT; `sink` gets what they log.
///
/// # Errors
/// If an address is taken or a static file cannot be read; before any function has started.
pub(crate) async fn serve(
    manifest: Manifest,
    addresses: Addresses,
    sink: &LogSink,
) -> anyhow::Result<()> {
    let http = listen(addresses.http, "--http").await?;
    let invoke = listen(addresses.invoke, "--invoke").await?;
    let admin = listen(addresses.admin, "--admin").await?;
    let registry = Arc::new(Registry::new()?);
    let dispatcher = Arc::new(Mutex::new(Dispatcher::new(manifest.gateway.in_flight_max)));
    let functions = functions(&manifest, &registry, &dispatcher);
    announce([&http, &invoke, &admin], functions.len())?;
    let bounds = client_bounds(&manifest.gateway)?;
    let memory = Arc::new(Memory::of_host(functions.values())?);
    let wakes = Wakes::of(functions.values());
    let (routes, _) = RouteTable::build(targets(&manifest, &functions)?.into_iter())?;
    let gateway = Arc::new(Gateway::new(routes, manifest.gateway, wakes.clone()));
    let invoke_api = Arc::new(InvokeApi::new(functions.clone(), wakes.clone()));
    let admin_api = Arc::new(Admin::new(functions.clone(), Arc::clone(&registry)));

    let stop = Stop::default();
    let until = || stop.clients.clone();
    let mut clients = JoinSet::new();
    clients.spawn(server::serve(http, bounds, until(), gateway));
    clients.spawn(server::serve(invoke, OPERATORS, until(), invoke_api));
    start_sources(&functions, &wakes, &stop, &mut clients);
    // Ended when dropped.
    let mut others = JoinSet::new();
    others.spawn(server::serve(admin, OPERATORS, stop.all.clone(), admin_api));
    others.spawn(tidy(registry));
    others.spawn(sweep(Arc::clone(&dispatcher), functions.clone()));
    let instances = start_instances(&functions, &memory, sink, &stop.all);

    await_signal().await?;
    drain(&stop, clients).await;
    locked(&dispatcher).close();
    stop.all.cancel();
    instances.join_all().await;
    Ok(())
}

/// Port 0 asks for any free port: tells which it became.
fn announce(listeners: [&TcpListener; 3], functions: usize) -> anyhow::Result<()> {
    let [http, invoke, admin] = listeners.map(TcpListener::local_addr);
    let (http, invoke, admin) = (http?, invoke?, admin?);
    tracing::info!(%http, %invoke, %admin, "serving {functions} functions");
    Ok(())
}

/// The two steps of stopping.
#[derive(Default)]
struct Stop {
    /// No more requests or events; those in progress finish.
    clients: CancellationToken,
    /// The instances, too.
    all: CancellationToken,
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}; {option} takes another address"))
}

/// As many connections as the manifest allows and the file descriptors suffice for. The
/// functions inherit the raised limit.
fn client_bounds(gateway: &manifest::Gateway) -> anyhow::Result<Bounds> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let possible = hard.saturating_sub(DESCRIPTORS_KEPT).max(hard / 2);
    let possible = usize::try_from(possible).unwrap_or(usize::MAX);
    let wanted = gateway.connections_max;
    if possible < wanted {
        tracing::warn!("{hard} file descriptors allow {possible} connections, not {wanted}");
    }
    Ok(Bounds {
        connections_max: wanted.min(possible),
        per_ip_max: gateway.connections_per_ip_max,
        patient: false,
    })
}

fn functions(manifest: &Manifest, registry: &Registry, dispatcher: &SharedDispatcher) -> Functions {
    let mut functions = Functions::new();
    for (name, config) in &manifest.functions {
        let metrics = registry.function(name);
        let function = Function::new(config.clone(), metrics, Arc::clone(dispatcher));
        functions.insert(name.clone(), Arc::new(function));
    }
    functions
}

fn targets(manifest: &Manifest, functions: &Functions) -> anyhow::Result<Vec<(Route, Target)>> {
    let health = Target::Static {
        content: Bytes::from_static(HEALTH),
        content_type: HeaderValue::from_static("application/json"),
    };
    let mut targets = vec![(Route::health(), health)];
    for entry in &manifest.statics {
        let file = &entry.file;
        let content =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let content_type = HeaderValue::from_str(&entry.content_type)
            .with_context(|| format!("content_type {:?}", entry.content_type))?;
        let target = Target::Static {
            content: content.into(),
            content_type,
        };
        targets.push((entry.route.clone(), target));
    }
    for function in functions.values() {
        for route in &function.config.routes {
            let target = Target::Function {
                function: Arc::clone(function),
                route_key: route.key.as_str().into(),
                parameter_names: route.parameters.as_slice().into(),
            };
            targets.push((route.clone(), target));
        }
    }
    Ok(targets)
}

fn start_sources(functions: &Functions, wakes: &Wakes, stop: &Stop, tasks: &mut JoinSet<()>) {
    for function in functions.values() {
        if let Some(source) = function.config.continuous.clone() {
            let function = Arc::clone(function);
            tasks.spawn(sources::run_continuous(
                function,
                source,
                stop.clients.clone(),
            ));
        }
        for schedule in function.config.schedules.clone() {
            let function = Arc::clone(function);
            tasks.spawn(sources::run_schedule(
                function,
                schedule,
                wakes.clone(),
                stop.clients.clone(),
            ));
        }
    }
}

fn start_instances(
    functions: &Functions,
    memory: &Arc<Memory>,
    sink: &LogSink,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut instances = JoinSet::new();
    for function in functions.values() {
        let (function, memory) = (Arc::clone(function), Arc::clone(memory));
        instances.spawn(scale::run(function, memory, sink.clone(), stop.clone()));
    }
    instances
}

async fn tidy(registry: Arc<Registry>) {
    let mut ticks = interval(TIDY_EVERY);
    loop {
        ticks.tick().await;
        registry.tidy();
    }
}

async fn sweep(dispatcher: SharedDispatcher, functions: Functions) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        let stuck = locked(&dispatcher).sweep(now.into());
        for (id, instance) in stuck {
            let function = functions.values().find(|function| function.id == id);
            function.inspect(|function| function.kill_instance(instance));
        }
    }
}

async fn await_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Lets what is in progress finish: requests and sources first, which leaves no call behind but
/// those whose callers have gone.
async fn drain(stop: &Stop, mut clients: JoinSet<()>) {
    tracing::info!("stopping: waiting for requests in progress");
    stop.clients.cancel();
    let finished = timeout(DRAIN_MAX, async {
        while clients.join_next().await.is_some() {}
    });
    if finished.await.is_err() {
        tracing::warn!("requests were still in progress after {DRAIN_MAX:?}");
    }
}
