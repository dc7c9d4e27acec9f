//! After the faults as much is answered in time as before.

use std::{collections::HashSet, fmt, ops::Range};

use super::Violation;
use crate::{
    history::Attempt,
    plan::{Plan, QUIET_MS, WINDOW_MS},
};

/// An operation is good when it is settled this long after it was due.
const IN_TIME_US: u64 = 2_000_000;
/// The beginning, in which connections are made, is left out.
const WARM_UP_MS: u64 = 2_000;
/// What has to be back, of a hundred.
const BACK_PERCENT: u64 = 90;

/// How many of the operations due were good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goodput {
    /// Good and due before the first fault.
    pub before: (u64, u64),
    /// Good and due at the end.
    pub after: (u64, u64),
}

impl Goodput {
    /// Of a run.
    #[must_use]
    pub fn of(plan: &Plan, attempts: &[Attempt]) -> Self {
        let settled = attempts
            .iter()
            .filter(|attempt| attempt.settled().is_some());
        let due = |attempt: &&Attempt| {
            let due_ms = plan.operations[attempt.operation as usize].at_ms;
            attempt.answered_us <= due_ms * 1_000 + IN_TIME_US
        };
        let good: HashSet<u32> = settled
            .filter(due)
            .map(|attempt| attempt.operation)
            .collect();
        let count = |window: Range<u64>| {
            let due = plan
                .operations
                .iter()
                .filter(|operation| window.contains(&operation.at_ms));
            due.fold((0, 0), |(of_them, all), operation| {
                (
                    of_them + u64::from(good.contains(&operation.operation)),
                    all + 1,
                )
            })
        };
        let end = plan.ends_ms;
        Self {
            before: count(WARM_UP_MS..QUIET_MS),
            after: count(end.saturating_sub(WINDOW_MS)..end),
        }
    }
}

impl fmt::Display for Goodput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((good, due), (good_after, due_after)) = (self.before, self.after);
        write!(
            formatter,
            "in time before {good} of {due}, after {good_after} of {due_after}"
        )
    }
}

pub(super) fn check(goodput: &Goodput) -> Vec<Violation> {
    let ((good, due), (good_after, due_after)) = (goodput.before, goodput.after);
    // Without anything good before, there is nothing to be back.
    if good > 0 && 100 * good_after * due >= BACK_PERCENT * good * due_after {
        return Vec::new();
    }
    vec![Violation {
        check: "liveness",
        payment: None,
        what: goodput.to_string(),
    }]
}
