//! Reads the bodies of requests, within bounds of size, time and memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::refusal::Refusal;
use crate::call::BODY_TIME_MAX;
use crate::manifest::BODY_BYTES_MAX;

/// How much of a body above that is read, so that the client gets to read the answer.
const DISCARDED_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// Most bytes that the bodies being read hold together.
const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How much, and for how long, is read of the body of a request that is refused anyway.
const REFUSED_BYTES_MAX: usize = 64 * 1024;
const REFUSED_TIME_MAX: Duration = Duration::from_secs(1);

/// The bodies being read.
#[derive(Default)]
pub(super) struct Bodies {
    held: AtomicUsize,
}

/// A whole body, which counts as held until it is dropped.
pub(super) struct Held<'a> {
    pub(super) bytes: Bytes,
    bodies: &'a Bodies,
    counted: usize,
}

impl Bodies {
    /// Reads the whole body, of at most `bytes_max` bytes, of a request with these headers.
    ///
    /// # Errors
    /// [`Refusal::BodyTooLarge`], [`Refusal::TooManyBodies`]; [`Refusal::Invalid`] if it is cut
    /// off or too slow.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        bytes_max: usize,
    ) -> Result<Held<'_>, Refusal> {
        let mut held = Held {
            bytes: Bytes::new(),
            bodies: self,
            counted: 0,
        };
        if body.is_end_stream() {
            return Ok(held);
        }
        if announced_length(headers).is_some_and(|length| length > DISCARDED_BYTES_MAX) {
            return Err(Refusal::BodyTooLarge(bytes_max));
        }
        let filled = timeout(BODY_TIME_MAX, held.fill(body, bytes_max)).await;
        filled.unwrap_or_else(|_| {
            let reason = format!("the body took more than {BODY_TIME_MAX:?}");
            Err(Refusal::Invalid(reason))
        })?;
        Ok(held)
    }
}

impl Held<'_> {
    async fn fill(&mut self, mut body: Incoming, bytes_max: usize) -> Result<(), Refusal> {
        let mut total = 0;
        let mut several = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| Refusal::Invalid(format!("the body cannot be read: {error}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            total += data.len();
            if total > DISCARDED_BYTES_MAX {
                break;
            } else if total > bytes_max {
                several = BytesMut::new();
            } else if total == data.len() && body.is_end_stream() {
                // The usual case: it came in one piece, which is not copied.
                self.count(total)?;
                self.bytes = data;
            } else {
                self.count(data.len())?;
                several.extend_from_slice(&data);
            }
        }
        if total > bytes_max {
            return Err(Refusal::BodyTooLarge(bytes_max));
        }
        if !several.is_empty() {
            self.bytes = several.freeze();
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.counted += bytes;
        let before = self.bodies.held.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > HELD_BYTES_MAX {
            Err(Refusal::TooManyBodies)
        } else {
            Ok(())
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// Reads away a little of a body nobody wants: a connection closed on unread bytes is reset, and
/// the client would not get to read the answer.
pub(super) async fn discard(mut body: Incoming) {
    let mut left = REFUSED_BYTES_MAX;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _cut_off = timeout(REFUSED_TIME_MAX, reading).await;
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
