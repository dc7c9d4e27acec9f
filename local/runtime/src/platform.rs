//! Keeps what runs true to the manifest: at the start, and when it is read again.

use std::path::PathBuf;
use std::slice::from_ref;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::Mutex;

use crate::deployment::{Deployment, Terms};
use crate::fleet::{Change, Fleet};
use crate::gateway::{Gateway, Routing, Target};
use crate::manifest::{Manifest, Route, RouteTable};

const HEALTH: &[u8] = br#"{"status":"ok"}"#;

/// The functions and the routes to them.
pub(crate) struct Platform {
    /// The functions.
    pub(crate) fleet: Arc<Fleet>,
    /// The routes.
    pub(crate) gateway: Arc<Gateway>,
    /// The file that may be read again.
    manifest: Option<PathBuf>,
    reloading: Mutex<()>,
}

impl Platform {
    /// Starts what `manifest` says, which was read from the file `path`, if from one.
    ///
    /// # Errors
    /// If a static file cannot be read, or the instances do not fit into the host's memory; nothing has
    /// been started then.
    pub(crate) fn start(
        manifest: Manifest,
        path: Option<PathBuf>,
        fleet: Arc<Fleet>,
    ) -> anyhow::Result<Self> {
        let statics = static_targets(&manifest)?;
        let versions = fleet.prepare(&manifest.functions)?;
        fleet.set_bootstrap_servers(manifest.bootstrap_servers);
        fleet.switch(manifest.functions, versions);
        let routing = Routing::new(routes(statics, &fleet)?, manifest.gateway);
        Ok(Self {
            fleet,
            gateway: Arc::new(Gateway::new(routing)),
            manifest: path,
            reloading: Mutex::new(()),
        })
    }

    /// Reads the manifest again. Functions that it changes run in a new version as soon as the instances
    /// kept running are ready; calls lose nothing.
    ///
    /// # Errors
    /// Whatever is wrong with the manifest, or keeps a new version from starting; nothing has changed
    /// then.
    pub(crate) async fn reload(self: &Arc<Self>) -> anyhow::Result<Change> {
        let platform = Arc::clone(self);
        to_its_end(async move { platform.reload_alone().await }).await
    }

    async fn reload_alone(&self) -> anyhow::Result<Change> {
        let _one_at_a_time = self.reloading.lock().await;
        let manifest = self.read()?;
        let statics = static_targets(&manifest)?;
        let versions = self.fleet.prepare(&manifest.functions)?;
        self.fleet.await_started(&versions).await?;
        let in_flight_max = manifest.gateway.in_flight_max;
        self.fleet.set_bootstrap_servers(manifest.bootstrap_servers);
        let change = self.fleet.switch(manifest.functions, versions);
        self.fleet.set_in_flight_max(in_flight_max);
        let routes = routes(statics, &self.fleet)?;
        self.gateway.follow(Routing::new(routes, manifest.gateway));
        tracing::info!(?change, "the manifest was read again");
        Ok(change)
    }
}

/// Does in a task of its own what must not stop halfway when whoever asked for it has gone.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::spawn(change).await.context("the change broke off")?
}

/// What a rollout or a rollback has led to.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deployed {
    /// The version that takes the calls now, or its share of them.
    pub(crate) version: u64,
    /// Calls of a hundred that it takes.
    pub(crate) share: u32,
}

impl Platform {
    /// Starts a new version of a function, from what the manifest says of it and from its program as they
    /// are now. As soon as its instances are ready it takes the calls, on `terms` some of them only.
    ///
    /// # Errors
    /// Whatever is wrong with the manifest, or keeps the version from starting; nothing has changed then.
    pub(crate) async fn rollout(
        self: &Arc<Self>,
        deployment: Arc<Deployment>,
        terms: Option<Terms>,
    ) -> anyhow::Result<Deployed> {
        let platform = Arc::clone(self);
        to_its_end(async move { platform.rollout_alone(&deployment, terms).await }).await
    }

    async fn rollout_alone(
        &self,
        deployment: &Arc<Deployment>,
        terms: Option<Terms>,
    ) -> anyhow::Result<Deployed> {
        let _one_at_a_time = self.reloading.lock().await;
        self.check_there(deployment)?;
        let mut manifest = self.read()?;
        let declared = manifest.functions.remove(&deployment.name);
        let config = declared
            .context("the manifest does not have it any more")?
            .config;
        ensure!(
            terms.is_none() || !config.attached,
            "a canary would have no instances: they attach to the version that takes the calls"
        );
        let version = self.fleet.start_next(Some(deployment), config.clone());
        self.fleet.await_started(from_ref(&version)).await?;
        let number = version.version.number;
        deployment.ask_for(config);
        let name = &deployment.name;
        tracing::info!(function = name, version = number, ?terms, "rolled out");
        if let Some(terms) = terms {
            deployment.try_out(version, terms);
        } else {
            deployment.switch_to(version, "rolled out");
        }
        Ok(Deployed {
            version: number,
            share: terms.map_or(100, |terms| terms.share),
        })
    }

    /// Takes the canary of a function back, or else its current version, for the one before.
    ///
    /// # Errors
    /// If there is none before, or it does not start any more; nothing has changed then.
    pub(crate) async fn rollback(
        self: &Arc<Self>,
        deployment: Arc<Deployment>,
    ) -> anyhow::Result<Deployed> {
        let platform = Arc::clone(self);
        to_its_end(async move { platform.rollback_alone(&deployment).await }).await
    }

    async fn rollback_alone(&self, deployment: &Arc<Deployment>) -> anyhow::Result<Deployed> {
        let _one_at_a_time = self.reloading.lock().await;
        self.check_there(deployment)?;
        if deployment.drop_canary("rolled back by command").is_none() {
            let previous = deployment.previous();
            let (config, version) = previous.context("there is no version to return to")?;
            let version = self.fleet.start(config, version);
            self.fleet.await_started(from_ref(&version)).await?;
            deployment.return_to(version);
        }
        let version = deployment.current().version.number;
        tracing::info!(function = deployment.name, version, "rolled back");
        Ok(Deployed {
            version,
            share: 100,
        })
    }

    /// A reload may have removed the function while its turn was waited for.
    fn check_there(&self, deployment: &Arc<Deployment>) -> anyhow::Result<()> {
        let there = self.fleet.get(&deployment.name);
        ensure!(
            there.is_some_and(|it| Arc::ptr_eq(&it, deployment)),
            "the function is gone"
        );
        Ok(())
    }

    fn read(&self) -> anyhow::Result<Manifest> {
        let path = self.manifest.as_ref();
        Ok(Manifest::read(
            path.context("there is no manifest to read")?,
        )?)
    }
}

/// The files that are served as they are, and the runtime's own health.
fn static_targets(manifest: &Manifest) -> anyhow::Result<Vec<(Route, Target)>> {
    let health = Target::Static {
        content: Bytes::from_static(HEALTH),
        content_type: HeaderValue::from_static("application/json"),
    };
    let mut targets = Vec::new();
    if !manifest.standalone {
        targets.push((Route::health(), health));
    }
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
    Ok(targets)
}

fn routes(statics: Vec<(Route, Target)>, fleet: &Fleet) -> anyhow::Result<RouteTable<Target>> {
    let mut targets = statics;
    for deployment in fleet.all() {
        for route in deployment.routes() {
            let target = Target::Function {
                deployment: Arc::clone(&deployment),
                route_key: route.key.as_str().into(),
                parameter_names: route.parameters.as_slice().into(),
                bounds: route.bounds,
            };
            targets.push((route, target));
        }
    }
    let (routes, _) = RouteTable::build(targets.into_iter())?;
    Ok(routes)
}
