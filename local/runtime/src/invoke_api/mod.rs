//! The Invoke API: `POST /2015-03-31/functions/{name}/invocations`, and
//! `/2021-11-15/functions/{name}/response-streaming-invocations`.
//!
//! Source: AWS Lambda API reference, "Invoke" and "`InvokeWithResponseStream`".

mod access;
mod context;
mod exceptions;
mod names;
mod request;
mod streamed;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use uuid::Uuid;

pub(crate) use self::access::Access;
use self::exceptions::Exception;
use self::names::{Invoked, LATEST};
use self::request::{Kind, is_tail_wanted, read_payload};
use crate::call::{self, Call, Extras, Failure};
use crate::deployment::Deployment;
use crate::event_queue::EventQueue;
use crate::fleet::Fleet;
use crate::function::Function;
use crate::server::{Handle, Reply};
use crate::tail::Tail;
use crate::trace::Trace;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const UNHANDLED: HeaderValue = HeaderValue::from_static("Unhandled");

/// Answers the Invoke API for every function.
pub(crate) struct InvokeApi {
    fleet: Arc<Fleet>,
    events: Arc<EventQueue>,
    access: Access,
}

impl InvokeApi {
    /// The API for the functions of `fleet`, and who may use it.
    pub(crate) fn new(fleet: Arc<Fleet>, events: Arc<EventQueue>, access: Access) -> Self {
        Self {
            fleet,
            events,
            access,
        }
    }

    async fn answer(&self, request: Request<Incoming>, id: Uuid) -> Result<Reply, Exception> {
        let trace = Trace::of(request.headers()).xray();
        let (parts, body) = request.into_parts();
        let invoked = Invoked::of(&parts.uri)?;
        let function = self.find(&parts.method, &invoked)?;
        let kind = Kind::of(&parts.headers)?;
        if invoked.streamed && kind == Kind::Event {
            let message = "A response stream is for RequestResponse and DryRun only.";
            return Err(Exception::invalid_parameter(message));
        }
        let tail = is_tail_wanted(&parts.headers)?
            .then(|| Arc::new(Tail::new(id, function.current().config.memory_mb)));
        let extras = Extras {
            client_context: context::client_context(&parts.headers)?,
            tenant: context::tenant(&parts.headers)?,
            tail: tail.clone(),
            term: None,
        };
        // Held while the payload arrives, so that the version is still there to take the call.
        let version = function.function();
        let payload = read_payload(kind, &parts.headers, body).await?;
        let extras = Some(Box::new(extras));
        let call = Call {
            id,
            payload,
            trace,
            extras,
        };
        match kind {
            Kind::DryRun => Ok(empty(StatusCode::NO_CONTENT)),
            Kind::Event => match self.events.accept(&function, call).await {
                Ok(()) => Ok(empty(StatusCode::ACCEPTED)),
                Err(refusal) => Err(Exception::not_accepted(&refusal)),
            },
            Kind::RequestResponse if invoked.streamed => {
                let answer = function.invoke(&version, call).await;
                if let Some(exception) = answer.as_ref().err().and_then(Exception::of) {
                    return Err(exception);
                }
                Ok(versioned(streamed::reply(answer, id, tail)))
            }
            Kind::RequestResponse => {
                let reply = invoke(&function, &version, call).await?;
                Ok(with_log(reply, tail).await)
            }
        }
    }

    fn find(&self, method: &Method, invoked: &Invoked) -> Result<Arc<Deployment>, Exception> {
        if method != Method::POST {
            return Err(Exception::unknown_operation());
        }
        let function = self.fleet.get(&invoked.function);
        function
            .filter(|_| invoked.is_latest())
            .ok_or_else(|| Exception::not_found(&invoked.function, invoked.qualifier.as_deref()))
    }
}

async fn invoke(
    deployment: &Deployment,
    version: &Arc<Function>,
    call: Call,
) -> Result<Reply, Exception> {
    let id = call.id;
    let outcome = async { deployment.invoke(version, call).await?.whole().await }.await;
    outcome.map(executed).or_else(|failure| {
        let exception = Exception::of(&failure);
        exception.map_or_else(|| Ok(function_error(&failure, id)), Err)
    })
}

impl Handle for InvokeApi {
    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Reply {
        // The id of the call, once there is one; an exception before has an id of its own.
        let id = call::new_id();
        let answer = match self.access.check(peer, request.headers()) {
            Ok(()) => self.answer(request, id).await,
            Err(exception) => Err(exception),
        };
        let mut reply = answer.unwrap_or_else(Exception::into_reply);
        reply.headers_mut().insert(REQUEST_ID, call::id_value(id));
        reply
    }
}

fn executed(body: Bytes) -> Reply {
    let mut reply = Response::new(body.into());
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    versioned(reply)
}

fn versioned(mut reply: Reply) -> Reply {
    let latest = HeaderValue::from_static(LATEST);
    reply.headers_mut().insert(EXECUTED_VERSION, latest);
    reply
}

fn function_error(failure: &Failure, id: Uuid) -> Reply {
    let mut reply = executed(failure.body(id));
    reply.headers_mut().insert(FUNCTION_ERROR, UNHANDLED);
    reply
}

async fn with_log(mut reply: Reply, tail: Option<Arc<Tail>>) -> Reply {
    if let Some(tail) = tail
        && let Some(log) = tail.finish().await
    {
        reply.headers_mut().insert(LOG_RESULT, log);
    }
    reply
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Bytes::new().into());
    *reply.status_mut() = status;
    reply
}
