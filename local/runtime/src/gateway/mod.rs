//! HTTP in front of the functions, in the manner of an API Gateway HTTP API.

mod body;
mod event;
mod holding;
mod refusal;
mod response;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use self::body::Bodies;
use self::event::Matched;
use self::holding::Holding;
use self::refusal::{Refusal, Refusals};
use crate::call::{Call, new_id};
use crate::function::Function;
use crate::manifest::{Gateway as Settings, RouteTable};
use crate::server::{Handle, Reply};
use crate::trace::Trace;
use crate::wakes::Wakes;

/// Most bytes in the names and values of a request's headers.
const HEADER_BYTES_MAX: usize = 10_240;

/// What a route leads to.
#[derive(Clone)]
pub(crate) enum Target {
    /// A function.
    Function {
        /// It.
        function: Arc<Function>,
        /// The route as the manifest has it.
        route_key: Arc<str>,
        /// The names of its path parameters, in order.
        parameter_names: Arc<[String]>,
    },
    /// A file in memory.
    Static {
        /// Its bytes.
        content: Bytes,
        /// Their type.
        content_type: HeaderValue,
    },
}

/// Answers HTTP requests.
pub(crate) struct Gateway {
    routes: RouteTable<Target>,
    refusals: Refusals,
    wakes: Wakes,
    bodies: Bodies,
    holding: Holding,
}

impl Gateway {
    /// A gateway for `routes`.
    pub(crate) fn new(routes: RouteTable<Target>, settings: Settings, wakes: Wakes) -> Self {
        Self {
            routes,
            refusals: Refusals::new(settings),
            wakes,
            bodies: Bodies::default(),
            holding: Holding::new(),
        }
    }

    async fn answer(
        &self,
        parts: &Parts,
        body: Incoming,
        peer: SocketAddr,
        trace: Trace,
    ) -> Result<Reply, Refusal> {
        let found = self.routes.find(&parts.method, parts.uri.path());
        let (target, parameters) = found.ok_or(Refusal::NoRoute)?;
        let (function, matched) = match target {
            Target::Static {
                content,
                content_type,
            } => return Ok(static_reply(content.clone(), content_type.clone())),
            Target::Function {
                function,
                route_key,
                parameter_names,
            } => {
                let matched = Matched {
                    route_key,
                    parameter_names,
                    parameters,
                };
                (function, matched)
            }
        };
        check_headers(parts)?;
        if let Err(failure) = function.precheck() {
            body::discard(body).await;
            return Err(Refusal::Failure(failure));
        }
        let body = self.bodies.read(&parts.headers, body).await?;
        let id = new_id();
        let payload = event::build(parts, &matched, &body.bytes, peer, id);
        drop(body);
        let trace = trace.xray();
        self.call(function, Call { id, payload, trace }).await
    }

    async fn call(&self, function: &Arc<Function>, call: Call) -> Result<Reply, Refusal> {
        let answer = function.invoke(call).await.map_err(Refusal::Failure)?;
        self.wakes.answered(&function.config.name);
        response::map(&answer).map_err(|reason| {
            let function_name = &function.config.name;
            tracing::warn!(
                function = function_name,
                "the answer is no response: {reason}"
            );
            function.metrics.bad_response();
            Refusal::BadResponse
        })
    }
}

impl Handle for Gateway {
    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Reply {
        let (parts, body) = request.into_parts();
        let trace = Trace::of(&parts.headers);
        match self.answer(&parts, body, peer, trace).await {
            Ok(reply) => reply,
            Err(refusal) => {
                if refusal.is_overload() {
                    self.holding.hold().await;
                }
                self.refusals.reply(&refusal, &parts, trace)
            }
        }
    }
}

fn static_reply(content: Bytes, content_type: HeaderValue) -> Reply {
    let mut reply = Response::new(Full::new(content));
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
