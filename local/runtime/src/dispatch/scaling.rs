//! Decides how many instances a function has: from what waits, how long its calls take and how long
//! an instance takes to start. Driven by events and times alone.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::InstanceId;

/// The last starts whose slowest but one tells how long the next may take.
const STARTS_KEPT: usize = 10;
/// A call counts for this part of what calls take.
const WEIGHT: u32 = 8;
/// Instances of one function that are on their way at once; processes that start together delay each
/// other, and those that serve.
const STARTS_MAX: usize = 16;
/// Time between two times that idle instances are stopped, each time at most half of all.
const STOP_EVERY: Duration = Duration::from_secs(2);

/// Percent of the host's processors in use above which more instances would only share what is used up
/// already, for functions whose instances take several calls at once.
const HOST_CPU_MAX: u32 = 85;

/// Instances to start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Starts {
    /// How many, now.
    pub(crate) now: usize,
    /// How many more there would be if the host were less busy.
    pub(crate) held_back: usize,
}

/// The bounds of a function's instances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Instances kept running.
    pub(crate) min: usize,
    /// Upper bound of instances.
    pub(crate) max: usize,
    /// Calls one instance takes at once.
    pub(crate) concurrency: usize,
    /// How long an instance above `min` is kept with nothing to do.
    pub(crate) idle: Duration,
}

impl Bounds {
    /// Calls that an instance takes before the next one gets any: those not needed stay idle. Where
    /// the number of instances never changes, calls are spread evenly.
    pub(super) fn filled_first(self) -> usize {
        if self.min == self.max {
            0
        } else {
            self.concurrency * 7 / 10
        }
    }
}

/// What a function has learned of its calls and starts.
#[derive(Debug)]
pub(super) struct Scaling {
    pub(super) bounds: Bounds,
    call: Duration,
    starts: VecDeque<Duration>,
    stopped: Option<Instant>,
}

impl Scaling {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            call: Duration::ZERO,
            starts: VecDeque::with_capacity(STARTS_KEPT),
            stopped: None,
        }
    }

    /// An instance has polled for the first time.
    pub(super) fn started(&mut self, after: Duration) {
        if self.starts.len() == STARTS_KEPT {
            self.starts.pop_front();
        }
        self.starts.push_back(after);
    }

    /// A call has been answered.
    pub(super) fn answered(&mut self, after: Duration) {
        self.call = if self.call.is_zero() {
            after
        } else {
            (self.call * (WEIGHT - 1) + after) / WEIGHT
        };
    }

    /// How many instances to start while `queued` calls wait for one of `ready` instances or of those
    /// `starting`: as many as serve what the ready ones will not have served by then, and those that
    /// are to be kept running. While the host is busy, an instance that takes several calls is started
    /// only where there is none, or too few are kept running.
    pub(super) fn to_start(
        &self,
        queued: usize,
        ready: usize,
        starting: usize,
        host_cpu: u32,
    ) -> Starts {
        let missing = self.bounds.min.saturating_sub(ready + starting);
        let room = self.bounds.max.saturating_sub(ready + starting);
        let left = queued.saturating_sub(self.served_during_a_start(ready));
        let wanted = left.div_ceil(self.bounds.concurrency);
        let none = usize::from(queued > 0 && ready == 0);
        let of = |wanted: usize| {
            let wanted = wanted.max(none).min(STARTS_MAX);
            wanted.saturating_sub(starting).min(room).max(missing)
        };
        let all = of(wanted);
        let held = host_cpu > HOST_CPU_MAX && self.bounds.concurrency > 1;
        let now = if held { of(0) } else { all };
        Starts {
            now,
            held_back: all - now,
        }
    }

    /// Which of the instances, with the time each has been idle, to stop: the longest idle first. Those
    /// above the upper bound, which may have been lowered, go as soon as they are idle.
    pub(super) fn stop_idle(
        &mut self,
        instances: usize,
        idle: impl Iterator<Item = (InstanceId, Duration)>,
        now: Instant,
    ) -> Vec<InstanceId> {
        let at_once = self.stopped.is_some_and(|it| now < it + STOP_EVERY);
        let surplus = instances.saturating_sub(self.bounds.min);
        if at_once || surplus == 0 {
            return Vec::new();
        }
        let above_max = instances.saturating_sub(self.bounds.max);
        let mut idle: Vec<_> = idle.collect();
        idle.sort_by_key(|(id, idle)| (Reverse(*idle), *id));
        let over = idle.partition_point(|(_, it)| *it >= self.bounds.idle);
        idle.truncate(over.max(above_max).min(surplus).min(instances.div_ceil(2)));
        if !idle.is_empty() {
            self.stopped = Some(now);
        }
        idle.into_iter().map(|(id, _)| id).collect()
    }

    /// Calls that `ready` instances, all of them busy, serve while another one starts.
    fn served_during_a_start(&self, ready: usize) -> usize {
        let start = self.start().as_micros();
        let at_once = (ready * self.bounds.concurrency) as u128;
        let served = (at_once * start).checked_div(self.call.as_micros());
        served.map_or(0, |served| usize::try_from(served).unwrap_or(usize::MAX))
    }

    /// How long a start takes: of the last ten, all but one took less.
    fn start(&self) -> Duration {
        let mut starts: Vec<Duration> = self.starts.iter().copied().collect();
        starts.sort_unstable();
        let last_but_one = starts.len().saturating_sub(2);
        starts.get(last_but_one).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
