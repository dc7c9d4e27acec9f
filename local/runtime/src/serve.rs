//! `local-lambda serve`: puts everything together, and takes it apart again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::admin::Admin;
use crate::driver::{Driver, Kind};
use crate::fleet::{Fleet, Stop};
use crate::invoke_api::InvokeApi;
use crate::logs::LogSink;
use crate::manifest::{self, Manifest};
use crate::metrics::Registry;
use crate::platform::Platform;
use crate::server::{self, Bounds};

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

/// Runs the functions of the manifest in the file `manifest` until SIGTERM or SIGINT, and reads it again
/// on SIGHUP; `sink` gets what they log.
///
/// # Errors
/// If the manifest is not valid, an address is taken or a static file cannot be read; before any
/// function has started.
pub(crate) async fn serve(
    path: PathBuf,
    manifest: Manifest,
    addresses: Addresses,
    sink: &LogSink,
) -> anyhow::Result<()> {
    let http = listen(addresses.http, "--http").await?;
    let invoke = listen(addresses.invoke, "--invoke").await?;
    let admin = listen(addresses.admin, "--admin").await?;
    let driver = Driver::open(Kind::Process);
    announce([&http, &invoke, &admin], manifest.functions.len())?;
    let bounds = client_bounds(&manifest.gateway)?;
    let registry = Arc::new(Registry::new()?);
    let stop = Stop::default();
    let in_flight_max = manifest.gateway.in_flight_max;
    let fleet = Fleet::new(
        in_flight_max,
        Arc::clone(&registry),
        driver,
        sink.clone(),
        stop.clone(),
    )?;
    let platform = Arc::new(Platform::start(manifest, path, Arc::new(fleet))?);
    let (fleet, gateway) = (Arc::clone(&platform.fleet), Arc::clone(&platform.gateway));
    let invoke_api = Arc::new(InvokeApi::new(Arc::clone(&fleet)));
    let admin_api = Arc::new(Admin::new(Arc::clone(&platform), Arc::clone(&registry)));

    let until = || stop.clients.clone();
    let mut clients = JoinSet::new();
    clients.spawn(server::serve(http, bounds, until(), gateway));
    clients.spawn(server::serve(invoke, OPERATORS, until(), invoke_api));
    // Ended when dropped.
    let mut others = JoinSet::new();
    others.spawn(server::serve(admin, OPERATORS, stop.all.clone(), admin_api));
    others.spawn(tidy(registry));
    others.spawn(sweep(Arc::clone(&fleet)));

    await_stop(&platform).await?;
    drain(&fleet, &stop, clients).await;
    fleet.end().await;
    Ok(())
}

/// Port 0 asks for any free port: tells which it became.
fn announce(listeners: [&TcpListener; 3], functions: usize) -> anyhow::Result<()> {
    let [http, invoke, admin] = listeners.map(TcpListener::local_addr);
    let (http, invoke, admin) = (http?, invoke?, admin?);
    tracing::info!(%http, %invoke, %admin, "serving {functions} functions");
    Ok(())
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

async fn tidy(registry: Arc<Registry>) {
    let mut ticks = interval(TIDY_EVERY);
    loop {
        ticks.tick().await;
        registry.tidy();
    }
}

async fn sweep(fleet: Arc<Fleet>) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        fleet.sweep(now.into());
    }
}

async fn await_stop(platform: &Platform) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => if let Err(error) = platform.reload().await {
                tracing::error!("the manifest was read again, and nothing changed: {error:#}");
            },
        }
    }
}

/// Lets what is in progress finish: requests and sources first, which leaves no call behind but
/// those whose callers have gone.
async fn drain(fleet: &Fleet, stop: &Stop, mut clients: JoinSet<()>) {
    tracing::info!("stopping: waiting for requests in progress");
    stop.clients.cancel();
    let finished = timeout(DRAIN_MAX, async {
        while clients.join_next().await.is_some() {}
        fleet.drain_sources().await;
    });
    if finished.await.is_err() {
        tracing::warn!("requests were still in progress after {DRAIN_MAX:?}");
    }
}
