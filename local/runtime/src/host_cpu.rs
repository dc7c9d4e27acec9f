//! How busy the host's processors are, as `/proc/stat` has it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics::Gauge;
use tokio::time::{MissedTickBehavior, interval};

use crate::fleet::Fleet;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 4096;
/// Columns that are times of their own: user, nice, system, idle, iowait, irq, softirq, steal. Those
/// after them are contained in the first two.
const COLUMNS: usize = 8;
/// Those in which nothing runs.
const IDLE: [usize; 2] = [3, 4];

/// What all processors have spent since the host's start, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    busy: u64,
    all: u64,
}

impl Times {
    fn read() -> anyhow::Result<Self> {
        let mut line = String::new();
        let file = File::open("/proc/stat")?.take(LINE_BYTES_MAX);
        BufReader::new(file).read_line(&mut line)?;
        Self::parse(&line).with_context(|| format!("/proc/stat begins with {line:?}"))
    }

    /// The times in the first line of `/proc/stat`.
    fn parse(line: &str) -> Option<Self> {
        let columns = line.strip_prefix("cpu ")?.split_ascii_whitespace();
        let times: Vec<u64> = columns
            .take(COLUMNS)
            .map(|it| it.parse().ok())
            .collect::<Option<_>>()?;
        let all = times.iter().sum();
        let idle: u64 = IDLE
            .iter()
            .map(|column| times.get(*column))
            .sum::<Option<_>>()?;
        Some(Self {
            busy: all - idle,
            all,
        })
    }

    /// Percent of the time since `earlier` in which the processors were busy.
    fn busy_since(self, earlier: Self) -> u32 {
        let all = self.all.saturating_sub(earlier.all);
        // The kernel may take some of iowait back.
        let busy = self.busy.saturating_sub(earlier.busy).min(all);
        let percent = (busy * 100).checked_div(all).unwrap_or_default();
        u32::try_from(percent).unwrap_or(100)
    }
}

/// Tells `fleet` and `gauge` how busy the processors are, again and again. Ends if the host does not say.
pub(crate) async fn watch(fleet: Arc<Fleet>, gauge: Gauge) {
    if let Err(error) = try_watch(&fleet, &gauge).await {
        tracing::warn!("the host does not tell how busy it is: {error:#}");
        fleet.set_host_cpu(0);
    }
}

async fn try_watch(fleet: &Fleet, gauge: &Gauge) -> anyhow::Result<()> {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Times::read()?;
    loop {
        looks.tick().await;
        let now = Times::read()?;
        let busy = now.busy_since(before);
        before = now;
        gauge.set(f64::from(busy));
        fleet.set_host_cpu(busy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_busy_is_told_from_what_is_idle_or_waits_for_a_disk() {
        let before = Times::parse("cpu  100 10 50 1000 40 5 5 0 30 3\n").expect("a line");
        let expected = Times {
            busy: 170,
            all: 1210,
        };
        assert_eq!(before, expected);
        let after = Times::parse("cpu  130 10 60 1040 60 5 5 100 30 3").expect("a line");
        assert_eq!(after.busy_since(before), 70);
    }

    #[test]
    fn times_that_stand_still_or_go_back_are_no_load() {
        let at = |busy, all| Times { busy, all };
        for (before, after) in [
            (at(5, 9), at(5, 9)),
            (at(5, 9), at(4, 12)),
            (at(5, 9), at(1, 2)),
        ] {
            assert_eq!(after.busy_since(before), 0);
        }
        assert_eq!(
            at(9, 10).busy_since(at(0, 8)),
            100,
            "idle time was taken back"
        );
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3", "cpu  1 2 x 4 5"] {
            assert_eq!(Times::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn this_host_tells() {
        let before = Times::read().expect("Linux does");
        assert!(before.busy <= before.all && before.all > 0);
        let busy = Times::read().expect("again").busy_since(before);
        assert!(busy <= 100);
    }
}
