//! An instance as the dispatcher sees it: its parked polls and what it has said.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Delivery, Phase};

/// Timed-out calls an instance may still answer late; older ones are forgotten.
const EXPIRED_KEPT_MAX: usize = 1024;

/// An instance, its polls and what is known of it.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) phase: Phase,
    pub(super) polls: Vec<Poll>,
    pub(super) running: usize,
    expired: VecDeque<Uuid>,
    /// When it last polled or answered, or was added.
    pub(super) heard: Instant,
    /// Whether a call has timed out since then.
    pub(super) has_overrun: bool,
    /// When its last call ended, or it was added.
    pub(super) idle_since: Instant,
    /// Whether it is about to be stopped, and gets no further call.
    pub(super) retired: bool,
}

impl Instance {
    /// One that is added now.
    pub(super) fn starting(now: Instant) -> Self {
        Self {
            phase: Phase::Starting,
            polls: Vec::new(),
            running: 0,
            expired: VecDeque::new(),
            heard: now,
            has_overrun: false,
            idle_since: now,
            retired: false,
        }
    }

    pub(super) fn is_heard(&mut self, now: Instant) {
        self.heard = now;
        self.has_overrun = false;
    }

    pub(super) fn ended_a_call(&mut self, now: Instant) {
        self.running -= 1;
        self.idle_since = now;
    }

    /// A call of its has timed out.
    pub(super) fn overran(&mut self, id: Uuid, now: Instant) {
        self.ended_a_call(now);
        self.has_overrun = true;
        if self.expired.len() >= EXPIRED_KEPT_MAX {
            self.expired.pop_front();
        }
        self.expired.push_back(id);
    }

    /// Whether the call timed out here, of which this is the late answer.
    pub(super) fn take_expired(&mut self, id: Uuid) -> bool {
        let position = self.expired.iter().position(|expired| *expired == id);
        position
            .and_then(|position| self.expired.remove(position))
            .is_some()
    }
}

/// A parked poll.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) number: u64,
    pub(super) sender: oneshot::Sender<Delivery>,
}
