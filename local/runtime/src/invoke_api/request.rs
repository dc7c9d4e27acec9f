//! What a request for an invocation says beside the function's name.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::exceptions::Exception;
use crate::call::{BODY_TIME_MAX, RESPONSE_BYTES_MAX};

const INVOCATION_TYPE: &str = "x-amz-invocation-type";
const LOG_TYPE: &str = "x-amz-log-type";
/// Largest event of an asynchronous invocation in bytes, as on AWS.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// How much of a payload that is too large is read, so that the client gets to read the answer.
const DISCARDED_BYTES_MAX: usize = 2 * RESPONSE_BYTES_MAX;
/// Types that a payload may be said to have: JSON; the two that SDKs give to bytes; and the one
/// that curl adds to whatever it sends.
const CONTENT_TYPES: [&str; 6] = [
    "application/json",
    "application/x-amz-json-1.0",
    "application/x-amz-json-1.1",
    "application/octet-stream",
    "binary/octet-stream",
    "application/x-www-form-urlencoded",
];

/// `X-Amz-Invocation-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The caller waits for the answer.
    RequestResponse,
    /// The caller is told that the event is kept.
    Event,
    /// The function is not called.
    DryRun,
}

impl Kind {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Exception> {
        match headers.get(INVOCATION_TYPE).map(HeaderValue::as_bytes) {
            None | Some(b"RequestResponse") => Ok(Self::RequestResponse),
            Some(b"Event") => Ok(Self::Event),
            Some(b"DryRun") => Ok(Self::DryRun),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                let message = format!(
                    "{INVOCATION_TYPE} must be RequestResponse, Event or DryRun, not {other}"
                );
                Err(Exception::invalid_parameter(&message))
            }
        }
    }

    fn payload_bytes_max(self) -> usize {
        match self {
            Self::Event => EVENT_BYTES_MAX,
            Self::RequestResponse | Self::DryRun => RESPONSE_BYTES_MAX,
        }
    }
}

/// Whether `X-Amz-Log-Type` asks for the end of the log.
pub(super) fn is_tail_wanted(headers: &HeaderMap) -> Result<bool, Exception> {
    match headers.get(LOG_TYPE).map(HeaderValue::as_bytes) {
        None | Some(b"None") => Ok(false),
        Some(b"Tail") => Ok(true),
        Some(_) => {
            let message = format!("{LOG_TYPE} must be None or Tail");
            Err(Exception::invalid_parameter(&message))
        }
    }
}

/// The event: a JSON text, or nothing, which stands for `{}` as on AWS.
pub(super) async fn read_payload(
    kind: Kind,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Bytes, Exception> {
    check_content_type(headers)?;
    let body = Limited::new(body, DISCARDED_BYTES_MAX).collect();
    let body = timeout(BODY_TIME_MAX, body)
        .await
        .unwrap_or_else(|elapsed| Err(elapsed.into()));
    let max = kind.payload_bytes_max();
    let payload = body.map_err(|error| unreadable(&*error, max))?.to_bytes();
    if payload.len() > max {
        return Err(Exception::too_large(max));
    }
    if payload.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
        Ok(_) => Ok(payload),
        Err(error) => {
            let message = format!("Could not parse request body into json: {error}");
            Err(Exception::invalid_content(&message))
        }
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Exception> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if CONTENT_TYPES.contains(&essence) || essence.ends_with("+json") {
        return Ok(());
    }
    let message = format!("Unsupported Media Type: {essence}");
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Err(Exception::new(
        status,
        "UnsupportedMediaTypeException",
        &message,
    ))
}

fn unreadable(error: &(dyn std::error::Error + Send + Sync + 'static), max: usize) -> Exception {
    if error.is::<LengthLimitError>() {
        Exception::too_large(max)
    } else {
        Exception::invalid_content(&format!("the payload cannot be read: {error}"))
    }
}
