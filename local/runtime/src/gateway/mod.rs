//! HTTP in front of the functions, in the manner of an API Gateway HTTP API.

mod body;
mod event;
mod holding;
mod refusal;
mod response;
mod stream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::time::timeout;

use self::body::Bodies;
use self::event::Matched;
use self::holding::Holding;
use self::refusal::{Refusal, Refusals};
use self::stream::Unusable;
use crate::answer::Answer;
use crate::call::{Call, new_id};
use crate::deployment::Deployment;
use crate::function::{Function, locked};
use crate::manifest::{BODY_BYTES_MAX, Gateway as Settings, RouteBounds, RouteTable};
use crate::server::{Handle, Reply};
use crate::trace::Trace;

/// Most bytes in the names and values of a request's headers.
const HEADER_BYTES_MAX: usize = 10_240;

/// What a route leads to.
#[derive(Clone)]
pub(crate) enum Target {
    /// A function.
    Function {
        /// It.
        deployment: Arc<Deployment>,
        /// The route as the manifest has it.
        route_key: Arc<str>,
        /// The names of its path parameters, in order.
        parameter_names: Arc<[String]>,
        /// What is asked of requests and answers.
        bounds: RouteBounds,
    },
    /// A file in memory.
    Static {
        /// Its bytes.
        content: Bytes,
        /// Their type.
        content_type: HeaderValue,
    },
}

/// Where requests go, and what they get when they go nowhere; made from one manifest.
pub(crate) struct Routing {
    routes: RouteTable<Target>,
    refusals: Refusals,
    tls: Option<Arc<ServerConfig>>,
}

impl Routing {
    /// These routes, with these settings.
    pub(crate) fn new(routes: RouteTable<Target>, settings: Settings) -> Self {
        Self {
            routes,
            tls: settings.tls.clone(),
            refusals: Refusals::new(settings),
        }
    }
}

/// Answers HTTP requests.
pub(crate) struct Gateway {
    routing: Mutex<Arc<Routing>>,
    bodies: Bodies,
    holding: Holding,
}

impl Gateway {
    /// A gateway that follows `routing`.
    pub(crate) fn new(routing: Routing) -> Self {
        Self {
            routing: Mutex::new(Arc::new(routing)),
            bodies: Bodies::default(),
            holding: Holding::new(),
        }
    }

    /// From the next request on follows `routing`.
    pub(crate) fn follow(&self, routing: Routing) {
        *locked(&self.routing) = Arc::new(routing);
    }

    async fn answer(
        &self,
        routing: &Routing,
        parts: &Parts,
        body: Incoming,
        peer: SocketAddr,
        trace: Trace,
    ) -> Result<Reply, Refusal> {
        let found = routing.routes.find(&parts.method, parts.uri.path());
        let (target, parameters) = found.ok_or(Refusal::NoRoute)?;
        let (deployment, matched, bounds) = match target {
            Target::Static {
                content,
                content_type,
            } => return Ok(static_reply(content.clone(), content_type.clone())),
            Target::Function {
                deployment,
                route_key,
                parameter_names,
                bounds,
            } => {
                let matched = Matched {
                    route_key,
                    parameter_names,
                    parameters,
                };
                (deployment, matched, bounds)
            }
        };
        check_headers(parts)?;
        // Held while the body arrives, so that the version is still there to take the call.
        let function = deployment.function();
        if let Err(failure) = function.precheck() {
            body::discard(body).await;
            return Err(Refusal::Failure(failure));
        }
        let bytes_max = bounds.body_bytes_max.unwrap_or(BODY_BYTES_MAX);
        let body = self.bodies.read(&parts.headers, body, bytes_max).await?;
        let id = new_id();
        let payload = event::build(parts, &matched, &body.bytes, peer, id);
        drop(body);
        let trace = trace.xray();
        let call = Call {
            id,
            payload,
            trace,
            extras: None,
        };
        let answered = answer(deployment, &function, call, parts.version);
        let Some(bound) = bounds.timeout else {
            return answered.await;
        };
        timeout(bound, answered)
            .await
            .unwrap_or(Err(Refusal::TooSlow))
    }
}

async fn answer(
    deployment: &Deployment,
    function: &Arc<Function>,
    call: Call,
    version: http::Version,
) -> Result<Reply, Refusal> {
    let outcome = deployment.invoke(function, call).await;
    let answer = outcome.map_err(Refusal::Failure)?;
    let reply = whole_for(version, response_of(function, answer).await).await;
    if reply.as_ref().is_ok_and(|it| it.status().is_server_error()) {
        function.tally.was_bad();
    }
    reply
}

/// Before HTTP/1.1 a reply whose length nobody knows ends with its connection, so one that was cut off
/// would look whole: such a client gets a stream when it has ended.
async fn whole_for(
    version: http::Version,
    reply: Result<Reply, Refusal>,
) -> Result<Reply, Refusal> {
    let (parts, body) = reply?.into_parts();
    let body = if version < http::Version::HTTP_11 {
        body.whole().await.map_err(Refusal::Failure)?
    } else {
        body
    };
    Ok(Reply::from_parts(parts, body))
}

async fn response_of(function: &Function, answer: Answer) -> Result<Reply, Refusal> {
    let mapped = match answer {
        Answer::Whole(bytes) => response::map(&bytes).map_err(Unusable::Invalid),
        Answer::Stream(stream) => stream::map(stream).await,
    };
    mapped.map_err(|unusable| match unusable {
        Unusable::Failed(failure) => Refusal::Failure(failure),
        Unusable::Invalid(reason) => {
            let function_name = &function.config.name;
            tracing::warn!(
                function = function_name,
                "the answer is no response: {reason}"
            );
            function.metrics.bad_response();
            function.tally.was_bad();
            Refusal::BadResponse
        }
    })
}

/// HTTP/2 names the host outside of the headers, and an absolute URI does so, too; it then counts
/// before `Host` (RFC 9113, section 8.3.1; RFC 9112, section 3.2.2).
fn name_host(parts: &mut Parts) {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = authority.and_then(|host| HeaderValue::from_str(host).ok());
    if let Some(host) = host {
        parts.headers.insert(HOST, host);
    }
}

impl Handle for Gateway {
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        locked(&self.routing).tls.clone()
    }

    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Reply {
        let (mut parts, body) = request.into_parts();
        name_host(&mut parts);
        let trace = Trace::of(&parts.headers);
        let routing = Arc::clone(&locked(&self.routing));
        match self.answer(&routing, &parts, body, peer, trace).await {
            Ok(reply) => reply,
            Err(refusal) => {
                if refusal.is_overload() {
                    self.holding.hold().await;
                }
                routing.refusals.reply(&refusal, &parts, trace)
            }
        }
    }
}

fn static_reply(content: Bytes, content_type: HeaderValue) -> Reply {
    let mut reply = Response::new(content.into());
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// Headers become JSON text, so they must be text, and not too much of it.
fn check_headers(parts: &Parts) -> Result<(), Refusal> {
    let mut bytes = 0;
    for (name, value) in &parts.headers {
        bytes += name.as_str().len() + value.len();
        if std::str::from_utf8(value.as_bytes()).is_err() {
            return Err(Refusal::Invalid(format!("the header {name} is not UTF-8")));
        }
    }
    if bytes > HEADER_BYTES_MAX {
        Err(Refusal::HeadersTooLarge)
    } else {
        Ok(())
    }
}
