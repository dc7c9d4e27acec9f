//! Waiting for something another process does and tells nobody about.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::time;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest time one look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Looks again and again until it succeeds, at most for `within`.
///
/// # Errors
/// The last look's, once the time is over.
pub async fn until<T>(
    within: Duration,
    look: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        let seen = time::timeout(LOOK_WITHIN, look()).await;
        match seen.context("no answer in time").flatten() {
            Err(error) if began.elapsed() >= within => {
                return Err(error).with_context(|| format!("gave up after {within:?}"));
            }
            Err(_) => time::sleep(PAUSE).await,
            success => return success,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn looks_until_it_succeeds() {
        let looks = Cell::new(0);
        let third = until(Duration::from_mins(1), async || {
            looks.set(looks.get() + 1);
            anyhow::ensure!(looks.get() == 3, "not yet");
            Ok(looks.get())
        });
        assert_eq!(third.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn gives_up_with_the_last_cause() {
        let never = until(Duration::ZERO, async || {
            anyhow::Result::<()>::Err(anyhow::anyhow!("no"))
        });
        assert_eq!(
            format!("{:#}", never.await.unwrap_err()),
            "gave up after 0ns: no"
        );
    }
}
