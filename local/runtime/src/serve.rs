//! `local-lambda serve`: puts everything together, and takes it apart again.

use std::future::pending;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::admin::Admin;
use crate::attach::{self, AttachApi};
use crate::driver::{Driver, Kind};
use crate::event_queue::{EventQueue, Runner};
use crate::fleet::{Fleet, Stop};
use crate::function::NotStarted;
use crate::host_cpu;
use crate::invoke_api::{Access, InvokeApi};
use crate::logs::LogSink;
use crate::manifest::{self, Manifest};
use crate::metrics::Registry;
use crate::platform::Platform;
use crate::reaper;
use crate::server::{self, Bounds, Until};
use crate::takeover::{Offer, Predecessor, Successor};
use crate::token::Token;

/// Longest wait at the end for requests in progress.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long clients may take to notice that they have to connect anew.
const REST_MAX: Duration = Duration::from_secs(5);
/// Pause before the events are asked for again that another runtime still has.
const OPEN_AGAIN: Duration = Duration::from_secs(1);
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
    /// Whether the place is that of a runtime that has the admin address.
    pub(crate) take_over: bool,
    /// As what.
    pub(crate) driver: Kind,
    /// The folder of the events that are not over.
    pub(crate) state: PathBuf,
    /// Who may use the Invoke API.
    pub(crate) access: Access,
    /// What instances need to attach, if any may.
    pub(crate) attach_token: Option<Token>,
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
    /// Where instances of other machines attach, if they may.
    pub(crate) attach: Option<SocketAddr>,
}

/// Runs the functions of the plan's manifest until SIGTERM or SIGINT, or until another runtime takes
/// over, and reads it again on SIGHUP; `sink` gets what they log.
///
/// # Errors
/// If an address is taken, a static file cannot be read, or the events that are kept belong to another
/// runtime; before any function has started. If the function of a standalone manifest does not start,
/// or a runtime that takes over has functions that do not.
pub(crate) async fn serve(plan: Plan, sink: &LogSink) -> anyhow::Result<()> {
    let (sockets, mut predecessor) = listen_or_take_over(&plan).await?;
    let driver = Driver::open(plan.driver).await?;
    sockets.announce(plan.manifest.functions.len())?;
    let bounds = client_bounds(&plan.manifest.gateway)?;
    let standalone = plan.manifest.standalone;
    let stop = Stop::default();
    let registry = Arc::new(Registry::new()?);
    let fleet = fleet(&plan, &registry, driver, sink, &stop)?;
    let (events, runner) = EventQueue::new(Arc::clone(&fleet));
    if predecessor.is_none() {
        events.open(&plan.state)?;
    }
    let platform = Platform::start(plan.manifest, plan.path, Arc::clone(&fleet))?;
    if let Some(cluster) = &fleet.cluster {
        cluster.join().await;
    }
    let running = Running {
        platform: Arc::new(platform),
        events,
        registry,
        stop,
    };
    if let Some(predecessor) = &mut predecessor {
        fleet.await_started(&fleet.versions()).await?;
        predecessor.replace().await?;
        tracing::info!("the other runtime has given way");
    }
    let offer = sockets.offer()?;
    let Sockets {
        http,
        invoke,
        admin,
        attach,
    } = sockets;
    let mut clients = running.serve_clients(http, invoke, bounds, plan.access);
    let _others = running.tend(admin, attach.zip(plan.attach_token));
    let mut callers = JoinSet::new();
    callers.spawn(running.clone().call(runner, plan.state, predecessor));
    let (stopped, successor) = tokio::select! {
        signal = await_stop(&running.platform) => (signal, None),
        failed = start_fails(&fleet), if standalone => (failed, None),
        successor = successor(offer.as_ref()) => (Ok(()), Some(successor)),
    };
    // It holds the sockets, too, and nobody may connect to them any more.
    drop(offer);
    let handed_over = match successor {
        Some(it) => running.hand_over(it, &mut clients, &mut callers).await,
        None => Ok(()),
    };
    running.end(clients, callers).await;
    stopped.and(handed_over)
}

/// What runs.
#[derive(Clone)]
struct Running {
    platform: Arc<Platform>,
    events: Arc<EventQueue>,
    registry: Arc<Registry>,
    stop: Stop,
}

impl Running {
    /// Answers on the sockets, one task each.
    fn serve_clients(
        &self,
        http: TcpListener,
        invoke: Option<TcpListener>,
        bounds: Bounds,
        access: Access,
    ) -> JoinSet<()> {
        let (platform, events) = (&self.platform, &self.events);
        let gateway = Arc::clone(&platform.gateway);
        let until = || Until {
            accept: self.stop.accept.clone(),
            serve: self.stop.clients.clone(),
        };
        let mut clients = JoinSet::new();
        clients.spawn(server::serve(http, bounds, until(), gateway));
        if let Some(invoke) = invoke {
            let api = InvokeApi::new(Arc::clone(&platform.fleet), Arc::clone(events), access);
            clients.spawn(server::serve(invoke, OPERATORS, until(), Arc::new(api)));
        }
        clients
    }

    /// Answers the operator, and whatever attaches, as long as there are instances, and does what is
    /// done again and again; ends when dropped.
    fn tend(
        &self,
        admin: Option<TcpListener>,
        attach: Option<(TcpListener, Token)>,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let fleet = &self.platform.fleet;
        tasks.spawn(tidy(Arc::clone(&self.registry)));
        tasks.spawn(sweep(Arc::clone(fleet)));
        let gauge = self.registry.host_cpu();
        tasks.spawn(host_cpu::watch(Arc::clone(fleet), gauge));
        if std::process::id() == 1 {
            tasks.spawn(reap_orphans(Arc::clone(fleet)));
        }
        if let Some((listener, token)) = attach {
            let api = AttachApi::new(Arc::clone(fleet), token, self.stop.clone());
            tasks.spawn(attach::serve(listener, Arc::new(api)));
        }
        if let Some(admin) = admin {
            let (platform, events) = (Arc::clone(&self.platform), Arc::clone(&self.events));
            let api = Admin::new(platform, events, Arc::clone(&self.registry));
            let until = Until {
                accept: self.stop.accept.clone(),
                serve: self.stop.all.clone(),
            };
            tasks.spawn(server::serve(admin, OPERATORS, until, Arc::new(api)));
        }
        tasks
    }

    /// Calls functions by itself: by their sources, and for events; once nobody else does.
    async fn call(self, runner: Runner, state: PathBuf, predecessor: Option<Predecessor>) {
        let replaces = predecessor.is_some();
        if let Some(predecessor) = predecessor {
            predecessor.alone().await;
        }
        self.platform.fleet.begin();
        // The other one has the events for as long as a client may give it more.
        while replaces && let Err(error) = self.events.open(&state) {
            tracing::info!("the events that are kept cannot be had yet: {error:#}");
            tokio::select! {
                () = sleep(OPEN_AGAIN) => {}
                () = self.stop.callers.cancelled() => return,
            }
        }
        runner.run(self.stop.callers.clone()).await;
    }

    /// Leaves everything to another runtime, but what has been begun.
    ///
    /// # Errors
    /// If it has gone.
    async fn hand_over(
        &self,
        mut successor: Successor,
        clients: &mut JoinSet<()>,
        callers: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        self.stop.accept.cancel();
        successor.accept().await.context("the other runtime")?;
        tracing::info!("another runtime has taken over");
        self.stop.callers.cancel();
        // A client that has sent its next request already must not find its connection closed.
        let rest = timeout(REST_MAX, all_end(clients));
        let callers = async {
            self.drain_callers(callers).await;
            successor.begin().await
        };
        let (_some_rest, begun) = tokio::join!(rest, callers);
        begun.context("the other runtime")?;
        self.events.close().await;
        self.stop.clients.cancel();
        let versions = self.platform.fleet.versions();
        let longest = versions.iter().map(|version| version.config.timeout).max();
        let _longest_call = timeout(longest.unwrap_or_default(), all_end(clients)).await;
        Ok(())
    }

    async fn drain_callers(&self, callers: &mut JoinSet<()>) {
        let ended = timeout(DRAIN_MAX, async {
            all_end(callers).await;
            self.platform.fleet.drain_sources().await;
        });
        if ended.await.is_err() {
            tracing::warn!("sources and events were still running after {DRAIN_MAX:?}");
        }
    }

    /// Lets what is in progress finish: requests and sources first, which leaves no call behind but
    /// those whose callers have gone.
    async fn end(&self, mut clients: JoinSet<()>, mut callers: JoinSet<()>) {
        tracing::info!("stopping: waiting for requests in progress");
        self.stop.callers.cancel();
        self.stop.clients.cancel();
        let finished = timeout(DRAIN_MAX, all_end(&mut clients));
        let (finished, ()) = tokio::join!(finished, self.drain_callers(&mut callers));
        if finished.is_err() {
            tracing::warn!("requests were still in progress after {DRAIN_MAX:?}");
        }
        self.events.close().await;
        self.platform.fleet.end().await;
    }
}

async fn all_end(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// Where clients connect to.
struct Sockets {
    http: TcpListener,
    invoke: Option<TcpListener>,
    admin: Option<TcpListener>,
    attach: Option<TcpListener>,
}

/// A runtime that other ones may take over, and what it would give them.
struct Offered {
    offer: Offer,
    sockets: Vec<OwnedFd>,
}

async fn listen_or_take_over(plan: &Plan) -> anyhow::Result<(Sockets, Option<Predecessor>)> {
    let Addresses {
        http,
        invoke,
        admin,
        attach,
    } = plan.addresses;
    if let (Some(admin), true) = (admin, plan.take_over) {
        let (predecessor, sockets) = Predecessor::ask(admin).await?;
        let mut sockets = sockets.into_iter();
        let http = sockets.next().context("it gave no sockets")?;
        let (invoke, admin) = (sockets.next(), sockets.next());
        let attach = match sockets.next() {
            None => listen_if(attach, "--attach").await?,
            // Closed if nothing may attach here.
            given => given.filter(|_| attach.is_some()),
        };
        let sockets = Sockets {
            http,
            invoke,
            admin,
            attach,
        };
        return Ok((sockets, Some(predecessor)));
    }
    let sockets = Sockets {
        http: listen(http, "--http").await?,
        invoke: listen_if(invoke, "--invoke").await?,
        admin: listen_if(admin, "--admin").await?,
        attach: listen_if(attach, "--attach").await?,
    };
    Ok((sockets, None))
}

impl Sockets {
    /// Port 0 asks for any free port: tells which it became.
    fn announce(&self, functions: usize) -> anyhow::Result<()> {
        let http = self.http.local_addr()?;
        let listeners = [&self.invoke, &self.admin, &self.attach];
        let [invoke, admin, attach] = listeners.map(|listener| {
            let address = listener.as_ref().and_then(|it| it.local_addr().ok());
            address.map(tracing::field::display)
        });
        tracing::info!(%http, invoke, admin, attach, "serving {functions} functions");
        Ok(())
    }

    /// Lets another runtime take over, if there is an admin address to find this one by.
    fn offer(&self) -> anyhow::Result<Option<Offered>> {
        let (Some(invoke), Some(admin)) = (&self.invoke, &self.admin) else {
            return Ok(None);
        };
        let given = [
            Some(&self.http),
            Some(invoke),
            Some(admin),
            self.attach.as_ref(),
        ];
        let cloned = |listener: &TcpListener| listener.as_fd().try_clone_to_owned();
        let sockets = given.into_iter().flatten().map(cloned);
        Ok(Some(Offered {
            offer: Offer::new(admin.local_addr()?).context("no other runtime could take over")?,
            sockets: sockets.collect::<Result<_, _>>()?,
        }))
    }
}

async fn successor(offered: Option<&Offered>) -> Successor {
    match offered {
        Some(Offered { offer, sockets }) => offer.successor(sockets).await,
        None => pending().await,
    }
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
    plan: &Plan,
    registry: &Arc<Registry>,
    driver: Driver,
    sink: &LogSink,
    stop: &Stop,
) -> anyhow::Result<Arc<Fleet>> {
    let fleet = Fleet::new(
        &plan.manifest,
        Arc::clone(registry),
        driver,
        plan.attach_token.is_some(),
        sink.clone(),
        stop.clone(),
    )?;
    Ok(Arc::new(fleet))
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

async fn await_stop(platform: &Arc<Platform>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // Apart from this, so that a signal to stop is not kept waiting.
            _ = hangup.recv() => drop(tokio::spawn(reload(Arc::clone(platform)))),
        }
    }
}

async fn reload(platform: Arc<Platform>) {
    if let Err(error) = platform.reload().await {
        tracing::error!("the manifest was read again, and nothing changed: {error:#}");
    }
}
