//! Whether the group has a member, as librdkafka's statistics tell.
//!
//! After brokers went away and came back, once or several times, a member of librdkafka sometimes
//! stays between two states of its group for good, and says nothing. Another one takes its place.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::function::locked;

/// How librdkafka calls a member that has its partitions, or knows that there is none for it.
const STEADY: &str = "steady";

/// Since when the group has not had the member.
pub(super) struct Settled {
    unsettled_since: Mutex<Option<Instant>>,
}

impl Settled {
    /// Of a member that has not joined yet.
    pub(super) fn not_yet(now: Instant) -> Self {
        Self {
            unsettled_since: Mutex::new(Some(now)),
        }
    }

    /// The state of the group at the member, as the statistics name it.
    pub(super) fn tell(&self, join_state: &str, now: Instant) {
        let mut since = locked(&self.unsettled_since);
        *since = if join_state == STEADY {
            None
        } else {
            since.or(Some(now))
        };
    }

    /// Whether it has been without its group for that long.
    pub(super) fn is_overdue(&self, longest: Duration, now: Instant) -> bool {
        locked(&self.unsettled_since)
            .is_some_and(|since| now.saturating_duration_since(since) > longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(50);

    #[test]
    fn member_is_overdue_once_it_is_without_its_group_for_too_long() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let settled = Settled::not_yet(start);
        settled.tell("wait-join", at(40));
        assert!(!settled.is_overdue(LONGEST, at(50)));
        assert!(settled.is_overdue(LONGEST, at(51)));
        settled.tell("steady", at(52));
        assert!(!settled.is_overdue(LONGEST, at(1_000)));
        for seconds in [1_000, 1_030] {
            settled.tell("init", at(seconds));
        }
        assert!(!settled.is_overdue(LONGEST, at(1_050)));
        assert!(settled.is_overdue(LONGEST, at(1_051)));
    }
}
