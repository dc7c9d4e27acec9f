//! Latencies and failures.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are kept to three digits, up to a minute.
const LONGEST_US: u64 = 60_000_000;
const DIGITS: u8 = 3;
/// Payments of one connection whose answer's time is kept.
const ANSWERED_MAX: usize = 20_000;

/// The step of a load that is made of others and no request itself.
pub(crate) const LIFE: &str = "life";

/// What a load came to.
#[derive(Default)]
pub(crate) struct Figures {
    steps: BTreeMap<&'static str, Histogram<u64>>,
    failures: BTreeMap<String, u64>,
    /// Failures that were refusals, by step.
    refusals: BTreeMap<&'static str, u64>,
    /// Failures that were never sent.
    not_begun: u64,
    /// New payments and when their answer was here; the first ones of each connection.
    pub(crate) answered: Vec<(String, Instant)>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Figures as they are told.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// By step.
    pub(crate) steps: BTreeMap<&'static str, Step>,
    /// How often what failed.
    pub(crate) failed: BTreeMap<String, u64>,
}

/// How much of one kind was done, and how fast.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) per_second: f64,
    #[serde(flatten)]
    pub(crate) latency: Latency,
}

/// How long something took, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p99_9_ms: f64,
    pub(crate) max_ms: f64,
}

impl Figures {
    pub(crate) fn record(&mut self, step: &'static str, took: Duration) {
        let histogram = self.steps.entry(step).or_insert_with(histogram);
        histogram.saturating_record(microseconds(took));
    }

    pub(crate) fn failed(&mut self, what: String) {
        *self.failures.entry(what).or_default() += 1;
    }

    /// A 429 or 503 that says when to ask again.
    pub(crate) fn refused(&mut self, step: &'static str, what: String) {
        *self.refusals.entry(step).or_default() += 1;
        self.failed(what);
    }

    /// Work that could not begin in time, because the work before took so long.
    pub(crate) fn not_begun(&mut self) {
        self.not_begun += 1;
        self.failed("not begun in time".to_owned());
    }

    pub(crate) fn answered(&mut self, payment_id: String) {
        if self.answered.len() < ANSWERED_MAX {
            self.answered.push((payment_id, Instant::now()));
        }
    }

    #[expect(clippy::expect_used, reason = "all histograms have the same bounds")]
    pub(crate) fn merge(&mut self, other: Self) {
        for (step, histogram) in other.steps {
            let all = self.steps.entry(step).or_insert_with(self::histogram);
            all.add(histogram).expect("the same bounds");
        }
        for (what, count) in other.failures {
            *self.failures.entry(what).or_default() += count;
        }
        for (step, count) in other.refusals {
            *self.refusals.entry(step).or_default() += count;
        }
        self.not_begun += other.not_begun;
        self.answered.extend(other.answered);
    }

    /// Requests that succeeded.
    pub(crate) fn requests(&self) -> u64 {
        let requests = self.steps.iter().filter(|(step, _)| **step != LIFE);
        requests.map(|(_, histogram)| histogram.len()).sum()
    }

    /// What failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Refusals of all steps.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.values().sum()
    }

    /// Answers other than 200 and refusals, and errors.
    pub(crate) fn unexpected(&self) -> u64 {
        self.failures() - self.refusals() - self.not_begun
    }

    /// Of each step's requests that were answered with 200 or refused, the share of the first.
    pub(crate) fn served(&self) -> BTreeMap<&'static str, f64> {
        let requests = self.steps.iter().filter(|(step, _)| **step != LIFE);
        let share = requests.map(|(step, histogram)| {
            let refused = self.refusals.get(step).copied().unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "a figure")]
            let share = histogram.len() as f64 / (histogram.len() + refused) as f64;
            (*step, share)
        });
        share.collect()
    }

    pub(crate) fn summary(&self) -> Summary {
        let seconds = self.took.as_secs_f64();
        let step = |histogram| {
            let latency = Latency::of(histogram);
            #[expect(clippy::cast_precision_loss, reason = "a figure")]
            let per_second = latency.count as f64 / seconds;
            Step {
                per_second,
                latency,
            }
        };
        let steps = self.steps.iter();
        Summary {
            seconds,
            steps: steps.map(|(name, it)| (*name, step(it))).collect(),
            failed: self.failures.clone(),
        }
    }
}

impl Latency {
    /// Of single durations; `None` when there are none.
    pub(crate) fn of_all(durations: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut all = histogram();
        for duration in durations {
            all.saturating_record(microseconds(duration));
        }
        (!all.is_empty()).then(|| Self::of(&all))
    }

    fn of(histogram: &Histogram<u64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a figure of few digits")]
        let ms = |us: u64| us as f64 / 1e3;
        let percentile = |percentile| ms(histogram.value_at_percentile(percentile));
        Self {
            count: histogram.len(),
            p50_ms: percentile(50.0),
            p95_ms: percentile(95.0),
            p99_ms: percentile(99.0),
            p99_9_ms: percentile(99.9),
            max_ms: ms(histogram.max()),
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::expect_used, reason = "the bounds are constants that fit")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("bounds")
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, step) in &self.steps {
            let Step {
                per_second,
                latency,
            } = step;
            writeln!(formatter, "{name:<10} {per_second:>8.0}/s  {latency}")?;
        }
        for (what, count) in &self.failed {
            writeln!(formatter, "failed     {count} × {what}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            p50_ms,
            p95_ms,
            p99_ms,
            p99_9_ms,
            max_ms,
            ..
        } = self;
        write!(
            formatter,
            "p50 {p50_ms:.2}  p95 {p95_ms:.2}  p99 {p99_ms:.2}  p99.9 {p99_9_ms:.2}  max {max_ms:.2} ms"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_figures_are_those_of_all_connections() {
        let mut all = Figures::default();
        for ms in [1, 2, 3, 100] {
            let mut one = Figures::default();
            one.record("authorize", Duration::from_millis(ms));
            one.record(LIFE, Duration::from_millis(ms));
            one.refused("authorize", "authorize 503 overloaded".to_owned());
            one.not_begun();
            one.answered(format!("pay_{ms}"));
            all.merge(one);
        }
        all.took = Duration::from_secs(2);
        assert_eq!((all.requests(), all.failures()), (4, 8));
        assert_eq!((all.refusals(), all.unexpected()), (4, 0));
        assert!((all.served()["authorize"] - 0.5).abs() < 1e-9);
        assert_eq!(all.answered.len(), 4);
        let step = &all.summary().steps["authorize"];
        assert!((step.per_second - 2.0).abs() < 1e-9);
        assert!((step.latency.p50_ms - 2.0).abs() < 0.01);
        assert!((step.latency.max_ms - 100.0).abs() < 0.2);
    }

    #[test]
    fn what_takes_longer_than_can_be_kept_counts_as_the_longest() {
        let latency = Latency::of_all([Duration::from_hours(1)]).unwrap();
        assert!(latency.count == 1 && latency.max_ms >= 60_000.0);
        assert!(Latency::of_all([]).is_none());
    }
}
