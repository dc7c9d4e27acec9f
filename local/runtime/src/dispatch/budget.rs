//! Shares out what the host can run at once.

use crate::manifest::Priority;

/// Running calls by priority, in the order of [`Priority::MOST_URGENT_FIRST`].
pub(super) type Running = [usize; Priority::MOST_URGENT_FIRST.len()];

/// The part of the budget, in quarters, that a priority and those below it may fill together.
/// What is left above is kept for the more urgent ones, so they never wait for the less urgent
/// to end.
const QUARTERS: Running = [4, 3, 2];

/// How many calls may run at once over all functions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    max: Option<usize>,
}

impl Budget {
    /// At most `max` calls; `None` sets no bound.
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { max }
    }

    /// Whether one more call of this priority may start. If it may not, no less urgent one may.
    pub(super) fn admits(self, priority: Priority, running: &Running) -> bool {
        let Some(max) = self.max else { return true };
        (0..=priority as usize).all(|class| {
            let share = (max * QUARTERS[class] / 4).max(1);
            running[class..].iter().sum::<usize>() < share
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { max: Some(8) };

    #[test]
    fn urgent_calls_may_fill_the_budget_and_others_their_share() {
        for (priority, running, admitted) in [
            (Priority::High, [7, 0, 0], true),
            (Priority::High, [8, 0, 0], false),
            (Priority::High, [0, 6, 0], true),
            (Priority::High, [2, 6, 0], false),
            (Priority::Normal, [0, 5, 0], true),
            (Priority::Normal, [0, 6, 0], false),
            (Priority::Normal, [0, 3, 3], false),
            (Priority::Normal, [3, 4, 0], true),
            (Priority::Normal, [4, 4, 0], false),
            (Priority::Low, [0, 0, 3], true),
            (Priority::Low, [0, 0, 4], false),
            (Priority::Low, [0, 6, 0], false),
        ] {
            assert_eq!(
                BUDGET.admits(priority, &running),
                admitted,
                "{priority:?} {running:?}"
            );
        }
    }

    #[test]
    fn smallest_budget_serves_every_priority() {
        let budget = Budget::new(Some(1));
        for priority in Priority::MOST_URGENT_FIRST {
            assert!(budget.admits(priority, &[0, 0, 0]));
            assert!(!budget.admits(priority, &[0, 0, 1]));
        }
    }

    #[test]
    fn without_a_bound_everything_is_admitted() {
        assert!(Budget::new(None).admits(Priority::Low, &[1000, 1000, 1000]));
    }
}
