//! What an operator sees and steers: `GET /metrics`, `/functions` and `/targets`, `POST
//! /functions/NAME/scale` and `/reload`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::call::json;
use crate::deployment::Deployment;
use crate::function::{Function, InstanceView};
use crate::manifest::INSTANCES_MAX;
use crate::metrics::Registry;
use crate::platform::Platform;
use crate::server::{Handle, Reply};

/// Answers the admin address.
pub(crate) struct Admin {
    platform: Arc<Platform>,
    registry: Arc<Registry>,
}

/// A function as `ps` shows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FunctionView {
    /// Its name.
    pub(crate) name: String,
    /// Its routes as the manifest has them.
    pub(crate) routes: Vec<String>,
    /// Instances kept running.
    pub(crate) min_instances: usize,
    /// Upper bound of instances.
    pub(crate) max_instances: usize,
    /// Calls that wait for an instance.
    pub(crate) queued: usize,
    /// Its instances.
    pub(crate) instances: Vec<InstanceView>,
}

/// One entry of Prometheus' HTTP service discovery.
#[derive(Serialize)]
struct ScrapeTarget {
    targets: [String; 1],
    labels: BTreeMap<&'static str, String>,
}

impl Admin {
    /// The admin address of `platform`.
    pub(crate) fn new(platform: Arc<Platform>, registry: Arc<Registry>) -> Self {
        Self { platform, registry }
    }

    fn metrics(&self) -> String {
        let mut levels: BTreeMap<String, (Arc<Function>, [usize; 3])> = BTreeMap::new();
        for version in self.platform.fleet.versions() {
            let (queued, running) = version.load();
            let ready = version.ready();
            let name = version.config.name.clone();
            let (_, level) = levels.entry(name).or_insert((version, [0; 3]));
            for (sum, part) in level.iter_mut().zip([queued, running, ready]) {
                *sum += part;
            }
        }
        let level = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        for (function, [queued, running, ready]) in levels.values() {
            function.metrics.queued.set(level(*queued));
            function.metrics.in_flight.set(level(*running));
            function.metrics.instances_ready.set(level(*ready));
        }
        self.registry.render()
    }

    fn functions(&self) -> Vec<FunctionView> {
        let versions = self.platform.fleet.versions();
        let functions = self.platform.fleet.all();
        let view = |function: &Arc<Deployment>| view(function, &versions);
        functions.iter().map(view).collect()
    }

    /// Changes how many instances a function has: `min` and `max` of the query, either or both.
    fn scale(&self, name: &str, query: &str) -> Result<FunctionView, (StatusCode, String)> {
        let unknown = || {
            (
                StatusCode::NOT_FOUND,
                format!("there is no function {name}"),
            )
        };
        let deployment = self.platform.fleet.get(name).ok_or_else(unknown)?;
        let function = deployment.function();
        let invalid = |message| (StatusCode::BAD_REQUEST, message);
        let (mut min, mut max) = function.bounds();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let bound = match &*key {
                "min" => &mut min,
                "max" => &mut max,
                other => return Err(invalid(format!("{other} is neither min nor max"))),
            };
            let number = value.parse().ok();
            *bound = number
                .filter(|number| *number <= INSTANCES_MAX as usize)
                .ok_or_else(|| invalid(format!("{key} must be 0 to {INSTANCES_MAX}")))?;
        }
        if min > max || max == 0 {
            return Err(invalid(format!(
                "min {min} and max {max}: max must be at least 1 and not below min"
            )));
        }
        tracing::info!(function = name, min, max, "scaled");
        function.set_bounds(min, max);
        Ok(view(&deployment, &self.platform.fleet.versions()))
    }

    fn targets(&self) -> Vec<ScrapeTarget> {
        let of_function = |function: &Arc<Function>| {
            let name = function.config.name.clone();
            function
                .instances()
                .into_iter()
                .map(move |instance| ScrapeTarget {
                    targets: [instance.metrics_address],
                    labels: [("function", name.clone()), ("instance", instance.name)].into(),
                })
        };
        self.platform
            .fleet
            .versions()
            .iter()
            .flat_map(of_function)
            .collect()
    }
}

impl Handle for Admin {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Reply {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => reply("text/plain; version=0.0.4", self.metrics().into()),
            (&Method::GET, "/functions") => reply("application/json", json(&self.functions())),
            (&Method::GET, "/targets") => reply("application/json", json(&self.targets())),
            (&Method::POST, "/reload") => match self.platform.reload().await {
                Ok(change) => reply("application/json", json(&change)),
                Err(error) => refusal(StatusCode::CONFLICT, &format!("{error:#}")),
            },
            (&Method::POST, path) if let Some(name) = scaled(path) => {
                match self.scale(name, request.uri().query().unwrap_or_default()) {
                    Ok(view) => reply("application/json", json(&view)),
                    Err((status, message)) => refusal(status, &message),
                }
            }
            _ => refusal(StatusCode::NOT_FOUND, "Not Found"),
        }
    }
}

/// The function that `POST /functions/NAME/scale` names.
fn scaled(path: &str) -> Option<&str> {
    path.strip_prefix("/functions/")?.strip_suffix("/scale")
}

fn view(deployment: &Deployment, versions: &[Arc<Function>]) -> FunctionView {
    let (min_instances, max_instances) = deployment.function().bounds();
    let own = || {
        let versions = versions.iter();
        versions.filter(|it| it.config.name == deployment.name)
    };
    let routes = deployment.routes();
    FunctionView {
        name: deployment.name.clone(),
        routes: routes.into_iter().map(|route| route.key).collect(),
        min_instances,
        max_instances,
        queued: own().map(|version| version.load().0).sum(),
        instances: own().flat_map(|version| version.instances()).collect(),
    }
}

fn refusal(status: StatusCode, message: &str) -> Reply {
    let body = json(&serde_json::json!({ "message": message }));
    let mut reply = reply("application/json", body);
    *reply.status_mut() = status;
    reply
}

fn reply(content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(body.into());
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
