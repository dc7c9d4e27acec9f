//! HTTP in front of the functions, in the manner of an API Gateway HTTP API.

mod event;
mod refusal;
mod response;
mod router;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use self::event::Matched;
use self::refusal::{Refusal, Refusals};
pub(crate) use self::router::{Router, Target};
use crate::call::{Call, new_id};
use crate::function::Function;
use crate::manifest::Gateway as Settings;
use crate::server::{Handle, Reply};
use crate::trace::Trace;
use crate::wakes::Wakes;

/// Largest request body in bytes.
const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;
/// How much of a body above that is read, so that the client gets to read the answer.
const DISCARDED_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// Longest time for a body to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Most bytes in the names and values of a request's headers.
const HEADER_BYTES_MAX: usize = 10_240;

/// Answers HTTP requests.
pub(crate) struct Gateway {
    router: Router,
    refusals: Refusals,
    wakes: Wakes,
}

impl Gateway {
    /// A gateway for the routes of `router`.
    pub(crate) fn new(router: Router, settings: Settings, wakes: Wakes) -> Self {
        Self {
            router,
            refusals: Refusals::new(settings),
            wakes,
        }
    }

    async fn answer(
        &self,
        parts: &Parts,
        body: Incoming,
        peer: SocketAddr,
        trace: Trace,
    ) -> Result<Reply, Refusal> {
        let found = self.router.find(&parts.method, parts.uri.path());
        let (target, parameters) = found.ok_or(Refusal::NoRoute)?;
        match target {
            Target::Static {
                content,
                content_type,
            } => Ok(static_reply(content.clone(), content_type.clone())),
            Target::Function {
                function,
                route_key,
                parameter_names,
            } => {
                check_headers(parts)?;
                let body = read(parts, body).await?;
                let matched = Matched {
                    route_key,
                    parameter_names,
                    parameters,
                };
                self.call(function, parts, &matched, &body, peer, trace)
                    .await
            }
        }
    }

    async fn call(
        &self,
        function: &Arc<Function>,
        parts: &Parts,
        matched: &Matched<'_>,
        body: &Bytes,
        peer: SocketAddr,
        trace: Trace,
    ) -> Result<Reply, Refusal> {
        let id = new_id();
        let payload = event::build(parts, matched, body, peer, id);
        let call = Call {
            id,
            payload,
            trace: trace.xray(),
        };
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
            Err(refusal) => self.refusals.reply(&refusal, parts.uri.path(), trace),
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

async fn read(parts: &Parts, body: Incoming) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > DISCARDED_BYTES_MAX) {
        return Err(Refusal::BodyTooLarge);
    }
    let read = timeout(BODY_TIME_MAX, read_all(body)).await;
    read.unwrap_or_else(|_| {
        let reason = format!("the body took more than {BODY_TIME_MAX:?}");
        Err(Refusal::Invalid(reason))
    })
}

async fn read_all(body: Incoming) -> Result<Bytes, Refusal> {
    let limited = Limited::new(body, DISCARDED_BYTES_MAX).collect().await;
    let collected = limited.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Refusal::BodyTooLarge
        } else {
            Refusal::Invalid(format!("the body cannot be read: {error}"))
        }
    })?;
    let bytes = collected.to_bytes();
    if bytes.len() > BODY_BYTES_MAX {
        Err(Refusal::BodyTooLarge)
    } else {
        Ok(bytes)
    }
}
