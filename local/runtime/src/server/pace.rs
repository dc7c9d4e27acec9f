//! What a connection is doing, and since when.
//!
//! A store per step, and a look at all connections four times a second, cost less than a timer per
//! request or per connection. What the streams of an HTTP/2 connection do, [`turn`](super::turn)
//! keeps.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::turn::Streams;
use crate::function::locked;

/// Longest time for a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Longest time for a request's head, and from the beginning of a connection to its first one.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Longest time without a request after one was answered.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// How long a connection has been idle when it lets go of what HTTP/1 needs.
const REST_AFTER: Duration = Duration::from_millis(250);
/// Longest time for a client to take its reply.
const REPLY_MAX: Duration = Duration::from_secs(30);
/// Longest time for an HTTP/2 client without requests to let go of a connection that is to end.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// The lowest bits of the state; the rest is when it began, in milliseconds.
const HEAD: u64 = 0;
const WORKING: u64 = 1;
const REPLYING: u64 = 2;
const IDLE: u64 = 3;
const CLOSING: u64 = 4;
const HANDSHAKE: u64 = 5;
/// HTTP/2: there are streams, each with a state of its own.
const STREAMS: u64 = 6;
/// HTTP/2: as [`IDLE`], but what comes is not the beginning of a head: it may be a ping.
const QUIET: u64 = 7;
const BITS: u32 = 3;
const MASK: u64 = (1 << BITS) - 1;

/// What a connection is doing, and since when. Begins with the TLS handshake, or else the wait for
/// the first head.
pub(super) struct Pace {
    opened: Instant,
    state: AtomicU64,
    streams: Mutex<Streams>,
    rest: Notify,
}

impl Pace {
    pub(super) fn new(tls: bool) -> Self {
        Self {
            opened: Instant::now(),
            state: AtomicU64::new(if tls { HANDSHAKE } else { HEAD }),
            streams: Mutex::new(Streams::new()),
            rest: Notify::new(),
        }
    }

    pub(super) fn in_handshake(&self) -> bool {
        self.is(HANDSHAKE)
    }

    /// The TLS handshake is done.
    pub(super) fn secured(&self) {
        if self.is(HANDSHAKE) {
            self.enter(HEAD);
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

    /// Everything is handed to the kernel.
    pub(super) fn flushed(&self) {
        if self.is(REPLYING) {
            self.enter(IDLE);
        }
    }

    /// Bytes have come, or the end.
    pub(super) fn received(&self) {
        if self.is(IDLE) {
            self.enter(HEAD);
        }
    }

    /// The HTTP/2 client is told to go.
    pub(super) fn leaving(&self) {
        let mut streams = locked(&self.streams);
        streams.leaving = true;
        if self.is(QUIET) {
            self.enter(QUIET);
        }
    }

    /// Lets a stream begin or go on; `change` gets all of them. Nothing happens, and none is returned,
    /// if the connection is being closed.
    pub(super) fn change_streams<T>(&self, change: impl FnOnce(&mut Streams) -> T) -> Option<T> {
        let mut streams = locked(&self.streams);
        if self.is(CLOSING) {
            return None;
        }
        let changed = change(&mut streams);
        if streams.is_flood() {
            self.enter(CLOSING);
        } else if streams.is_empty() {
            self.enter(QUIET);
        } else if !self.is(STREAMS) {
            self.enter(STREAMS);
        }
        Some(changed)
    }

    /// Has the connection rest if it has been idle for long enough.
    pub(super) fn suggest_rest(&self, now: Instant) {
        if self.may_rest(now) {
            self.rest.notify_one();
        }
    }

    /// Waits until the connection may rest: HTTP/1 has nothing to do but wait for the next head.
    pub(super) async fn rest(&self) {
        loop {
            self.rest.notified().await;
            // It may have been suggested before the last request.
            if self.may_rest(Instant::now()) {
                return;
            }
        }
    }

    fn may_rest(&self, now: Instant) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let idle = now.saturating_duration_since(self.since(state));
        state & MASK == IDLE && idle >= REST_AFTER
    }

    /// Whether the client has kept the connection waiting for too long, or it is being closed.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let waited = |since: Instant| now.saturating_duration_since(since);
        let bound = match state & MASK {
            HANDSHAKE => HANDSHAKE_MAX,
            HEAD => HEAD_MAX,
            REPLYING => REPLY_MAX,
            QUIET if locked(&self.streams).leaving => LEAVE_MAX,
            IDLE | QUIET => IDLE_MAX,
            STREAMS => {
                let waiting = locked(&self.streams).first_waiting();
                return waiting.is_some_and(|since| waited(since) > REPLY_MAX);
            }
            CLOSING => return true,
            _ => return false,
        };
        waited(self.since(state)) > bound
    }

    /// Since when the connection does nothing but wait for its client, if it does.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let state = self.state.load(Ordering::Relaxed);
        match state & MASK {
            STREAMS => locked(&self.streams).all_waiting_since(),
            WORKING | CLOSING => None,
            _ => Some(self.since(state)),
        }
    }

    /// Marks the connection as closing; false if it is no longer waiting for its client.
    pub(super) fn close(&self) -> bool {
        let streams = locked(&self.streams);
        let closed = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
                let waits = match state & MASK {
                    STREAMS => streams.all_waiting_since().is_some(),
                    WORKING | CLOSING => false,
                    _ => true,
                };
                waits.then_some((state & !MASK) | CLOSING)
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

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
        let pace = Pace::new(false);
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
        let pace = Pace::new(false);
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

    #[tokio::test]
    async fn only_a_connection_that_has_been_idle_for_long_enough_rests() {
        let pace = Pace::new(false);
        let late = || Instant::now() + REST_AFTER;
        for _ in 0..2 {
            pace.suggest_rest(late());
            assert!(pace.rest().now_or_never().is_none(), "it waits for a head");
            assert!(pace.working());
            pace.suggest_rest(late());
            assert!(pace.rest().now_or_never().is_none(), "it works");
            pace.replying();
            pace.flushed();
            pace.suggest_rest(late());
            assert!(pace.rest().now_or_never().is_none(), "it is idle just now");
            pace.received();
        }
        pace.replying();
        pace.flushed();
        let begun = Instant::now();
        let suggested = async {
            loop {
                pace.suggest_rest(Instant::now());
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = pace.rest() => assert!(begun.elapsed() + Duration::from_millis(1) >= REST_AFTER),
            () = suggested => {}
        }
    }

    #[test]
    fn connection_at_work_is_not_closed_and_a_closed_one_does_no_work() {
        let pace = Pace::new(false);
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
