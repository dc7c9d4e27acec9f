//! The calls of one function that wait for an instance.

use std::collections::VecDeque;
use std::mem::take;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::Limits;
use crate::call::{Call, Failure, Finished};

/// Most bytes of events that wait, whatever their number.
pub(super) const BYTES_MAX: usize = 64 * 1024 * 1024;
/// A queue that has not been empty for this long is no burst: more comes in than goes out.
const STANDING_AFTER: Duration = Duration::from_secs(1);

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) call: Call,
    pub(super) finished: oneshot::Sender<Finished>,
    pub(super) since: Instant,
}

impl Waiting {
    /// Ends the wait without any instance.
    pub(super) fn fail(self, failure: Failure) {
        let _caller_is_gone = self.finished.send(Finished {
            outcome: Err(failure),
            dispatched: None,
        });
    }
}

/// First come, first served, bounded in number, bytes and time.
///
/// A queue that stands makes every call wait without serving one more, so calls then wait for
/// [`Limits::queue_target`] at most: what is served stays fresh, and what is refused learns it
/// early. Source: K. Nichols and V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012.
#[derive(Debug, Default)]
pub(super) struct Queue {
    calls: VecDeque<Waiting>,
    bytes: usize,
    standing_since: Option<Instant>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether there is no room for an event of so many bytes.
    pub(super) fn is_full(&self, bytes: usize, limits: &Limits) -> bool {
        self.calls.len() >= limits.queue_max || self.bytes + bytes > BYTES_MAX
    }

    /// Since when the first call has waited.
    pub(super) fn first_since(&self) -> Option<Instant> {
        self.calls.front().map(|first| first.since)
    }

    pub(super) fn push(&mut self, waiting: Waiting, now: Instant) {
        self.entered(&waiting, now);
        self.calls.push_back(waiting);
    }

    /// Gives a call back the place it had.
    pub(super) fn push_first(&mut self, waiting: Waiting, now: Instant) {
        self.entered(&waiting, now);
        self.calls.push_front(waiting);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let first = self.calls.pop_front()?;
        self.left(first.call.payload.len());
        Some(first)
    }

    pub(super) fn remove(&mut self, id: Uuid) -> bool {
        let position = self.calls.iter().position(|it| it.call.id == id);
        let removed = position.and_then(|position| self.calls.remove(position));
        if let Some(removed) = &removed {
            self.left(removed.call.payload.len());
        }
        removed.is_some()
    }

    /// Fails the calls that `is_lost`, given since when each has waited.
    pub(super) fn fail(&mut self, failure: &Failure, is_lost: impl Fn(Instant) -> bool) {
        let (lost, kept): (VecDeque<_>, _) = take(&mut self.calls)
            .into_iter()
            .partition(|it| is_lost(it.since));
        self.calls = kept;
        for waiting in lost {
            self.left(waiting.call.payload.len());
            waiting.fail(failure.clone());
        }
    }

    /// Fails the calls whose wait is over; `served` says whether any instance takes calls at all.
    pub(super) fn shed(&mut self, limits: &Limits, served: bool, now: Instant) {
        let longest = self.longest_wait(limits, served, now);
        let is_over = |since| now.duration_since(since) >= longest;
        while self.first_since().is_some_and(is_over)
            && let Some(first) = self.pop()
        {
            first.fail(Failure::QueueWait);
        }
    }

    /// An instance has begun to take calls: what had waited for it is no sign of overload.
    pub(super) fn is_served_from(&mut self, now: Instant) {
        self.standing_since = self.standing_since.map(|_| now);
    }

    fn longest_wait(&self, limits: &Limits, served: bool, now: Instant) -> Duration {
        let stands = |since| now.duration_since(since) >= STANDING_AFTER;
        if served && self.standing_since.is_some_and(stands) {
            limits.queue_wait.min(limits.queue_target)
        } else {
            limits.queue_wait
        }
    }

    fn entered(&mut self, waiting: &Waiting, now: Instant) {
        self.bytes += waiting.call.payload.len();
        self.standing_since.get_or_insert(now);
    }

    fn left(&mut self, bytes: usize) {
        self.bytes -= bytes;
        if self.calls.is_empty() {
            self.standing_since = None;
        }
    }
}
