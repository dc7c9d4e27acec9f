//! The right to call a function by its schedules and continuously, which one host has at a time.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use http::HeaderValue;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::function::locked;

/// How long a lease holds after the database was last asked, and said that it does. A host that is
/// cut off, or paused, calls nothing under it after that.
pub(super) const HOLDS_FOR: Duration = Duration::from_secs(2);

/// A lease that this host has; given back when dropped.
pub(crate) struct Lease {
    /// What the calls made under it refer to.
    pub(crate) term: Arc<Term>,
    pub(super) hurry: Arc<Notify>,
}

/// The time for which this host has a lease.
pub(crate) struct Term {
    /// The function.
    pub(super) function: String,
    /// Larger than that of every host before.
    pub(crate) epoch: u64,
    /// When the first call may be made: before, one of another host may still be running.
    pub(crate) begins: Instant,
    /// Told when no further call is to be made.
    pub(crate) ended: CancellationToken,
    state: Mutex<State>,
}

struct State {
    /// When the database was asked that has last said that the term goes on; `None` after it is lost.
    confirmed: Option<Instant>,
    given_back: bool,
}

impl Term {
    /// The term of `epoch`, confirmed at `confirmed`, that also ends with `ended`.
    pub(crate) fn new(
        function: String,
        epoch: u64,
        confirmed: Instant,
        begins: Instant,
        ended: CancellationToken,
    ) -> Self {
        Self {
            function,
            epoch,
            begins,
            ended,
            state: Mutex::new(State {
                confirmed: Some(confirmed),
                given_back: false,
            }),
        }
    }

    /// Whether a call may begin.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.holds_until().is_some_and(|end| now < end)
    }

    /// When it ends unless it is confirmed again; `None` if it is lost.
    pub(super) fn holds_until(&self) -> Option<Instant> {
        Some(locked(&self.state).confirmed? + HOLDS_FOR)
    }

    /// The database said so when it was asked at `at`.
    pub(super) fn confirm(&self, at: Instant) {
        let mut state = locked(&self.state);
        state.confirmed = state.confirmed.map(|_| at);
    }

    /// Another host has the lease, or may have.
    pub(super) fn lose(&self) {
        locked(&self.state).confirmed = None;
        self.ended.cancel();
    }

    /// Whether nothing runs under it any more.
    pub(super) fn is_given_back(&self) -> bool {
        locked(&self.state).given_back
    }

    /// `{"custom":{"leaseEpoch":"7","scheduledTime":"2026-03-01T17:00:00.000Z"}}`: what a call made
    /// under it has as its client context; a continuous one without the time.
    pub(crate) fn client_context(&self, scheduled: Option<DateTime<Utc>>) -> HeaderValue {
        let time = scheduled.map(|time| {
            let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
            format!(r#","scheduledTime":"{time}""#)
        });
        let (epoch, time) = (self.epoch, time.unwrap_or_default());
        let text = format!(r#"{{"custom":{{"leaseEpoch":"{epoch}"{time}}}}}"#);
        #[expect(clippy::expect_used, reason = "all of it is printable ASCII")]
        HeaderValue::try_from(text).expect("plain text")
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "epoch {} of {}", self.epoch, self.function)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        locked(&self.term.state).given_back = true;
        self.hurry.notify_one();
    }
}
