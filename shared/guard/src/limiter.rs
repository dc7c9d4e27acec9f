use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use signature::RateLimit;

/// Merchants remembered at most; beyond, all start afresh.
const MERCHANTS_MAX: usize = 10_000;

/// This instance's own rate limits, for when Redis is away.
#[derive(Default)]
pub(crate) struct LocalLimiter {
    merchants: Mutex<HashMap<String, (RateLimit, DefaultDirectRateLimiter)>>,
    clock: DefaultClock,
}

impl LocalLimiter {
    /// Takes one request from the merchant's rate, or says after how many seconds there is one.
    pub(crate) fn check(&self, merchant_id: &str, rate: RateLimit) -> Result<(), u32> {
        let mut merchants = self
            .merchants
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !matches!(merchants.get(merchant_id), Some((known, _)) if *known == rate) {
            if merchants.len() >= MERCHANTS_MAX {
                merchants.clear();
            }
            let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
            merchants.insert(merchant_id.to_owned(), (rate, RateLimiter::direct(quota)));
        }
        match merchants
            .get(merchant_id)
            .map(|(_, limiter)| limiter.check())
        {
            Some(Err(until)) => {
                let wait = until.wait_time_from(self.clock.now());
                Err(u32::try_from(wait.as_secs())
                    .unwrap_or(u32::MAX)
                    .saturating_add(1))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> RateLimit {
        let number = |number| NonZeroU32::new(number).unwrap();
        RateLimit {
            per_second: number(per_second),
            burst: number(burst),
        }
    }

    #[test]
    fn a_burst_is_allowed_and_then_refused_per_merchant() {
        let limiter = LocalLimiter::default();
        for _ in 0..3 {
            assert_eq!(limiter.check("m-1", rate(1, 3)), Ok(()));
        }
        assert_eq!(limiter.check("m-1", rate(1, 3)), Err(1));
        assert_eq!(limiter.check("m-2", rate(1, 3)), Ok(()));
    }

    #[test]
    fn a_changed_rate_takes_effect() {
        let limiter = LocalLimiter::default();
        assert_eq!(limiter.check("m-1", rate(1, 1)), Ok(()));
        assert_eq!(limiter.check("m-1", rate(1, 1)), Err(1));
        assert_eq!(limiter.check("m-1", rate(1, 2)), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = LocalLimiter::default();
        for merchant in 0..=MERCHANTS_MAX {
            assert_eq!(limiter.check(&merchant.to_string(), rate(1, 1)), Ok(()));
        }
        assert_eq!(limiter.merchants.lock().unwrap().len(), 1);
    }
}
