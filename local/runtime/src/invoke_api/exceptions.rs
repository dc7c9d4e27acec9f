//! The errors of the Invoke API itself, as AWS SDKs expect them.
//!
//! Source: AWS Lambda API reference, "Invoke", Errors.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::json;

use crate::call::Failure;
use crate::event_queue::NotAccepted;
use crate::function::arn;
use crate::server::Reply;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// An error with its HTTP status, exception name and body members.
#[derive(Debug)]
pub(super) struct Exception {
    status: StatusCode,
    pub(super) name: &'static str,
    body: serde_json::Value,
}

impl Exception {
    /// The caller's mistake.
    pub(super) fn new(status: StatusCode, name: &'static str, message: &str) -> Self {
        Self {
            status,
            name,
            body: json!({"Type": "User", "message": message}),
        }
    }

    /// Nothing is served there.
    pub(super) fn unknown_operation() -> Self {
        let message = "only POST /2015-03-31/functions/NAME/invocations is served";
        Self::new(StatusCode::NOT_FOUND, "UnknownOperationException", message)
    }

    /// There is no such function, or none with that qualifier.
    pub(super) fn not_found(function: &str, qualifier: Option<&str>) -> Self {
        let arn = arn(function, qualifier);
        Self {
            status: StatusCode::NOT_FOUND,
            name: "ResourceNotFoundException",
            body: json!({"Type": "User", "Message": format!("Function not found: {arn}")}),
        }
    }

    /// A header or a member of the query is not valid.
    pub(super) fn invalid_parameter(message: &str) -> Self {
        let name = "InvalidParameterValueException";
        Self::new(StatusCode::BAD_REQUEST, name, message)
    }

    /// The payload is no JSON text, or cannot be read.
    pub(super) fn invalid_content(message: &str) -> Self {
        let name = "InvalidRequestContentException";
        Self::new(StatusCode::BAD_REQUEST, name, message)
    }

    /// The payload is above `max` bytes.
    pub(super) fn too_large(max: usize) -> Self {
        let message =
            format!("Request must be smaller than {max} bytes for the InvokeFunction operation");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Self::new(status, "RequestTooLargeException", &message)
    }

    /// More calls than may be, for a `Reason` of AWS's model.
    pub(super) fn throttled(reason: &str) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            name: "TooManyRequestsException",
            body: json!({"Reason": reason, "Type": "User", "message": "Rate Exceeded."}),
        }
    }

    /// The runtime cannot do it now.
    pub(super) fn service(message: &str) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            name: "ServiceException",
            body: json!({"Type": "Service", "Message": message}),
        }
    }

    /// The exception that a failure is; `None` if the function itself has failed.
    pub(super) fn of(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::Reserved => Some(Self::throttled(
                "ReservedFunctionConcurrentInvocationLimitExceeded",
            )),
            Failure::QueueFull | Failure::QueueWait => {
                Some(Self::throttled("ConcurrentInvocationLimitExceeded"))
            }
            Failure::Draining => Some(Self::service("The runtime is stopping.")),
            Failure::Function(_)
            | Failure::TimedOut(_)
            | Failure::Exited(_)
            | Failure::ResponseTooLarge
            | Failure::StreamTooLarge
            | Failure::CutOff
            | Failure::NoInstance
            | Failure::LeaseLost => None,
        }
    }

    /// Why an event is not accepted.
    pub(super) fn not_accepted(refusal: &NotAccepted) -> Self {
        match refusal {
            NotAccepted::Full => Self::throttled("ConcurrentInvocationLimitExceeded"),
            NotAccepted::Unkept => Self::service("The event cannot be kept."),
        }
    }

    /// The answer that tells it.
    pub(super) fn into_reply(self) -> Reply {
        let mut reply = Response::new(Bytes::from(self.body.to_string()).into());
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.name));
        let again = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::INTERNAL_SERVER_ERROR,
        ];
        if again.contains(&self.status) {
            headers.insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        reply
    }
}
