//! Load: closed, where each connection sends when it was answered, or open, at a given rate.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    alarm::Alarm,
    connection::Service,
    figures::Figures,
    work::{Work, Worker},
};

/// Work that could not begin for so long after it was due is given up and counted as failed.
const LATE_MAX: Duration = Duration::from_secs(10);
const NANOSECONDS: u64 = 1_000_000_000;

/// How fast, and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Pieces of work that begin per second, at fixed times; `None` when each connection begins
    /// its next one as soon as the last is done.
    pub(crate) rate: Option<u32>,
    pub(crate) bound: Bound,
}

/// Where a load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// After so long.
    Time(Duration),
    /// After so many pieces of work.
    Count(u64),
}

impl Pace {
    /// Each connection begins its next piece of work as soon as the last is done.
    pub(crate) fn closed(bound: Bound) -> Self {
        Self { rate: None, bound }
    }
}

/// When each piece of work is due, for all connections together.
struct Schedule {
    began: Instant,
    pace: Pace,
    next: AtomicU64,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Due(Instant),
    /// Too late.
    Missed,
    /// There is no more.
    Over,
}

impl Schedule {
    fn new(pace: Pace) -> Self {
        Self {
            began: Instant::now(),
            pace,
            next: AtomicU64::new(0),
        }
    }

    /// Takes the next piece of work. In an open load a late connection takes work that was due
    /// before: the delay belongs to its latency.
    fn next(&self, now: Instant) -> Next {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = match self.pace.rate {
            None => now,
            Some(rate) => self.began + due_after(number, rate),
        };
        let over = match self.pace.bound {
            Bound::Time(time) => due >= self.began + time,
            Bound::Count(count) => number >= count,
        };
        match over {
            true => Next::Over,
            false if now > due + LATE_MAX => Next::Missed,
            false => Next::Due(due),
        }
    }
}

fn due_after(number: u64, rate: u32) -> Duration {
    Duration::from_nanos(number.saturating_mul(NANOSECONDS) / u64::from(rate.max(1)))
}

/// The seed of loads whose amounts do not matter.
pub(crate) const ANY_SEED: u64 = 0;

/// Connections that work side by side, kept from one load to the next.
pub(crate) struct Workers(Vec<Worker>);

impl Workers {
    /// `seed` decides the amounts of payments.
    pub(crate) fn new(service: &Service, connections: u32, seed: u64) -> Self {
        let worker = |number| Worker::new(service.clone(), seed.wrapping_add(number));
        Self((0..u64::from(connections)).map(worker).collect())
    }

    /// Does `work` again and again. An open load has at most one piece of work under way per
    /// connection; more waits, and its latency counts.
    pub(crate) async fn run(&mut self, work: Work, pace: Pace) -> anyhow::Result<Figures> {
        let schedule = Arc::new(Schedule::new(pace));
        let mut tasks = JoinSet::new();
        for worker in self.0.drain(..) {
            tasks.spawn(work_along(Arc::clone(&schedule), work, worker));
        }
        let mut all = Figures::default();
        while let Some(done) = tasks.join_next().await {
            let mut worker = done??;
            all.merge(mem::take(&mut worker.figures));
            self.0.push(worker);
        }
        all.took = schedule.began.elapsed();
        Ok(all)
    }
}

async fn work_along(
    schedule: Arc<Schedule>,
    work: Work,
    mut worker: Worker,
) -> anyhow::Result<Worker> {
    let alarm = Alarm::new()?;
    loop {
        match schedule.next(Instant::now()) {
            Next::Over => return Ok(worker),
            Next::Missed => worker.figures.not_begun(),
            Next::Due(due) => {
                alarm.wait_until(due).await?;
                worker.once(work, due).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: Option<u32>, bound: Bound) -> Schedule {
        Schedule::new(Pace { rate, bound })
    }

    fn due_ms(schedule: &Schedule, now: Instant) -> Vec<u128> {
        let due = std::iter::from_fn(|| match schedule.next(now) {
            Next::Due(due) => Some((due - schedule.began).as_millis()),
            Next::Missed | Next::Over => None,
        });
        due.collect()
    }

    #[test]
    fn an_open_load_is_due_at_fixed_times_whoever_is_late() {
        let schedule = schedule(Some(4), Bound::Time(Duration::from_secs(1)));
        let late = schedule.began + LATE_MAX;
        assert_eq!(due_ms(&schedule, late), [0, 250, 500, 750]);
    }

    #[test]
    fn a_rate_does_not_drift() {
        let hour = 3600 * 7_u64;
        assert_eq!(due_after(hour, 7), Duration::from_hours(1));
        assert_eq!(due_after(1, 3), Duration::from_nanos(333_333_333));
    }

    #[test]
    fn work_that_is_too_late_is_missed_and_the_rest_goes_on() {
        let schedule = schedule(Some(1), Bound::Count(3));
        let now = schedule.began + LATE_MAX + Duration::from_millis(1500);
        assert_eq!(schedule.next(now), Next::Missed);
        assert_eq!(schedule.next(now), Next::Missed);
        let third = schedule.began + Duration::from_secs(2);
        assert_eq!(schedule.next(now), Next::Due(third));
        assert_eq!(schedule.next(now), Next::Over);
    }

    #[test]
    fn a_closed_load_is_due_at_once_until_it_ends() {
        let time = schedule(None, Bound::Time(Duration::from_secs(1)));
        let almost = time.began + Duration::from_millis(999);
        assert_eq!(time.next(almost), Next::Due(almost));
        assert_eq!(time.next(time.began + Duration::from_secs(1)), Next::Over);
        let count = schedule(None, Bound::Count(2));
        assert_eq!(due_ms(&count, count.began), [0, 0]);
    }
}
