//! What an operator sees: `GET /metrics`, `/functions` and `/targets`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::call::json;
use crate::function::{Function, InstanceView};
use crate::metrics::Registry;
use crate::server::{Handle, Reply};

/// Answers the admin address.
pub(crate) struct Admin {
    functions: BTreeMap<String, Arc<Function>>,
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
    pub(crate) min_instances: u32,
    /// Upper bound of instances.
    pub(crate) max_instances: u32,
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
    /// The admin address of `functions`.
    pub(crate) fn new(functions: BTreeMap<String, Arc<Function>>, registry: Arc<Registry>) -> Self {
        Self {
            functions,
            registry,
        }
    }

    fn metrics(&self) -> String {
        for function in self.functions.values() {
            let (queued, running) = function.load();
            let ready = function
                .instances()
                .iter()
                .filter(|it| it.state == "ready")
                .count();
            let level = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
            function.metrics.queued.set(level(queued));
            function.metrics.in_flight.set(level(running));
            function.metrics.instances_ready.set(level(ready));
        }
        self.registry.render()
    }

    fn functions(&self) -> Vec<FunctionView> {
        let view = |function: &Arc<Function>| FunctionView {
            name: function.config.name.clone(),
            routes: function
                .config
                .routes
                .iter()
                .map(|route| route.key.clone())
                .collect(),
            min_instances: function.config.min_instances,
            max_instances: function.config.max_instances,
            queued: function.load().0,
            instances: function.instances(),
        };
        self.functions.values().map(view).collect()
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
        self.functions.values().flat_map(of_function).collect()
    }
}

impl Handle for Admin {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Reply {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => reply("text/plain; version=0.0.4", self.metrics().into()),
            (&Method::GET, "/functions") => reply("application/json", json(&self.functions())),
            (&Method::GET, "/targets") => reply("application/json", json(&self.targets())),
            _ => {
                let mut reply = reply("application/json", "{\"message\":\"Not Found\"}".into());
                *reply.status_mut() = StatusCode::NOT_FOUND;
                reply
            }
        }
    }
}

fn reply(content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
