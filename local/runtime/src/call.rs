//! One call to a function: what goes in, what comes out.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use uuid::Uuid;

use crate::answer::Answer;
use crate::cluster::Term;
use crate::tail::Tail;

/// Largest answer of a function in bytes, as on AWS: 6 MiB and a little for the envelope.
pub(crate) const RESPONSE_BYTES_MAX: usize = 6_291_556;

/// Largest streamed answer in bytes, as on AWS.
pub(crate) const STREAM_BYTES_MAX: usize = 200 * 1024 * 1024;

/// Longest time for the body of a caller's request to arrive.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// A call as its caller makes it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The request id, the same for caller and function.
    pub(crate) id: Uuid,
    /// The event, a JSON text.
    pub(crate) payload: Bytes,
    /// `Lambda-Runtime-Trace-Id`.
    pub(crate) trace: HeaderValue,
    /// What few callers add.
    pub(crate) extras: Option<Box<Extras>>,
}

/// What a caller of the Invoke API, or a source, may add to an event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    /// `Lambda-Runtime-Client-Context`, a JSON object.
    pub(crate) client_context: Option<HeaderValue>,
    /// `Lambda-Runtime-Aws-Tenant-Id`.
    pub(crate) tenant: Option<HeaderValue>,
    /// Records what the instance logs meanwhile.
    pub(crate) tail: Option<Arc<Tail>>,
    /// The term without which the call may not begin.
    pub(crate) term: Option<Arc<Term>>,
}

/// The answer of a function, or why there is none.
pub(crate) type Outcome = Result<Answer, Failure>;

/// An outcome with the moment the call was handed to an instance.
#[derive(Debug)]
pub(crate) struct Finished {
    /// What came out.
    pub(crate) outcome: Outcome,
    /// When an instance took the call; `None` if none did.
    pub(crate) dispatched: Option<Instant>,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The function reported an error: its JSON text, word for word.
    Function(Bytes),
    /// No answer within the function's timeout.
    TimedOut(Duration),
    /// The instance ended; how it did.
    Exited(String),
    /// The answer was above [`RESPONSE_BYTES_MAX`].
    ResponseTooLarge,
    /// A streamed answer was above [`STREAM_BYTES_MAX`].
    StreamTooLarge,
    /// The answer stopped before its end.
    CutOff,
    /// As many calls wait and run as the function may have.
    Reserved,
    /// The queue was full.
    QueueFull,
    /// No instance was free in time.
    QueueWait,
    /// The function's instances fail, and none will be there in time.
    NoInstance,
    /// The runtime is stopping.
    Draining,
    /// Another host may have the lease by now under which the call was made.
    LeaseLost,
}

/// The body of an error, as AWS writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    error_type: &'a str,
    error_message: &'a str,
}

impl Call {
    /// A call with a new id.
    pub(crate) fn new(payload: Bytes, trace: HeaderValue) -> Self {
        Self {
            id: new_id(),
            payload,
            trace,
            extras: None,
        }
    }

    /// Whether it may not begin any more.
    pub(crate) fn has_lost_its_lease(&self, now: Instant) -> bool {
        let term = self.extras.as_ref().and_then(|it| it.term.as_ref());
        term.is_some_and(|term| !term.holds(now))
    }
}

/// A new id (UUID version 4). Ids need not be secret, so the fast generator will do.
pub(crate) fn new_id() -> Uuid {
    let random = fastrand::u128(..).to_ne_bytes();
    uuid::Builder::from_random_bytes(random).into_uuid()
}

/// An id as a header's value.
pub(crate) fn id_value(id: Uuid) -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut text);
    #[expect(
        clippy::expect_used,
        reason = "a UUID is hexadecimal digits and hyphens"
    )]
    HeaderValue::from_str(text).expect("a UUID is plain text")
}

/// `{"errorType","errorMessage"}`, the body of every error of the Lambda APIs.
pub(crate) fn error_body(error_type: &str, error_message: &str) -> Bytes {
    json(&ErrorBody {
        error_type,
        error_message,
    })
}

/// The JSON text of `value`.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    #[expect(
        clippy::expect_used,
        reason = "the types given here have text keys and no maps fail"
    )]
    serde_json::to_vec(value)
        .expect("plain data serializes")
        .into()
}

/// For logs and for readers of a stream that is cut off.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// Whether the call was refused before any instance saw it.
    pub(crate) fn is_throttle(&self) -> bool {
        matches!(
            self,
            Self::Reserved | Self::QueueFull | Self::QueueWait | Self::Draining | Self::LeaseLost
        )
    }

    /// The error JSON that a caller of the Invoke API gets.
    pub(crate) fn body(&self, id: Uuid) -> Bytes {
        let (error_type, message) = match self {
            Self::Function(body) => return body.clone(),
            Self::TimedOut(timeout) => {
                let (seconds, centis) = (timeout.as_secs(), timeout.subsec_millis() / 10);
                let message = format!("Task timed out after {seconds}.{centis:02} seconds");
                ("Sandbox.Timedout", message)
            }
            Self::Exited(reason) => ("Runtime.ExitError", reason.clone()),
            Self::NoInstance => {
                let message = "The runtime keeps exiting; it is started again later";
                ("Runtime.ExitError", message.to_owned())
            }
            Self::ResponseTooLarge => {
                let message = format!(
                    "Response payload size exceeded maximum allowed payload size \
                     ({RESPONSE_BYTES_MAX} bytes)."
                );
                return error_body("Function.ResponseSizeTooLarge", &message);
            }
            Self::StreamTooLarge => {
                let message = format!(
                    "Streamed response exceeded maximum allowed size ({STREAM_BYTES_MAX} bytes)."
                );
                return error_body("Function.ResponseSizeTooLarge", &message);
            }
            Self::CutOff => (
                "Runtime.TruncatedResponse",
                "The response ended early".to_owned(),
            ),
            Self::LeaseLost => (
                "Runtime.LeaseLost",
                "Another host may have the lease".to_owned(),
            ),
            Self::Reserved | Self::QueueFull | Self::QueueWait | Self::Draining => {
                return error_body("TooManyRequestsException", "Rate Exceeded.");
            }
        };
        error_body(error_type, &format!("RequestId: {id} Error: {message}"))
    }
}
