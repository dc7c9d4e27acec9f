//! The Invoke API: `POST /2015-03-31/functions/{name}/invocations`.
//!
//! Source: AWS Lambda API reference, "Invoke".

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::call::{self, BODY_TIME_MAX, Call, Failure, RESPONSE_BYTES_MAX};
use crate::deployment::Deployment;
use crate::fleet::Fleet;
use crate::server::{Handle, Reply};
use crate::trace::Trace;

const INVOCATION_TYPE: &str = "x-amz-invocation-type";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const UNHANDLED: HeaderValue = HeaderValue::from_static("Unhandled");
const LATEST: &str = "$LATEST";

/// Answers the Invoke API for every function.
pub(crate) struct InvokeApi {
    fleet: Arc<Fleet>,
}

/// An error of the API itself, with its HTTP status, exception name and body members.
struct Exception {
    status: StatusCode,
    name: &'static str,
    body: serde_json::Value,
}

impl Exception {
    fn new(status: StatusCode, name: &'static str, message: &str) -> Self {
        Self {
            status,
            name,
            body: json!({"Type": "User", "message": message}),
        }
    }
}

impl InvokeApi {
    /// The API for the functions of `fleet`.
    pub(crate) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet }
    }

    async fn invoke(&self, function: &Deployment, call: Call) -> Reply {
        let id = call.id;
        match function.invoke_whole(call).await {
            Ok(answer) => executed(answer),
            Err(failure) if failure.is_throttle() => {
                let reason = "ReservedFunctionConcurrentInvocationLimitExceeded";
                let body = json!({"Reason": reason, "Type": "User", "message": "Rate Exceeded."});
                let status = StatusCode::TOO_MANY_REQUESTS;
                let exception = Exception {
                    status,
                    name: "TooManyRequestsException",
                    body,
                };
                let mut reply = exception_reply(&exception);
                reply
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from_static("1"));
                reply
            }
            Err(failure) => function_error(&failure, id),
        }
    }

    fn find(&self, request: &Request<Incoming>) -> Result<Arc<Deployment>, Exception> {
        let name = function_name(request.uri().path())
            .filter(|_| request.method() == Method::POST)
            .ok_or_else(|| {
                let message = "only POST /2015-03-31/functions/NAME/invocations is served";
                Exception::new(StatusCode::NOT_FOUND, "UnknownOperationException", message)
            })?;
        let function = self.fleet.get(&name).ok_or_else(|| not_found(&name))?;
        match request.headers().get(INVOCATION_TYPE) {
            None => Ok(function),
            Some(kind) if kind == "RequestResponse" => Ok(function),
            Some(kind) => {
                let message = format!("the invocation type {kind:?} is not supported");
                let name = "InvalidParameterValueException";
                Err(Exception::new(StatusCode::BAD_REQUEST, name, &message))
            }
        }
    }
}

impl Handle for InvokeApi {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Reply {
        let trace = Trace::of(request.headers());
        // The id of the call, once there is one; an exception before has an id of its own.
        let mut call = Call::new(Bytes::new(), trace.xray());
        let id = call.id;
        let mut reply = match self.find(&request) {
            Err(exception) => exception_reply(&exception),
            Ok(function) => match read_payload(request).await {
                Err(exception) => exception_reply(&exception),
                Ok(payload) => {
                    call.payload = payload;
                    self.invoke(&function, call).await
                }
            },
        };
        reply.headers_mut().insert(REQUEST_ID, call::id_value(id));
        reply
    }
}

/// The name in `/2015-03-31/functions/{name}/invocations`.
fn function_name(path: &str) -> Option<String> {
    let name = path
        .strip_prefix("/2015-03-31/functions/")?
        .strip_suffix("/invocations")?;
    Some(percent_decode_str(name).decode_utf8().ok()?.into_owned())
}

fn not_found(name: &str) -> Exception {
    let arn = format!("arn:aws:lambda:ap-northeast-2:000000000000:function:{name}");
    let body = json!({"Type": "User", "Message": format!("Function not found: {arn}")});
    Exception {
        status: StatusCode::NOT_FOUND,
        name: "ResourceNotFoundException",
        body,
    }
}

/// The event: a JSON text, or nothing, which stands for `{}` as on AWS.
async fn read_payload(request: Request<Incoming>) -> Result<Bytes, Exception> {
    let body = Limited::new(request.into_body(), RESPONSE_BYTES_MAX).collect();
    let body = timeout(BODY_TIME_MAX, body)
        .await
        .unwrap_or_else(|elapsed| Err(elapsed.into()));
    let payload = body.map_err(|error| unreadable(&*error))?.to_bytes();
    if payload.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
        Ok(_) => Ok(payload),
        Err(error) => {
            let message = format!("Could not parse request body into json: {error}");
            let name = "InvalidRequestContentException";
            Err(Exception::new(StatusCode::BAD_REQUEST, name, &message))
        }
    }
}

fn unreadable(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Exception {
    if error.is::<LengthLimitError>() {
        let message = format!("a payload may have up to {RESPONSE_BYTES_MAX} bytes");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Exception::new(status, "RequestTooLargeException", &message)
    } else {
        let message = format!("the payload cannot be read: {error}");
        Exception::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequestContentException",
            &message,
        )
    }
}

fn executed(body: Bytes) -> Reply {
    let mut reply = Response::new(body.into());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(EXECUTED_VERSION, HeaderValue::from_static(LATEST));
    reply
}

fn function_error(failure: &Failure, id: Uuid) -> Reply {
    let mut reply = executed(failure.body(id));
    reply.headers_mut().insert(FUNCTION_ERROR, UNHANDLED);
    reply
}

fn exception_reply(exception: &Exception) -> Reply {
    let mut reply = Response::new(Bytes::from(exception.body.to_string()).into());
    *reply.status_mut() = exception.status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ERROR_TYPE, HeaderValue::from_static(exception.name));
    reply
}
