//! `local-lambda serve`: puts everything together, and takes it apart again.

use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::admin::Admin;
use crate::driver::{Driver, Kind};
use crate::event_queue::EventQueue;
use crate::fleet::{Fleet, Stop};
use crate::function::NotStarted;
use crate::invoke_api::{Access, InvokeApi};
use crate::logs::LogSink;
use crate::manifest::{self, Manifest};
use crate::metrics::Registry;
use crate::platform::Platform;
use crate::reaper;
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

/// What to serve.
pub(crate) struct Plan {
    /// The functions.
    pub(crate) manifest: Manifest,
    /// The file it was read from, and may be read from again.
    pub(crate) path: Option<PathBuf>,
    /// Where.
    pub(crate) addresses: Addresses,
    /// As what.
    pub(crate) driver: Kind,
    /// The folder of the events that are not over.
    pub(crate) state: PathBuf,
    /// Who may use the Invoke API.
    pub(crate) access: Access,
}

/// Where the runtime listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// HTTP routes.
    pub(crate) http: SocketAddr,
    /// The Invoke API, if it is served.
    pub(crate) invoke: Option<SocketAddr>,
    /// Metrics and what `ps` asks for, if they are served.
    pub(crate) admin: Option<SocketAddr>,
}

/// Runs the functions of the plan's manifest until SIGTERM or SIGINT, and reads it again on SIGHUP;
/// `sink` gets what they log.
///
/// # Errors
/// If an address is taken, a static file cannot be read, or the events that are kept belong to another
/// runtime; before any function has started. If the function of a standalone manifest does not start.
pub(crate) async fn serve(plan: Plan, sink: &LogSink) -> anyhow::Result<()> {
    let Plan {
        manifest,
        path,
        addresses,
        driver,
        state,
        access,
    } = plan;
    let http = listen(addresses.http, "--http").await?;
    let invoke = listen_if(addresses.invoke, "--invoke").await?;
    let admin = listen_if(addresses.admin, "--admin").await?;
    let driver = Driver::open(driver).await?;
    announce(&http, [&invoke, &admin], manifest.functions.len())?;
    let standalone = manifest.standalone;
    let bounds = client_bounds(&manifest.gateway)?;
    let registry = Arc::new(Registry::new()?);
    let stop = Stop::default();
    let fleet = fleet(&manifest, &registry, driver, sink, &stop)?;
    let (events, runner) = EventQueue::open(state, Arc::clone(&fleet))?;
    let platform = Arc::new(Platform::start(manifest, path, Arc::clone(&fleet))?);
    let gateway = Arc::clone(&platform.gateway);
    let invoke_api = Arc::new(InvokeApi::new(
        Arc::clone(&fleet),
        Arc::clone(&events),
        access,
    ));
    let admin_api = Arc::new(Admin::new(
        Arc::clone(&platform),
        Arc::clone(&events),
        Arc::clone(&registry),
    ));

    let until = || stop.clients.clone();
    let mut clients = JoinSet::new();
    clients.spawn(server::serve(http, bounds, until(), gateway));
    clients.spawn(runner.run(until()));
    if let Some(invoke) = invoke {
        clients.spawn(server::serve(invoke, OPERATORS, until(), invoke_api));
    }
    let mut others = tend(&registry, &fleet);
    if let Some(admin) = admin {
        let all = stop.all.clone();
        others.spawn(server::serve(admin, OPERATORS, all, admin_api));
    }

    let stopped = tokio::select! {
        signal = await_stop(&platform) => signal,
        failed = start_fails(&fleet), if standalone => failed,
    };
    drain(&fleet, &stop, clients).await;
    events.close().await;
    fleet.end().await;
    stopped
}

/// What is done again and again; ends when dropped.
fn tend(registry: &Arc<Registry>, fleet: &Arc<Fleet>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(tidy(Arc::clone(registry)));
    tasks.spawn(sweep(Arc::clone(fleet)));
    if std::process::id() == 1 {
        tasks.spawn(reap_orphans(Arc::clone(fleet)));
    }
    tasks
}

/// Fails if an instance ends before one is ready.
async fn start_fails(fleet: &Fleet) -> anyhow::Result<()> {
    for version in fleet.versions() {
        loop {
            match version.started().await {
                Ok(()) => break,
                Err(NotStarted::Failed) => {
                    bail!("the function does not start; the log has its last lines")
                }
                Err(NotStarted::TooSlow) => {}
            }
        }
    }
    pending().await
}

fn fleet(
    manifest: &Manifest,
    registry: &Arc<Registry>,
    driver: Driver,
    sink: &LogSink,
    stop: &Stop,
) -> anyhow::Result<Arc<Fleet>> {
    let in_flight_max = manifest.gateway.in_flight_max;
    let registry = Arc::clone(registry);
    let fleet = Fleet::new(in_flight_max, registry, driver, sink.clone(), stop.clone())?;
    Ok(Arc::new(fleet))
}

/// Port 0 asks for any free port: tells which it became.
fn announce(
    http: &TcpListener,
    others: [&Option<TcpListener>; 2],
    functions: usize,
) -> anyhow::Result<()> {
    let http = http.local_addr()?;
    let [invoke, admin] = others.map(|listener| {
        let address = listener.as_ref().and_then(|it| it.local_addr().ok());
        address.map(tracing::field::display)
    });
    tracing::info!(%http, invoke, admin, "serving {functions} functions");
    Ok(())
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}; {option} takes another address"))
}

async fn listen_if(
    address: Option<SocketAddr>,
    option: &str,
) -> anyhow::Result<Option<TcpListener>> {
    match address {
        Some(address) => listen(address, option).await.map(Some),
        None => Ok(None),
    }
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

/// The first process of a container gets the processes whose parents have ended.
async fn reap_orphans(fleet: Arc<Fleet>) {
    if let Err(error) = reaper::reap_orphans(&fleet).await {
        tracing::warn!("ended processes are not waited for: {error}");
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
