//! What a connection is doing, and since when.
//!
//! A store per step, and one look at all connections a second, cost less than a timer per
//! request or per connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Longest time for a request's head, and from the beginning of a connection to its first one.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Longest time without a request after one was answered.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// Longest time for a client to take its reply.
const REPLY_MAX: Duration = Duration::from_secs(30);

/// The lowest bits of the state; the rest is when it began, in milliseconds.
const HEAD: u64 = 0;
const WORKING: u64 = 1;
const REPLYING: u64 = 2;
const IDLE: u64 = 3;
const CLOSING: u64 = 4;
const BITS: u32 = 3;
const MASK: u64 = (1 << BITS) - 1;

/// What a connection is doing, and since when. Begins with the wait for the first head.
pub(super) struct Pace {
    opened: Instant,
    state: AtomicU64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            state: AtomicU64::new(HEAD),
        }
    }

    /// A head has arrived. False if the connection is being closed, and so must not be served.
    pub(super) fn working(&self) -> bool {
        self.state.swap(WORKING, Ordering::AcqRel) & MASK != CLOSING
    }

    /// The request is answered; the reply is on its way.
    pub(super) fn replying(&self) {
        self.enter(REPLYING);
    }

    /// The reply so far is on its way; what is left of it is not there yet.
    pub(super) fn streaming(&self) {
        if !self.is(CLOSING) {
            self.enter(WORKING);
        }
    }

    fn flushed(&self) {
        if self.is(REPLYING) {
            self.enter(IDLE);
        }
    }

    fn received(&self) {
        if self.is(IDLE) {
            self.enter(HEAD);
        }
    }

    /// Whether the client has kept the connection waiting for too long.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let bound = match state & MASK {
            HEAD => HEAD_MAX,
            REPLYING => REPLY_MAX,
            IDLE => IDLE_MAX,
            _ => return false,
        };
        now.saturating_duration_since(self.since(state)) > bound
    }

    /// Since when the connection does nothing but wait for its client, if it does.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let state = self.state.load(Ordering::Relaxed);
        is_waiting(state).then(|| self.since(state))
    }

    /// Marks the connection as closing; false if it is no longer waiting for its client.
    pub(super) fn close(&self) -> bool {
        let closed = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
                is_waiting(state).then_some((state & !MASK) | CLOSING)
            });
        closed.is_ok()
    }

    fn is(&self, doing: u64) -> bool {
        self.state.load(Ordering::Relaxed) & MASK == doing
    }

    fn enter(&self, doing: u64) {
        let elapsed = self.opened.elapsed().as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX >> BITS);
        self.state
            .store((elapsed << BITS) | doing, Ordering::Release);
    }

    fn since(&self, state: u64) -> Instant {
        self.opened + Duration::from_millis(state >> BITS)
    }
}

fn is_waiting(state: u64) -> bool {
    matches!(state & MASK, HEAD | REPLYING | IDLE)
}

/// A stream that tells its pace what happens on it.
pub(super) struct Paced {
    stream: TcpStream,
    pace: Arc<Pace>,
}

impl Paced {
    pub(super) fn new(stream: TcpStream, pace: Arc<Pace>) -> Self {
        Self { stream, pace }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.pace.received();
        }
        polled
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when everything is handed to the kernel.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if polled.is_ready() {
            self.pace.flushed();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[track_caller]
    fn assert_bound(pace: &Pace, bound: Option<Duration>) {
        let now = Instant::now();
        assert!(!pace.is_overdue(now + bound.unwrap_or(10 * IDLE_MAX) / 2));
        if let Some(bound) = bound {
            assert!(pace.is_overdue(now + bound + SECOND));
        }
    }

    #[test]
    fn every_wait_for_the_client_is_bounded_but_work_is_not() {
        let pace = Pace::new();
        assert_bound(&pace, Some(HEAD_MAX));
        assert!(pace.working());
        pace.received();
        pace.flushed();
        assert_bound(&pace, None);
        pace.replying();
        pace.received();
        assert_bound(&pace, Some(REPLY_MAX));
        pace.flushed();
        assert_bound(&pace, Some(IDLE_MAX));
        pace.received();
        assert_bound(&pace, Some(HEAD_MAX));
    }

    #[test]
    fn pieces_of_a_stream_are_the_clients_to_take_and_the_time_between_is_not() {
        let pace = Pace::new();
        assert!(pace.working());
        pace.replying();
        assert_bound(&pace, Some(REPLY_MAX));
        pace.streaming();
        pace.flushed();
        assert_bound(&pace, None);
        pace.replying();
        assert_bound(&pace, Some(REPLY_MAX));
        pace.flushed();
        assert_bound(&pace, Some(IDLE_MAX));
    }

    #[test]
    fn connection_at_work_is_not_closed_and_a_closed_one_does_no_work() {
        let pace = Pace::new();
        assert!(pace.waiting_since().is_some());
        assert!(pace.working());
        assert!(pace.waiting_since().is_none() && !pace.close());
        pace.replying();
        assert!(pace.waiting_since().is_some());
        pace.flushed();
        assert!(pace.waiting_since().is_some() && pace.close());
        assert!(!pace.working());
    }
}
