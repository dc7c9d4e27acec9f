use std::time::{Duration, Instant};

use crate::Failure;

/// Times a transaction is run at most.
pub const ATTEMPTS_MAX: u32 = 3;
/// No new attempt begins later than this after the first one.
const ATTEMPTS_BEGIN_WITHIN: Duration = Duration::from_secs(3);
/// Longest pause before the second attempt; each further one may take twice as long.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Decides whether a transaction that failed is run again, and waits before it is.
///
/// Running it again is right for deadlocks and lock waits, which have rolled everything back, and
/// for a lost connection only where a second run finds out that the commit did take place: a command
/// finds its idempotency key taken, `expire` finds the payment expired when it has locked it.
#[derive(Debug)]
pub struct Retry {
    began: Instant,
    attempts: u32,
}

impl Retry {
    /// Before the first attempt.
    #[must_use]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            attempts: 1,
        }
    }

    /// After an attempt failed with `error`: pauses and gives `true` when to try again.
    pub async fn again(&mut self, error: &sqlx::Error) -> bool {
        let failure = Failure::of(error);
        let transient = matches!(
            failure,
            Failure::Deadlock | Failure::LockWait | Failure::Lost
        );
        let within = self.attempts < ATTEMPTS_MAX && self.began.elapsed() < ATTEMPTS_BEGIN_WITHIN;
        if !(transient && within) {
            return false;
        }
        metrics::counter!("db_retries_total", "cause" => failure.name()).increment(1);
        tracing::warn!(
            db.failure = failure.name(),
            db.attempt = self.attempts,
            "retrying"
        );
        tokio::time::sleep(self.pause()).await;
        self.attempts += 1;
        true
    }

    /// Between nothing and the bound, at random, so that rivals do not meet again.
    fn pause(&self) -> Duration {
        let bound = PAUSE_MAX * (1 << (self.attempts - 1));
        bound.mul_f64(fastrand::f64())
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lost_connection_is_tried_a_bounded_number_of_times() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let mut retry = Retry::new();
        let mut attempts = 1;
        while retry.again(&lost).await {
            attempts += 1;
        }
        assert_eq!(attempts, ATTEMPTS_MAX);
    }

    #[tokio::test]
    async fn what_cannot_succeed_is_not_tried_again() {
        assert!(!Retry::new().again(&sqlx::Error::RowNotFound).await);
        assert!(!Retry::new().again(&sqlx::Error::PoolTimedOut).await);
    }
}
