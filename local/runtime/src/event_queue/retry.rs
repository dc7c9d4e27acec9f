//! When an event runs again, and when it is given up.
//!
//! Source: AWS Lambda developer guide, "How Lambda handles errors and retries with asynchronous
//! invocation".

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::manifest::Asynchronous;

/// First and longest pause after a throttle.
const THROTTLE_MIN: Duration = Duration::from_secs(1);
const THROTTLE_MAX: Duration = Duration::from_mins(5);

/// What came of handing an event to its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Answered,
    /// The function has failed.
    Failed,
    /// The function could not take it, which is no attempt of its own.
    Throttled,
}

/// Why an event is given up, in the words of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Condition {
    Success,
    RetriesExhausted,
    EventAgeExceeded,
}

/// What happens to an event next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It runs again, then.
    At(SystemTime),
    /// It is over.
    Over(Condition),
}

/// What has happened to an event so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// When it was accepted.
    pub(super) accepted: SystemTime,
    /// How often its function has run.
    pub(super) runs: u32,
    /// How often in a row nobody could take the event, since this runtime has started.
    #[serde(skip)]
    throttles: u32,
}

impl Progress {
    /// An event accepted `now`.
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            accepted: now,
            runs: 0,
            throttles: 0,
        }
    }

    /// Notes an attempt that has ended `now`; an event that would be too old by its next one is
    /// given up at once.
    pub(super) fn after(
        &mut self,
        attempt: Attempt,
        policy: &Asynchronous,
        now: SystemTime,
    ) -> Next {
        let pause = match attempt {
            Attempt::Throttled => self.put_off(THROTTLE_MAX),
            Attempt::Answered => {
                self.runs += 1;
                return Next::Over(Condition::Success);
            }
            Attempt::Failed => {
                let retries = self.runs;
                (self.runs, self.throttles) = (retries + 1, 0);
                if retries >= policy.max_retries {
                    return Next::Over(Condition::RetriesExhausted);
                }
                policy.retry.saturating_mul(1 << retries)
            }
        };
        let at = now + pause;
        if self.is_too_old(policy, at) {
            Next::Over(Condition::EventAgeExceeded)
        } else {
            Next::At(at)
        }
    }

    /// Notes that nobody could take it; a pause that is longer each time in a row, up to `longest`.
    pub(super) fn put_off(&mut self, longest: Duration) -> Duration {
        let doublings = self.throttles.min(u32::BITS - 1);
        self.throttles = self.throttles.saturating_add(1);
        longest.min(THROTTLE_MIN.saturating_mul(1 << doublings))
    }

    /// Whether the event is older than it may become.
    pub(super) fn is_too_old(&self, policy: &Asynchronous, at: SystemTime) -> bool {
        self.age(at) > policy.max_age
    }

    /// How long ago it was accepted.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.accepted).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn failed_event_runs_again_after_one_and_two_minutes() {
        let policy = Asynchronous::default();
        let mut progress = Progress::new(START);
        let mut fail = |now| progress.after(Attempt::Failed, &policy, at(now));
        assert_eq!(fail(10), Next::At(at(70)));
        assert_eq!(fail(75), Next::At(at(195)));
        assert_eq!(fail(200), Next::Over(Condition::RetriesExhausted));
        assert_eq!(progress.runs, 3);
    }

    #[test]
    fn answer_ends_an_event_however_often_it_has_failed() {
        let policy = Asynchronous::default();
        let mut progress = Progress::new(START);
        progress.after(Attempt::Failed, &policy, START);
        let next = progress.after(Attempt::Answered, &policy, START);
        assert_eq!((next, progress.runs), (Next::Over(Condition::Success), 2));
    }

    #[test]
    fn without_retries_the_first_failure_is_the_last() {
        let policy = Asynchronous {
            max_retries: 0,
            ..Asynchronous::default()
        };
        let next = Progress::new(START).after(Attempt::Failed, &policy, START);
        assert_eq!(next, Next::Over(Condition::RetriesExhausted));
    }

    #[test]
    fn throttled_event_waits_ever_longer_and_uses_no_retry_up() {
        let policy = Asynchronous::default();
        let mut progress = Progress::new(START);
        let mut pauses = Vec::new();
        for _ in 0..11 {
            let next = progress.after(Attempt::Throttled, &policy, START);
            let Next::At(next) = next else {
                panic!("given up: {next:?}")
            };
            pauses.push(next.duration_since(START).expect("later").as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(progress.runs, 0);
        let next = progress.after(Attempt::Failed, &policy, START);
        assert_eq!(next, Next::At(at(60)));
        let next = progress.after(Attempt::Throttled, &policy, START);
        assert_eq!(next, Next::At(at(1)), "it had run in between");
    }

    #[test]
    fn event_is_given_up_if_it_would_be_too_old_by_its_next_run() {
        let policy = Asynchronous {
            max_age: Duration::from_secs(100),
            ..Asynchronous::default()
        };
        for (attempt, now, next) in [
            (Attempt::Failed, 40, Next::At(at(100))),
            (Attempt::Failed, 41, Next::Over(Condition::EventAgeExceeded)),
            (Attempt::Throttled, 99, Next::At(at(100))),
            (
                Attempt::Throttled,
                100,
                Next::Over(Condition::EventAgeExceeded),
            ),
        ] {
            let mut progress = Progress::new(START);
            assert_eq!(progress.after(attempt, &policy, at(now)), next, "{now}");
        }
        let progress = Progress::new(START);
        assert!(!progress.is_too_old(&policy, at(100)));
        assert!(progress.is_too_old(&policy, at(101)));
    }
}
