//! Notices connections whose clients are too slow.
//!
//! One timer per connection looks at a state that costs a store to change; a timer per request
//! would cost more than the rest of the bookkeeping.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Longest time from the first byte of a request's head to its last.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Longest time without a request.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// The lowest bits of the state; the rest is when it began, in milliseconds.
const IDLE: u64 = 0;
const HEAD: u64 = 1;
const WORKING: u64 = 2;
const MASK: u64 = 3;

/// What a connection is doing, and since when.
pub(super) struct Pace {
    opened: Instant,
    state: AtomicU64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            state: AtomicU64::new(IDLE),
        }
    }

    /// A request is being answered.
    pub(super) fn working(&self) {
        self.state.store(WORKING, Ordering::Relaxed);
    }

    /// The request is answered.
    pub(super) fn resting(&self) {
        self.enter(IDLE);
    }

    fn received(&self) {
        if self.state.load(Ordering::Relaxed) & MASK == IDLE {
            self.enter(HEAD);
        }
    }

    /// Whether the client has kept the connection waiting for too long.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let spent = self.elapsed_ms(now).saturating_sub(state >> 2);
        let bound = match state & MASK {
            IDLE => IDLE_MAX,
            HEAD => HEAD_MAX,
            _ => return false,
        };
        u128::from(spent) > bound.as_millis()
    }

    fn enter(&self, state: u64) {
        self.state.store(
            (self.elapsed_ms(Instant::now()) << 2) | state,
            Ordering::Relaxed,
        );
    }

    fn elapsed_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.opened).as_millis()).unwrap_or(u64::MAX >> 2)
    }
}

/// A stream that tells its pace when bytes arrive.
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

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn slow_head_and_long_idleness_are_overdue_but_work_is_not() {
        let pace = Pace::new();
        let now = Instant::now();
        assert!(!pace.is_overdue(now + IDLE_MAX / 2));
        assert!(pace.is_overdue(now + IDLE_MAX + SECOND), "no first byte");

        pace.received();
        assert!(!pace.is_overdue(now + HEAD_MAX / 2));
        assert!(pace.is_overdue(now + HEAD_MAX + SECOND), "no whole head");

        pace.working();
        pace.received();
        assert!(!pace.is_overdue(now + 10 * IDLE_MAX));

        pace.resting();
        assert!(!pace.is_overdue(now + HEAD_MAX + SECOND));
        assert!(pace.is_overdue(now + IDLE_MAX + SECOND), "no next request");
    }
}
