//! `local-lambda serve`: puts everything together, and takes it apart again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::HeaderValue;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::function::Function;
use crate::gateway::{Gateway, Router, Target};
use crate::invoke_api::InvokeApi;
use crate::logs::LogSink;
use crate::manifest::{Manifest, Route};
use crate::metrics::Registry;
use crate::server::{self, Bounds};
use crate::wakes::Wakes;
use crate::{logs, process, sources};

/// Longest wait at the end for requests in progress.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How often the histograms are tidied.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// Bounds of the addresses that clients connect to.
const CLIENTS: Bounds = Bounds {
    connections_max: 8192,
    patient: false,
};
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

/// Runs the functions of `manifest` until SIGTERM or SIGINT.
///
/// # Errors
/// If an address is taken or a static file cannot be read; before any function has started.
pub(crate) async fn serve(manifest: Manifest, addresses: Addresses) -> anyhow::Result<()> {
    let http = listen(addresses.http, "--http").await?;
    let invoke = listen(addresses.invoke, "--invoke").await?;
    let admin = listen(addresses.admin, "--admin").await?;
    // Port 0 asks for any free port: tell which it became.
    let bound = [&http, &invoke, &admin].map(TcpListener::local_addr);
    let registry = Arc::new(Registry::new()?);
    let functions = functions(&manifest, &registry);
    let wakes = Wakes::of(functions.values());
    let router = Router::new(targets(&manifest, &functions)?)?;
    let gateway = Arc::new(Gateway::new(router, manifest.gateway, wakes.clone()));
    let invoke_api = Arc::new(InvokeApi::new(functions.clone(), wakes));
    let admin_api = Arc::new(Admin::new(functions.clone(), Arc::clone(&registry)));

    let stop = Stop::default();
    let mut clients = JoinSet::new();
    clients.spawn(server::serve(http, CLIENTS, stop.clients.clone(), gateway));
    clients.spawn(server::serve(
        invoke,
        CLIENTS,
        stop.clients.clone(),
        invoke_api,
    ));
    let operators = tokio::spawn(server::serve(admin, CLIENTS, stop.all.clone(), admin_api));
    let tidying = tokio::spawn(tidy(registry));
    start_sources(&functions, &stop, &mut clients);
    let instances = start_instances(&functions, &logs::start_writer()?, &stop.all);
    announce(bound, functions.len())?;

    await_signal().await?;
    drain(&functions, &stop, clients).await;
    stop.all.cancel();
    instances.join_all().await;
    operators.abort();
    tidying.abort();
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

fn announce(bound: [std::io::Result<SocketAddr>; 3], functions: usize) -> anyhow::Result<()> {
    let [http, invoke, admin] = bound;
    let (http, invoke, admin) = (http?, invoke?, admin?);
    tracing::info!(%http, %invoke, %admin, "serving {functions} functions");
    Ok(())
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}; {option} takes another address"))
}

fn functions(manifest: &Manifest, registry: &Registry) -> Functions {
    let function = |(name, config): (&String, _)| {
        (
            name.clone(),
            Arc::new(Function::new(config, registry.function(name))),
        )
    };
    manifest
        .functions
        .iter()
        .map(|(name, config)| function((name, config.clone())))
        .collect()
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

fn start_sources(functions: &Functions, stop: &Stop, tasks: &mut JoinSet<()>) {
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
                stop.clients.clone(),
            ));
        }
    }
}

fn start_instances(functions: &Functions, sink: &LogSink, stop: &CancellationToken) -> JoinSet<()> {
    let mut instances = JoinSet::new();
    for function in functions.values() {
        for _ in 0..function.config.min_instances {
            let function = Arc::clone(function);
            instances.spawn(process::supervise(function, sink.clone(), stop.clone()));
        }
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
async fn drain(functions: &Functions, stop: &Stop, mut clients: JoinSet<()>) {
    tracing::info!("stopping: waiting for requests in progress");
    stop.clients.cancel();
    let finished = timeout(DRAIN_MAX, async {
        while clients.join_next().await.is_some() {}
    });
    if finished.await.is_err() {
        tracing::warn!("requests were still in progress after {DRAIN_MAX:?}");
    }
    for function in functions.values() {
        function.close();
    }
}
