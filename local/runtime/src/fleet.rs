//! All functions: what the manifest says of them, made true, at the start and while they run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use anyhow::{anyhow, ensure};
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::Cluster;
use crate::deployment::Deployment;
use crate::dispatch::Dispatcher;
use crate::driver::{self, Driver, Link};
use crate::function::{Function, NotStarted, Series, SharedDispatcher, Version, locked};
use crate::instance::Instance;
use crate::logs::LogSink;
use crate::manifest::{Declaration, FunctionConfig, Manifest, Sources};
use crate::metrics::Registry;
use crate::program::Program;
use crate::scale::{self, Memory};
use crate::sources::{RunningSources, SourceList};

/// The functions of a manifest, by name.
pub(crate) type Declarations = BTreeMap<String, Declaration>;

/// The functions by name, and whatever runs them.
pub(crate) struct Fleet {
    dispatcher: SharedDispatcher,
    /// This host among others, if there are any.
    pub(crate) cluster: Option<Arc<Cluster>>,
    registry: Arc<Registry>,
    driver: Arc<Driver>,
    /// Whether instances of other machines may attach.
    attaches: bool,
    memory: Arc<Memory>,
    sink: LogSink,
    stop: Stop,
    bootstrap_servers: Mutex<Option<String>>,
    deployments: Mutex<BTreeMap<String, Arc<Deployment>>>,
    sources: Mutex<BTreeMap<String, RunningSources>>,
    /// Whether anything calls functions by itself yet.
    begun: AtomicBool,
    /// What the sources are doing.
    pub(crate) source_list: Arc<SourceList>,
    /// Every version that has not ended yet.
    versions: Mutex<Vec<Weak<Function>>>,
    /// The tasks that start and stop instances, one a version.
    scales: TaskTracker,
    /// The tasks of sources, one a function.
    callers: TaskTracker,
}

/// The steps of stopping.
#[derive(Default, Clone)]
pub(crate) struct Stop {
    /// No more connections.
    pub(crate) accept: CancellationToken,
    /// Nothing calls functions by itself any more; what has been begun finishes.
    pub(crate) callers: CancellationToken,
    /// No more requests; those in progress finish.
    pub(crate) clients: CancellationToken,
    /// The instances, too.
    pub(crate) all: CancellationToken,
}

/// What a new manifest has changed: names of functions.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Change {
    /// Which are new.
    pub(crate) added: Vec<String>,
    /// Which run in a new version.
    pub(crate) changed: Vec<String>,
    /// Which are gone.
    pub(crate) removed: Vec<String>,
}

impl Fleet {
    /// A fleet without functions yet, on the host that `manifest` describes, whose instances `driver`
    /// runs and log to `sink`. With `attaches` there may be functions whose instances attach.
    ///
    /// # Errors
    /// If the host does not tell how much memory it has, or the cluster's database is not known.
    pub(crate) fn new(
        manifest: &Manifest,
        registry: Arc<Registry>,
        driver: Driver,
        attaches: bool,
        sink: LogSink,
        stop: Stop,
    ) -> anyhow::Result<Self> {
        let dispatcher = Dispatcher::new(manifest.gateway.in_flight_max);
        let dispatcher = Arc::new(Mutex::new(dispatcher));
        let cluster = manifest.cluster.as_ref();
        let cluster = cluster
            .map(|it| Cluster::start(it, Arc::clone(&dispatcher), Arc::clone(&registry)))
            .transpose()?;
        Ok(Self {
            dispatcher,
            source_list: Arc::new(SourceList::new(Arc::clone(&registry), cluster.clone())),
            cluster,
            registry,
            driver: Arc::new(driver),
            attaches,
            memory: Arc::new(Memory::of_host()?),
            sink,
            stop,
            bootstrap_servers: Mutex::default(),
            deployments: Mutex::default(),
            sources: Mutex::default(),
            begun: AtomicBool::new(false),
            versions: Mutex::default(),
            scales: TaskTracker::new(),
            callers: TaskTracker::new(),
        })
    }

    /// Starts new versions of the functions that are not there or differ. They get no calls yet.
    ///
    /// # Errors
    /// If the instances to be kept running do not fit into the host's memory, or a function does not
    /// say what the driver runs, or needs what the runtime does not serve.
    pub(crate) fn prepare(&self, declared: &Declarations) -> anyhow::Result<Vec<Arc<Function>>> {
        let configs = || declared.values().map(|it| &it.config);
        self.driver.check(configs())?;
        self.memory.check(configs())?;
        let attached = configs().find(|config| config.attached && !self.attaches);
        let name = attached.map_or("", |config| &config.name);
        ensure!(attached.is_none(), "no --attach, which {name} needs");
        let mut started = Vec::new();
        for (name, Declaration { config, .. }) in declared {
            let deployment = self.get(name);
            if deployment
                .as_ref()
                .is_some_and(|it| it.is_asked_for(config))
            {
                continue;
            }
            started.push(self.start_next(deployment.as_deref(), config.clone()));
        }
        Ok(started)
    }

    /// Waits until the instances of new versions are ready.
    ///
    /// # Errors
    /// If those of one are not; then all of them are given up.
    pub(crate) async fn await_started(&self, versions: &[Arc<Function>]) -> anyhow::Result<()> {
        let started = versions.iter().map(|version| async move {
            let name = &version.config.name;
            version.started().await.map_err(|reason| match reason {
                NotStarted::Failed => anyhow!("{name}: an instance of the new version has ended"),
                NotStarted::TooSlow => anyhow!("{name}: the new version does not become ready"),
            })
        });
        let started = try_join_all(started).await;
        if started.is_err() {
            for version in versions {
                version.retire();
            }
        }
        started.map(drop)
    }

    /// From now on `declared` holds, and the new versions take the calls. What they replace ends with
    /// the calls it has.
    pub(crate) fn switch(&self, declared: Declarations, versions: Vec<Arc<Function>>) -> Change {
        let mut change = Change::default();
        let mut deployments = locked(&self.deployments);
        for version in versions {
            let name = version.config.name.clone();
            if let Some(deployment) = deployments.get(&name) {
                deployment.switch_to(version, "the manifest changed");
                change.changed.push(name);
            } else {
                let deployment = Arc::new(Deployment::new(version));
                deployments.insert(name.clone(), deployment);
                change.added.push(name);
            }
        }
        for (name, removed) in deployments.extract_if(.., |name, _| !declared.contains_key(name)) {
            removed.retire();
            locked(&self.sources).remove(&name);
            change.removed.push(name);
        }
        for (name, declaration) in declared {
            if let Some(deployment) = deployments.get(&name) {
                self.run_sources(deployment, &declaration.sources);
                deployment.declare(declaration);
            }
        }
        connect(&deployments);
        change
    }

    /// From now on what the manifest says calls functions by itself does.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
        for deployment in self.all() {
            self.run_sources(&deployment, &deployment.sources());
        }
    }

    /// Has `sources` call the function, if others do until now.
    fn run_sources(&self, deployment: &Arc<Deployment>, sources: &Sources) {
        if !self.begun.load(Ordering::Relaxed) {
            return;
        }
        let mut running = locked(&self.sources);
        let before = running.remove(&deployment.name);
        let now = match before {
            Some(before) if deployment.sources() == *sources => before,
            before => {
                let stop = self.stop.callers.child_token();
                let deployment = Arc::clone(deployment);
                let list = Arc::clone(&self.source_list);
                let sources = sources.clone();
                RunningSources::start(deployment, sources, before, list, stop, &self.callers)
            }
        };
        running.insert(deployment.name.clone(), now);
    }

    /// Starts the next version of a function, or its first one, with the program that is there now.
    pub(crate) fn start_next(
        &self,
        deployment: Option<&Deployment>,
        config: FunctionConfig,
    ) -> Arc<Function> {
        // One that cannot be read is not there yet: each start looks again.
        let program = config.command.first();
        let program = program.and_then(|program| Program::open(program).ok().flatten());
        let version = match deployment {
            Some(deployment) => deployment.next_version(program),
            None => Version::first(self.series(&config.name), program),
        };
        self.start(config, version)
    }

    /// What a new function has in common with versions of one of its name that have not ended yet.
    fn series(&self, name: &str) -> Arc<Series> {
        let versions = self.versions();
        let alike = versions.iter().find(|it| it.config.name == name);
        alike.map_or_else(Arc::default, |it| Arc::clone(&it.version.series))
    }

    /// Starts a version. It gets no calls yet.
    pub(crate) fn start(&self, config: FunctionConfig, version: Version) -> Arc<Function> {
        let metrics = self.registry.function(&config.name);
        let dispatcher = Arc::clone(&self.dispatcher);
        let function = Arc::new(Function::new(config, version, metrics, dispatcher));
        let mut versions = locked(&self.versions);
        versions.retain(|version| version.strong_count() > 0);
        versions.push(Arc::downgrade(&function));
        if !function.config.attached {
            self.scales.spawn(scale::run(
                Arc::clone(&function),
                Arc::clone(&self.driver),
                Arc::clone(&self.memory),
                self.sink.clone(),
                self.stop.all.clone(),
            ));
        }
        function
    }

    /// Gives a version an instance that has attached.
    pub(crate) fn attach(&self, function: Arc<Function>, instance: Arc<Instance>, link: Link) {
        function.add_instance(Arc::clone(&instance));
        self.scales.spawn(driver::supervise_attached(
            function,
            instance,
            link,
            self.sink.clone(),
            self.stop.accept.clone(),
            self.stop.all.clone(),
        ));
    }

    /// The function of that name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Deployment>> {
        locked(&self.deployments).get(name).cloned()
    }

    /// The functions, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Deployment>> {
        locked(&self.deployments).values().cloned().collect()
    }

    /// Every version that runs, those that are about to end included.
    pub(crate) fn versions(&self) -> Vec<Arc<Function>> {
        let versions = locked(&self.versions);
        versions.iter().filter_map(Weak::upgrade).collect()
    }

    /// Changes how many calls run at once over all functions.
    pub(crate) fn set_in_flight_max(&self, in_flight_max: Option<usize>) {
        locked(&self.dispatcher).set_in_flight_max(in_flight_max);
    }

    /// Notes how busy the host's processors are, in percent.
    pub(crate) fn set_host_cpu(&self, busy: u32) {
        locked(&self.dispatcher).set_host_cpu(busy);
    }

    /// The Kafka cluster that records of events are written to.
    pub(crate) fn bootstrap_servers(&self) -> Option<String> {
        locked(&self.bootstrap_servers).clone()
    }

    /// Changes which that is.
    pub(crate) fn set_bootstrap_servers(&self, bootstrap_servers: Option<String>) {
        *locked(&self.bootstrap_servers) = bootstrap_servers;
    }

    /// Ends waits and runs that have lasted too long, instances that are stuck, and canaries that fail
    /// too often.
    pub(crate) fn sweep(&self, now: Instant) {
        let stuck = locked(&self.dispatcher).sweep(now);
        for (id, instance) in stuck {
            let versions = self.versions();
            let version = versions.iter().find(|version| version.id == id);
            version.inspect(|version| version.kill_instance(instance));
        }
        for deployment in self.all() {
            if let Some((version, reason)) = deployment.judge_canary() {
                let function = &deployment.name;
                tracing::error!(function, version, "the canary is rolled back: {reason}");
            }
        }
    }

    /// Waits for the invocations that sources have begun; their stop must be told before.
    pub(crate) async fn drain_sources(&self) {
        self.callers.close();
        self.callers.wait().await;
    }

    /// Takes no more calls, and stops the instances.
    pub(crate) async fn end(&self) {
        locked(&self.dispatcher).close();
        self.stop.all.cancel();
        self.scales.close();
        self.scales.wait().await;
        self.driver.finish().await;
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
        }
    }
}

/// Tells each function whom to wake when it has answered, and how many records may follow its events.
fn connect(deployments: &BTreeMap<String, Arc<Deployment>>) {
    let mut records = BTreeMap::new();
    for (name, deployment) in deployments {
        let listens = |other: &&Arc<Deployment>| {
            let continuous = other.sources().continuous;
            continuous.is_some_and(|it| it.wake_on.iter().any(|on| on.as_ref() == name))
        };
        let listeners = deployments.values().filter(listens);
        deployment.set_listeners(listeners.map(|it| Arc::clone(&it.wake)).collect());
        deployment.set_records_after(records_after(name, deployments, &mut records));
    }
}

/// How many records may follow an event of a function, one after the other, as `known` of some.
fn records_after(
    name: &str,
    deployments: &BTreeMap<String, Arc<Deployment>>,
    known: &mut BTreeMap<String, usize>,
) -> usize {
    if let Some(records) = known.get(name) {
        return *records;
    }
    let policy = deployments.get(name).map(|it| it.asynchronous());
    let policy = policy.unwrap_or_default();
    // The manifest has seen to it that they do not go in circles.
    let records = policy.records_after(|next| records_after(next, deployments, known));
    known.insert(name.to_owned(), records);
    records
}
