use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failures in a row that open the breaker.
pub(crate) const FAILURES_MAX: u32 = 5;
/// How long an open breaker lets nothing through, and then one probe.
pub(crate) const OPEN_FOR: Duration = Duration::from_secs(1);

/// Spares a part that is away from being asked, and its users from waiting for it.
pub(crate) struct Breaker {
    origin: Instant,
    failures: AtomicU32,
    /// Milliseconds from `origin` until the next probe; of meaning while open.
    probe_at_ms: AtomicU64,
}

/// What a failure did to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It stays as it was.
    Unchanged,
    /// It has opened now.
    Opened,
}

impl Breaker {
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            failures: AtomicU32::new(0),
            probe_at_ms: AtomicU64::new(0),
        }
    }

    /// Whether to ask. While open, one caller per [`OPEN_FOR`] is told so: the probe.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        if self.failures.load(Ordering::Relaxed) < FAILURES_MAX {
            return true;
        }
        let probe_at = self.probe_at_ms.load(Ordering::Relaxed);
        let (now_ms, next) = (self.ms(now), self.ms(now + OPEN_FOR));
        now_ms >= probe_at
            && self
                .probe_at_ms
                .compare_exchange(probe_at, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Closes the breaker; says whether it was open.
    pub(crate) fn succeeded(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != 0
            && self.failures.swap(0, Ordering::Relaxed) >= FAILURES_MAX
    }

    pub(crate) fn failed(&self, now: Instant) -> Failed {
        let add = |failures: u32| Some(failures.saturating_add(1));
        let before = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        match before.unwrap_or_default().saturating_add(1) {
            ..FAILURES_MAX => Failed::Unchanged,
            failures => {
                self.probe_at_ms
                    .store(self.ms(now + OPEN_FOR), Ordering::Relaxed);
                if failures == FAILURES_MAX {
                    Failed::Opened
                } else {
                    Failed::Unchanged
                }
            }
        }
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(at: Instant) -> Breaker {
        let breaker = Breaker::new(at);
        for failure in 1..=FAILURES_MAX {
            assert!(breaker.admits(at));
            let expected = if failure == FAILURES_MAX {
                Failed::Opened
            } else {
                Failed::Unchanged
            };
            assert_eq!(breaker.failed(at), expected);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let start = Instant::now();
        let breaker = Breaker::new(start);
        for _ in 1..FAILURES_MAX {
            breaker.failed(start);
        }
        assert!(!breaker.succeeded());
        breaker.failed(start);
        assert!(breaker.admits(start));
    }

    #[test]
    fn lets_one_probe_through_when_the_time_is_over() {
        let start = Instant::now();
        let breaker = opened(start);
        assert!(!breaker.admits(start));
        let later = start + OPEN_FOR;
        assert!(breaker.admits(later), "the probe");
        assert!(!breaker.admits(later), "nobody else");
        assert_eq!(breaker.failed(later), Failed::Unchanged);
        assert!(!breaker.admits(later));
        assert!(breaker.admits(later + OPEN_FOR));
    }

    #[test]
    fn closes_when_the_probe_succeeds() {
        let start = Instant::now();
        let breaker = opened(start);
        assert!(breaker.admits(start + OPEN_FOR));
        assert!(breaker.succeeded());
        assert!(breaker.admits(start) && breaker.admits(start));
    }
}
