use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long a key is left alone after an event of it was not acknowledged.
const HELD_FOR: Duration = Duration::from_secs(5);
/// Keys left alone at once.
const HELD_MAX: u32 = 1_000;

/// Keys whose next event the broker did not acknowledge, and since when. They are left out of the
/// batches for a while, so that an event that cannot be sent delays no other key's events.
#[derive(Default)]
pub(crate) struct Held(HashMap<String, Instant>);

impl Held {
    pub(crate) fn hold(&mut self, key: String) {
        self.0.insert(key, Instant::now());
    }

    /// Lets go of those that were left alone for long enough.
    pub(crate) fn release(&mut self) {
        self.0.retain(|_, since| since.elapsed() < HELD_FOR);
    }

    /// How many more can be held: no more than these are read at once.
    pub(crate) fn room(&self) -> u32 {
        HELD_MAX.saturating_sub(u32::try_from(self.0.len()).unwrap_or(HELD_MAX))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Publishes how many are held, and gives their number.
    pub(crate) fn publish(&self) -> usize {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("outbox_held_keys").set(self.0.len() as f64);
        self.0.len()
    }
}
