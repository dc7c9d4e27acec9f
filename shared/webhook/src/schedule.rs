use std::num::NonZeroU32;

use chrono::TimeDelta;

use crate::NoAnswer;

/// Seconds before the first attempt, and from each attempt to the next.
const DELAYS_S: [i64; 10] = [
    0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400,
];
/// Attempts until a webhook has failed.
pub const ATTEMPTS_MAX: usize = DELAYS_S.len();
/// The endpoint says that it is gone for good.
const GONE: u16 = 410;

/// When what was not taken is sent again.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    divisor: NonZeroU32,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the merchant has it.
    Delivered,
    /// Another attempt, so much later.
    Again(TimeDelta),
    /// Nothing: it was tried often enough.
    Failed,
    /// Nothing, and the URL is called no more.
    Gone,
}

impl Schedule {
    /// That of Standard Webhooks, so many times as fast.
    #[must_use]
    pub fn faster(divisor: NonZeroU32) -> Self {
        Self { divisor }
    }

    /// What follows an attempt, the `tries`-th since the webhook was last begun.
    #[must_use]
    pub fn next(self, outcome: Result<u16, NoAnswer>, tries: u32) -> Next {
        match outcome {
            Ok(200..300) => Next::Delivered,
            Ok(GONE) => Next::Gone,
            _ => {
                let delay = usize::try_from(tries).ok().and_then(|it| DELAYS_S.get(it));
                delay.map_or(Next::Failed, |delay| Next::Again(self.delay(*delay)))
            }
        }
    }

    fn delay(self, seconds: i64) -> TimeDelta {
        TimeDelta::milliseconds(seconds * 1_000 / i64::from(self.divisor.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(divisor: u32) -> Schedule {
        Schedule::faster(NonZeroU32::new(divisor).unwrap())
    }

    #[test]
    fn attempts_follow_each_other_as_the_specification_says() {
        let delays: Vec<Next> = (1..=10)
            .map(|tries| schedule(1).next(Ok(500), tries))
            .collect();
        let again = [
            TimeDelta::seconds(5),
            TimeDelta::minutes(5),
            TimeDelta::minutes(30),
            TimeDelta::hours(2),
            TimeDelta::hours(5),
            TimeDelta::hours(10),
            TimeDelta::hours(14),
            TimeDelta::hours(20),
            TimeDelta::hours(24),
        ];
        let expected: Vec<Next> = again
            .map(Next::Again)
            .into_iter()
            .chain([Next::Failed])
            .collect();
        assert_eq!(delays, expected);
        assert_eq!(delays.len(), ATTEMPTS_MAX);
        let fast = schedule(100).next(Ok(500), 1);
        assert_eq!(fast, Next::Again(TimeDelta::milliseconds(50)));
    }

    #[test]
    fn only_2xx_is_taken_and_410_ends_the_endpoint() {
        for status in [200, 202, 204, 299] {
            assert_eq!(schedule(1).next(Ok(status), 1), Next::Delivered);
        }
        assert_eq!(schedule(1).next(Ok(410), 1), Next::Gone);
        let not_taken = [
            100, 199, 301, 302, 304, 400, 401, 404, 409, 411, 429, 500, 503,
        ];
        let none = [
            NoAnswer::TimedOut,
            NoAnswer::AddressRefused,
            NoAnswer::Unreachable,
        ];
        for outcome in not_taken.map(Ok).into_iter().chain(none.map(Err)) {
            assert!(
                matches!(schedule(1).next(outcome, 1), Next::Again(_)),
                "{outcome:?}"
            );
        }
    }
}
