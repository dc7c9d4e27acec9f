//! Slows down clients that come again at once after a refusal.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Most refusals held back at once; more are answered at once.
const HELD_MAX: u32 = 4096;
/// How much longer a refusal is held back for each that is held, itself included. Its inverse is the most
/// refusals that are answered in a second; the longest delay is about the `Retry-After`.
const SPACING: Duration = Duration::from_micros(250);

/// The refusals that are held back.
///
/// A refusal is cheap, but not free: many clients that try again without a pause would take the
/// processor from the calls that are served.
pub(super) struct Holding(Semaphore);

impl Holding {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(HELD_MAX as usize))
    }

    /// Waits for as long as the refusal is to be held back.
    pub(super) async fn hold(&self) {
        let Ok(_held) = self.0.try_acquire() else {
            return;
        };
        let free = u32::try_from(self.0.available_permits()).unwrap_or(HELD_MAX);
        sleep(SPACING * HELD_MAX.saturating_sub(free)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::stream::{FuturesUnordered, StreamExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_refusal_is_hardly_held_back_and_many_are_spread_over_time() {
        let holding = Holding::new();
        let begin = Instant::now();
        holding.hold().await;
        assert!(begin.elapsed() < Duration::from_millis(5));

        let begin = Instant::now();
        let held: FuturesUnordered<_> = (0..HELD_MAX).map(|_| holding.hold()).collect();
        let ends: Vec<_> = held.map(|()| begin.elapsed()).collect().await;
        let early = ends.iter().filter(|end| **end < SPACING * (HELD_MAX / 2));
        let early = early.count();
        assert!(early.abs_diff(ends.len() / 2) < 10, "{early}");
        assert!(begin.elapsed() < SPACING * HELD_MAX + Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_can_be_held_are_answered_at_once() {
        let holding = Holding::new();
        let _all = holding.0.acquire_many(HELD_MAX).await.expect("open");
        assert_eq!(holding.hold().now_or_never(), Some(()));
    }
}
