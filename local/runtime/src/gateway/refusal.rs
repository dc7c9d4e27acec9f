//! What a client gets when no function answers.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::call::{Failure, json};
use crate::manifest::{ErrorForm, Gateway as Settings};
use crate::server::Reply;
use crate::trace::Trace;

const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Why no function's answer is passed on.
#[derive(Debug)]
pub(super) enum Refusal {
    NoRoute,
    /// The body has more bytes than this.
    BodyTooLarge(usize),
    /// The route's time is over.
    TooSlow,
    HeadersTooLarge,
    Invalid(String),
    /// Bodies that arrive hold too much memory.
    TooManyBodies,
    Failure(Failure),
    BadResponse,
}

impl Refusal {
    /// Whether many such refusals are to be expected at once.
    pub(super) fn is_overload(&self) -> bool {
        matches!(
            self,
            Self::TooManyBodies
                | Self::Failure(
                    Failure::Reserved
                        | Failure::QueueFull
                        | Failure::QueueWait
                        | Failure::NoInstance
                )
        )
    }
}

/// Writes refusals in the form the manifest asks for, and logs them.
pub(super) struct Refusals {
    settings: Settings,
}

/// RFC 9457, with the members `code`, `traceId` and `retryable` of our own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    trace_id: String,
    retryable: bool,
}

impl Refusals {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings }
    }

    pub(super) fn reply(&self, refusal: &Refusal, request: &Parts, trace: Trace) -> Reply {
        let reply = match self.settings.errors {
            ErrorForm::HttpApi => http_api(refusal),
            ErrorForm::Problem => self.problem(refusal, request.uri.path(), trace),
        };
        log(refusal, reply.status(), request, trace);
        reply
    }

    fn problem(&self, refusal: &Refusal, path: &str, trace: Trace) -> Reply {
        let (status, code, title, detail) = describe(refusal);
        let retryable = status == StatusCode::SERVICE_UNAVAILABLE;
        let problem = Problem {
            r#type: self.settings.problem_type.replace("{code}", code),
            title,
            status: status.as_u16(),
            detail: &detail,
            instance: path,
            code,
            trace_id: trace.id(),
            retryable,
        };
        let mut reply = body(status, "application/problem+json", json(&problem));
        if retryable {
            reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        reply
    }
}

/// One line a refusal, as functions log their answers; those of overload come by the thousand and
/// are counted in metrics.
fn log(refusal: &Refusal, status: StatusCode, request: &Parts, trace: Trace) {
    let (_, _, _, detail) = describe(refusal);
    let (method, path, status) = (&request.method, request.uri.path(), status.as_u16());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                http.method = %method,
                http.path = path,
                http.status = status,
                trace.id = trace.id(),
                "{method} {path} {status}: {detail}"
            )
        };
    }
    if refusal.is_overload() {
        line!(debug);
    } else if status >= 500 {
        line!(warn);
    } else {
        line!(info);
    }
}

/// Status, code, title and detail of a problem.
type Description<'a> = (StatusCode, &'static str, &'static str, Cow<'a, str>);

fn describe(refusal: &Refusal) -> Description<'_> {
    match refusal {
        Refusal::NoRoute => (
            StatusCode::NOT_FOUND,
            "route-not-found",
            "There is no such route",
            "nothing is served for this method and path".into(),
        ),
        Refusal::BodyTooLarge(bytes_max) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
            format!("a body may have up to {bytes_max} bytes").into(),
        ),
        Refusal::TooSlow => unavailable("the function took too long"),
        Refusal::HeadersTooLarge => invalid("the headers may have up to 10,240 bytes"),
        Refusal::Invalid(detail) => invalid(detail),
        Refusal::TooManyBodies => overloaded("too many large bodies at once"),
        Refusal::BadResponse => unavailable("the function gave no valid response"),
        Refusal::Failure(failure) => describe_failure(failure),
    }
}

fn describe_failure(failure: &Failure) -> Description<'static> {
    match failure {
        Failure::Function(_) => unavailable("the function failed"),
        Failure::TimedOut(_) => unavailable("the function took too long"),
        Failure::Exited(_) => unavailable("the function's process ended"),
        Failure::ResponseTooLarge | Failure::StreamTooLarge => {
            unavailable("the function's response is too large")
        }
        Failure::CutOff => unavailable("the function broke its response off"),
        Failure::Draining => unavailable("the server is stopping"),
        Failure::NoInstance => unavailable("the function does not start"),
        Failure::LeaseLost => unavailable("another host may have the lease"),
        Failure::Reserved => overloaded("the function has as many requests as it may have"),
        Failure::QueueFull => overloaded("too many requests are waiting"),
        Failure::QueueWait => overloaded("no instance was free in time"),
    }
}

fn invalid(detail: &str) -> Description<'_> {
    let title = "The request is not valid";
    let status = StatusCode::BAD_REQUEST;
    (status, "invalid-request", title, detail.into())
}

fn unavailable(detail: &'static str) -> Description<'static> {
    let title = "The service cannot answer now";
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        title,
        detail.into(),
    )
}

fn overloaded(detail: &'static str) -> Description<'static> {
    let title = "The service has no capacity left";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    (status, "overloaded", title, detail.into())
}

/// The answers of an API Gateway HTTP API.
fn http_api(refusal: &Refusal) -> Reply {
    let (status, message) = match refusal {
        Refusal::NoRoute => (StatusCode::NOT_FOUND, "Not Found"),
        Refusal::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
        Refusal::HeadersTooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Request Header Fields Too Large",
        ),
        Refusal::Invalid(_) => (StatusCode::BAD_REQUEST, "Bad Request"),
        Refusal::Failure(failure) if failure.is_throttle() => {
            (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        }
        Refusal::TooManyBodies
        | Refusal::TooSlow
        | Refusal::Failure(Failure::TimedOut(_) | Failure::NoInstance) => {
            (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        }
        Refusal::Failure(_) | Refusal::BadResponse => {
            (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    };
    let text = format!("{{\"message\":\"{message}\"}}");
    let mut reply = body(status, "application/json", Bytes::from(text));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
    }
    reply
}

fn body(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
