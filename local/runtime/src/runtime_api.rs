//! The Lambda Runtime API, as one instance sees it on its own address.
//!
//! Source: AWS, "Using the Lambda runtime API" (version 2018-06-01) and "Extensions API"
//! (version 2020-01-01).

mod streamed;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use uuid::Uuid;

use crate::answer::Answer;
use crate::call::{
    Extras, Failure, Outcome, RESPONSE_BYTES_MAX, STREAM_BYTES_MAX, error_body, id_value, json,
    new_id,
};
use crate::dispatch::{Delivery, Phase, Refusal};
use crate::function::Function;
use crate::instance::Instance;
use crate::server::{Handle, Reply, ReplyBody};

const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
const DEADLINE_MS: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const FUNCTION_ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");
const TENANT_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-tenant-id");
const EXTENSION_ID: HeaderName = HeaderName::from_static("lambda-extension-identifier");
const EXTENSION_NAME: HeaderName = HeaderName::from_static("lambda-extension-name");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The API of one instance.
pub(crate) struct RuntimeApi {
    function: Arc<Function>,
    instance: Arc<Instance>,
    arn: HeaderValue,
}

impl RuntimeApi {
    /// The API of `instance`.
    pub(crate) fn new(function: Arc<Function>, instance: Arc<Instance>) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "function names are letters, digits, - and _"
        )]
        let arn = HeaderValue::from_str(&function.arn).expect("the name is plain text");
        Self {
            function,
            instance,
            arn,
        }
    }

    /// `GET /runtime/invocation/next`: held until there is a call, however long that takes.
    async fn next(&self) -> Reply {
        let first = self.phase() == Some(Phase::Starting);
        let parked = match self.function.park(self.instance.id) {
            Ok(parked) => parked,
            Err(Refusal::Busy) => return wrong_state("an invocation is still running"),
            Err(Refusal::Unknown | Refusal::Expired) => return std::future::pending().await,
        };
        if first {
            self.function.has_started(self.instance.started.elapsed());
        }
        match parked.await {
            Some(delivery) => self.deliver(delivery),
            // The instance is being stopped: its connection ends before this answer would.
            None => std::future::pending().await,
        }
    }

    fn deliver(&self, delivery: Delivery) -> Reply {
        let mut reply = Response::new(delivery.call.payload.into());
        let headers = reply.headers_mut();
        headers.reserve(8);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(REQUEST_ID, id_value(delivery.call.id));
        headers.insert(INVOCATION_ID, HeaderValue::from(delivery.dispatch));
        headers.insert(DEADLINE_MS, HeaderValue::from(epoch_ms(delivery.deadline)));
        headers.insert(FUNCTION_ARN, self.arn.clone());
        headers.insert(TRACE_ID, delivery.call.trace);
        if let Some(extras) = delivery.call.extras {
            self.deliver_extras(*extras, headers);
        }
        reply
    }

    fn deliver_extras(&self, extras: Extras, headers: &mut HeaderMap) {
        let context = extras.client_context.map(|it| (CLIENT_CONTEXT, it));
        let tenant = extras.tenant.map(|it| (TENANT_ID, it));
        headers.extend(context.into_iter().chain(tenant));
        if let Some(tail) = extras.tail {
            tail.begin(&self.instance);
        }
    }

    /// `POST /runtime/invocation/{id}/response`.
    async fn response(&self, id: Uuid, request: Request<Incoming>) -> Reply {
        let dispatch = dispatch_number(request.headers());
        match request.headers().get(RESPONSE_MODE) {
            None => {}
            Some(mode) if mode == "streaming" => return self.stream(id, dispatch, request).await,
            Some(mode) => return invalid_mode(mode),
        }
        match read(request).await {
            Ok(payload) => self.answer(id, dispatch, Ok(Answer::Whole(payload))),
            Err(Unread::TooLarge) => {
                match self.function.answer(
                    self.instance.id,
                    id,
                    dispatch,
                    Err(Failure::ResponseTooLarge),
                ) {
                    Ok(()) => too_large(RESPONSE_BYTES_MAX),
                    Err(refusal) => refused(&refusal, id),
                }
            }
            Err(Unread::Truncated) => truncated(),
        }
    }

    /// A response whose bytes are passed on as they come.
    async fn stream(&self, id: Uuid, dispatch: Option<u64>, request: Request<Incoming>) -> Reply {
        let content_type = request.headers().get(CONTENT_TYPE).cloned();
        let begun = self
            .function
            .begin(self.instance.id, id, dispatch, content_type);
        let pieces = match begun {
            Ok(pieces) => pieces,
            Err(refusal) => return refused(&refusal, id),
        };
        let end = streamed::pass_on(request.into_body(), &pieces).await;
        let reply = match end {
            Err(Failure::StreamTooLarge) => too_large(STREAM_BYTES_MAX),
            Err(Failure::CutOff) => truncated(),
            _ => accepted(),
        };
        let outcome = end.map(|()| Answer::Whole(Bytes::new()));
        match self
            .function
            .answer(self.instance.id, id, dispatch, outcome)
        {
            Ok(()) => reply,
            Err(refusal) => refused(&refusal, id),
        }
    }

    /// `POST /runtime/invocation/{id}/error`: the body goes to the caller word for word.
    async fn error(&self, id: Uuid, request: Request<Incoming>) -> Reply {
        let dispatch = dispatch_number(request.headers());
        match read(request).await {
            Ok(body) => self.answer(id, dispatch, Err(Failure::Function(body))),
            Err(Unread::TooLarge) => too_large(RESPONSE_BYTES_MAX),
            Err(Unread::Truncated) => truncated(),
        }
    }

    fn answer(&self, id: Uuid, dispatch: Option<u64>, outcome: Outcome) -> Reply {
        match self
            .function
            .answer(self.instance.id, id, dispatch, outcome)
        {
            Ok(()) => accepted(),
            Err(refusal) => refused(&refusal, id),
        }
    }

    /// `POST /runtime/init/error`: only before the first poll; the process then ends by itself.
    async fn init_error(&self, request: Request<Incoming>) -> Reply {
        if self.phase() != Some(Phase::Starting) {
            return wrong_state("initialization is over");
        }
        match read(request).await {
            Ok(body) => {
                let reason = String::from_utf8_lossy(&body);
                tracing::error!(
                    function = self.function.config.name,
                    instance = &*self.instance.name,
                    "initialization failed: {reason}"
                );
                accepted()
            }
            Err(Unread::TooLarge) => too_large(RESPONSE_BYTES_MAX),
            Err(Unread::Truncated) => truncated(),
        }
    }

    fn phase(&self) -> Option<Phase> {
        self.function
            .instance_state(self.instance.id)
            .map(|(phase, _)| phase)
    }

    /// What a client's graceful shutdown needs: an internal extension without events.
    async fn handle_extension(&self, path: &str, request: Request<Incoming>) -> Reply {
        let headers = request.headers();
        match (request.method(), path) {
            (&Method::POST, "/2020-01-01/extension/register") => self.register(request).await,
            (&Method::GET, "/2020-01-01/extension/event/next") => {
                if headers.contains_key(EXTENSION_ID) {
                    std::future::pending().await
                } else {
                    error(
                        StatusCode::FORBIDDEN,
                        "Extension.MissingHeader",
                        "no identifier",
                    )
                }
            }
            _ => not_found(),
        }
    }

    async fn register(&self, request: Request<Incoming>) -> Reply {
        if !request.headers().contains_key(EXTENSION_NAME) {
            return error(
                StatusCode::FORBIDDEN,
                "Extension.MissingHeader",
                "no extension name",
            );
        }
        let body = read(request).await.unwrap_or_default();
        match serde_json::from_slice::<Registration>(&body) {
            Ok(registration) if registration.events.is_empty() => {}
            Ok(_) => {
                let message = "internal extensions may not subscribe to events";
                return error(StatusCode::FORBIDDEN, "Extension.InvalidEventType", message);
            }
            Err(_) => {
                let message = "the body must be {\"events\":[]}";
                return error(StatusCode::BAD_REQUEST, "InvalidRequestFormat", message);
            }
        }
        let name = &self.function.config.name;
        let body = Registered {
            function_name: name,
            function_version: "$LATEST",
            handler: name,
        };
        let mut reply = reply(StatusCode::OK, json(&body));
        reply.headers_mut().insert(EXTENSION_ID, id_value(new_id()));
        reply
    }
}

impl Handle for RuntimeApi {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Reply {
        let path = request.uri().path().to_owned();
        let Some(call) = path.strip_prefix("/2018-06-01/runtime/") else {
            return self.handle_extension(&path, request).await;
        };
        match (request.method(), call) {
            (&Method::GET, "invocation/next") => self.next().await,
            (&Method::POST, "init/error") => self.init_error(request).await,
            (&Method::POST, _) => match parse_invocation(call) {
                Some((id, "response")) => self.response(id, request).await,
                Some((id, "error")) => self.error(id, request).await,
                _ => not_found(),
            },
            _ => not_found(),
        }
    }
}

#[derive(serde::Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Registered<'a> {
    function_name: &'a str,
    function_version: &'a str,
    handler: &'a str,
}

enum Unread {
    TooLarge,
    Truncated,
}

async fn read(request: Request<Incoming>) -> Result<Bytes, Unread> {
    match Limited::new(request.into_body(), RESPONSE_BYTES_MAX)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Unread::TooLarge),
        Err(_) => Err(Unread::Truncated),
    }
}

fn parse_invocation(call: &str) -> Option<(Uuid, &str)> {
    let (id, action) = call.strip_prefix("invocation/")?.split_once('/')?;
    // An id nobody gave out is as unknown as one that is no UUID.
    Some((Uuid::try_parse(id).unwrap_or_default(), action))
}

/// The invocation id the client repeats; one that is no number matches no dispatch.
fn dispatch_number(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(INVOCATION_ID)?;
    Some(
        value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
    )
}

fn epoch_ms(deadline: Instant) -> u64 {
    let at = SystemTime::now() + deadline.saturating_duration_since(Instant::now());
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(ReplyBody::from(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

fn error(status: StatusCode, error_type: &str, message: &str) -> Reply {
    reply(status, error_body(error_type, message))
}

fn accepted() -> Reply {
    reply(
        StatusCode::ACCEPTED,
        Bytes::from_static(b"{\"status\":\"OK\"}\n"),
    )
}

fn refused(refusal: &Refusal, id: Uuid) -> Reply {
    match refusal {
        Refusal::Expired => error(
            StatusCode::GONE,
            "InvokeTimeout",
            &format!("invocation {id} timed out"),
        ),
        Refusal::Unknown | Refusal::Busy => error(
            StatusCode::BAD_REQUEST,
            "InvalidRequestID",
            &format!("no invocation {id} is running here"),
        ),
    }
}

fn wrong_state(message: &str) -> Reply {
    error(StatusCode::FORBIDDEN, "InvalidStateTransition", message)
}

/// The answer to a request whose body has broken off.
pub(crate) fn truncated() -> Reply {
    error(
        StatusCode::BAD_REQUEST,
        "TruncatedHTTPRequest",
        "the body ended early",
    )
}

fn too_large(bytes_max: usize) -> Reply {
    let message = format!("more than {bytes_max} bytes");
    error(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestEntityTooLarge",
        &message,
    )
}

fn invalid_mode(mode: &HeaderValue) -> Reply {
    let message = format!("the response mode {mode:?} is not \"streaming\"");
    error(
        StatusCode::BAD_REQUEST,
        "InvalidFunctionResponseMode",
        &message,
    )
}

fn not_found() -> Reply {
    error(StatusCode::NOT_FOUND, "NotFound", "no such call")
}
