//! What an operator sees and steers: `GET /metrics`, `/functions` and `/targets`, `POST
//! /functions/NAME/scale` and so on, and `/reload`; `GET /sources`, `POST /sources/NAME/unpark`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use anyhow::anyhow;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::answer;
use crate::call::json;
use crate::deployment::{Deployment, Terms};
use crate::event_queue::EventQueue;
use crate::function::{Function, InstanceView};
use crate::manifest::{Destination, INSTANCES_MAX};
use crate::metrics::Registry;
use crate::platform::{Deployed, Platform};
use crate::server::{Handle, Reply, ReplyBody};

/// Most lines of a function's log asked for at once.
const LINES_MAX: usize = 100_000;
/// Failed calls of a hundred that a canary may have, if nobody says otherwise.
const ERRORS_MAX: u32 = 5;

/// Answers the admin address.
pub(crate) struct Admin {
    platform: Arc<Platform>,
    events: Arc<EventQueue>,
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
    /// Most calls that wait or run on this host.
    pub(crate) reserved_concurrency: Option<usize>,
    /// Calls that wait for an instance.
    pub(crate) queued: usize,
    /// Calls that its last versions have ended.
    pub(crate) calls: u64,
    /// Those of them that failed.
    pub(crate) errors: u64,
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
    /// The admin address of `platform` and the events of its functions.
    pub(crate) fn new(
        platform: Arc<Platform>,
        events: Arc<EventQueue>,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            platform,
            events,
            registry,
        }
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
        let mut events = self.events.events();
        for (name, (function, [queued, running, ready])) in levels {
            let kept = events.remove(&Destination::Function(name));
            function.metrics.events.set(level(kept.unwrap_or_default()));
            function.metrics.queued.set(level(queued));
            function.metrics.in_flight.set(level(running));
            function.metrics.instances_ready.set(level(ready));
        }
        for (recipient, count) in events {
            if let Destination::Topic(_) = recipient {
                self.registry.records(&recipient).set(level(count));
            }
        }
        for deployment in self.platform.fleet.all() {
            if let Some(reserved) = deployment.current().reserved() {
                self.registry
                    .reserved(&deployment.name)
                    .set(level(reserved));
            }
        }
        self.registry.render()
    }

    fn functions(&self) -> Vec<FunctionView> {
        let versions = self.platform.fleet.versions();
        let functions = self.platform.fleet.all();
        let view = |function: &Arc<Deployment>| view(function, &versions);
        functions.iter().map(view).collect()
    }

    /// `POST /functions/NAME/ORDER`.
    async fn order(&self, deployment: Arc<Deployment>, order: &str, query: &str) -> Answered {
        match order {
            "scale" => {
                scale(&deployment.current(), query)?;
                Ok(json(&view(&deployment, &self.platform.fleet.versions())))
            }
            "rollout" => {
                let terms = terms(query)?;
                let deployed = self.platform.rollout(deployment, terms).await;
                deployed.map(|it| json(&it)).map_err(conflict)
            }
            "promote" => {
                let version = deployment.promote();
                let version = version.ok_or_else(|| conflict(anyhow!("there is no canary")))?;
                tracing::info!(function = deployment.name, version, "promoted");
                Ok(json(&Deployed {
                    version,
                    share: 100,
                }))
            }
            "rollback" => {
                let deployed = self.platform.rollback(deployment).await;
                deployed.map(|it| json(&it)).map_err(conflict)
            }
            _ => Err(not_found()),
        }
    }

    fn find(&self, name: &str) -> Result<Arc<Deployment>, Refused> {
        let unknown = || {
            (
                StatusCode::NOT_FOUND,
                format!("there is no function {name}"),
            )
        };
        self.platform.fleet.get(name).ok_or_else(unknown)
    }

    /// `GET /functions/NAME/logs`: the last `lines` lines, and with `follow=1` those that come.
    fn logs(&self, name: &str, query: &str) -> Result<Reply, Refused> {
        let names = &[("lines", 0..=LINES_MAX), ("follow", 0..=1)];
        let [lines, follow] = numbers(query, names)?;
        let (last, coming) = self.find(name)?.log(lines.unwrap_or(LINES_MAX));
        let last = Bytes::from(last.concat());
        let body = match follow {
            Some(1) => followed(last, coming),
            _ => last.into(),
        };
        Ok(reply("application/x-ndjson", body))
    }

    async fn answer(&self, method: &Method, path: &[&str], query: &str) -> Answered {
        match (method, path) {
            (&Method::GET, ["functions"]) => Ok(json(&self.functions())),
            (&Method::GET, ["cluster"]) => match &self.platform.fleet.cluster {
                Some(cluster) => Ok(json(&cluster.view())),
                None => Err(conflict(anyhow!("the manifest has no table [cluster]"))),
            },
            (&Method::GET, ["targets"]) => Ok(json(&self.targets())),
            (&Method::POST, ["reload"]) => {
                let change = self.platform.reload().await;
                change.map(|it| json(&it)).map_err(conflict)
            }
            (&Method::GET, ["sources"]) => Ok(json(&self.platform.fleet.source_list.view())),
            (&Method::POST, ["sources", name, "unpark"]) => self.unpark(name, query).await,
            (_, ["functions", name, action]) => {
                let deployment = self.find(name)?;
                match (method, *action) {
                    (&Method::GET, "history") => Ok(json(&deployment.history())),
                    (&Method::POST, order) => self.order(deployment, order, query).await,
                    _ => Err(not_found()),
                }
            }
            _ => Err(not_found()),
        }
    }

    /// Ends the parking of a key: `topic`, and `key` as text or `key_base64`, of the query.
    async fn unpark(&self, function: &str, query: &str) -> Answered {
        let invalid = |message: &str| (StatusCode::BAD_REQUEST, message.to_owned());
        let (mut topic, mut key) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "topic" => topic = Some(value.into_owned()),
                "key" => key = Some(value.into_owned().into_bytes()),
                "key_base64" => {
                    let bytes = BASE64_STANDARD.decode(value.as_bytes());
                    key = Some(bytes.map_err(|_| invalid("key_base64 is not base64"))?);
                }
                _ => return Err(invalid("only topic, key and key_base64 are known")),
            }
        }
        let (Some(topic), Some(key)) = (topic, key) else {
            return Err(invalid("topic and key must be given"));
        };
        let list = &self.platform.fleet.source_list;
        let letters = list.letters(function, &topic).ok_or_else(|| {
            let message = format!("{function} parks no keys of {topic}");
            (StatusCode::NOT_FOUND, message)
        })?;
        let unparked = letters.unpark(&topic, &key).await;
        unparked.map(|()| json(&topic)).map_err(conflict)
    }

    fn targets(&self) -> Vec<ScrapeTarget> {
        let of_function = |function: &Arc<Function>| {
            let name = function.config.name.clone();
            function
                .instances()
                .into_iter()
                .filter_map(move |instance| {
                    Some(ScrapeTarget {
                        targets: [instance.metrics_address?],
                        labels: [("function", name.clone()), ("instance", instance.name)].into(),
                    })
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
        let path = request.uri().path();
        if request.method() == Method::GET && path == "/metrics" {
            return reply(
                "text/plain; version=0.0.4",
                Bytes::from(self.metrics()).into(),
            );
        }
        let path: Vec<&str> = path.split('/').skip(1).collect();
        let query = request.uri().query().unwrap_or_default();
        let answered = match (request.method(), &*path) {
            (&Method::GET, ["functions", name, "logs"]) => self.logs(name, query),
            (method, path) => {
                let answered = self.answer(method, path, query).await;
                answered.map(|body| reply("application/json", body.into()))
            }
        };
        answered.unwrap_or_else(|(status, message)| {
            let body = json(&serde_json::json!({ "message": message }));
            let mut reply = reply("application/json", body.into());
            *reply.status_mut() = status;
            reply
        })
    }
}

/// These lines, and those that come until the reader leaves.
fn followed(last: Bytes, mut coming: Receiver<Bytes>) -> ReplyBody {
    let (writer, mut stream) = answer::stream(None);
    stream.unread(last);
    tokio::spawn(async move {
        loop {
            let received = tokio::select! {
                received = coming.recv() => received,
                () = writer.pieces.closed() => return,
            };
            let line = match received {
                Ok(line) => line,
                Err(RecvError::Lagged(lines)) => {
                    let message = format!("{lines} lines were left out: the reader was too slow");
                    let mut line = json(&serde_json::json!({ "message": message })).to_vec();
                    line.push(b'\n');
                    line.into()
                }
                Err(RecvError::Closed) => break,
            };
            let _reader_is_gone = writer.pieces.send(line).await;
        }
        let _reader_is_gone = writer.end.send(Ok(()));
    });
    stream.into()
}

/// A JSON text, or the status and the message of a refusal.
type Answered = Result<Bytes, Refused>;
type Refused = (StatusCode, String);

fn not_found() -> Refused {
    (StatusCode::NOT_FOUND, "Not Found".to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn conflict(error: anyhow::Error) -> Refused {
    (StatusCode::CONFLICT, format!("{error:#}"))
}

/// Changes how many instances a function has: `min` and `max`, either or both.
fn scale(function: &Function, query: &str) -> Result<(), Refused> {
    if function.config.attached {
        let name = &function.config.name;
        return Err(conflict(anyhow!(
            "the instances of {name} are started elsewhere"
        )));
    }
    let bounds = 0..=INSTANCES_MAX as usize;
    let [min, max] = numbers(query, &[("min", bounds.clone()), ("max", bounds)])?;
    let (min_now, max_now) = function.bounds();
    let (min, max) = (min.unwrap_or(min_now), max.unwrap_or(max_now));
    if min > max || max == 0 {
        let message = format!("min {min} and max {max}: max must be at least 1 and not below min");
        return Err((StatusCode::BAD_REQUEST, message));
    }
    tracing::info!(function = function.config.name, min, max, "scaled");
    function.set_bounds(min, max);
    Ok(())
}

/// The terms of a canary: `canary`, its share, and `errors_max`, both of a hundred calls. Without
/// `canary` there are none.
fn terms(query: &str) -> Result<Option<Terms>, Refused> {
    let names = &[("canary", 1..=99), ("errors_max", 0..=100)];
    let [share, errors_max] = numbers(query, names)?;
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    match (share, errors_max) {
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let message = "errors_max belongs to a canary".to_owned();
            Err((StatusCode::BAD_REQUEST, message))
        }
        (Some(share), errors_max) => Ok(Some(Terms {
            share: number(share),
            errors_max: errors_max.map_or(ERRORS_MAX, number),
        })),
    }
}

/// The numbers of a query, in the order of `names`, each with its bounds.
fn numbers<const N: usize>(
    query: &str,
    names: &[(&str, RangeInclusive<usize>); N],
) -> Result<[Option<usize>; N], Refused> {
    let mut found = [None; N];
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = names.iter().position(|(name, _)| *name == key);
        let invalid = |message| (StatusCode::BAD_REQUEST, message);
        let place = place.ok_or_else(|| invalid(format!("unknown parameter {key}")))?;
        let bounds = &names[place].1;
        let number = value.parse().ok().filter(|number| bounds.contains(number));
        let (least, most) = (bounds.start(), bounds.end());
        let outside = || invalid(format!("{key} must be {least} to {most}"));
        found[place] = Some(number.ok_or_else(outside)?);
    }
    Ok(found)
}

fn view(deployment: &Deployment, versions: &[Arc<Function>]) -> FunctionView {
    let (min_instances, max_instances) = deployment.current().bounds();
    let own = || {
        let versions = versions.iter();
        versions.filter(|it| it.config.name == deployment.name)
    };
    let (routes, history) = (deployment.routes(), deployment.history());
    FunctionView {
        name: deployment.name.clone(),
        routes: routes.into_iter().map(|route| route.key).collect(),
        min_instances,
        max_instances,
        reserved_concurrency: deployment.current().reserved(),
        queued: own().map(|version| version.load().0).sum(),
        calls: history.iter().map(|version| version.calls).sum(),
        errors: history.iter().map(|version| version.errors).sum(),
        instances: own().flat_map(|version| version.instances()).collect(),
    }
}

fn reply(content_type: &'static str, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
