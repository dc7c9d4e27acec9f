//! Whether an average of the calls, as Knative's autoscaler has it, should keep instances warm beyond
//! the time they may be idle: what ten minutes of calls cost with it and without.

use super::*;

/// Time between two looks at the load.
const LOOK: Duration = Duration::from_millis(500);
/// Looks in the window of an average, and in the short one that tells a rise.
const STABLE: usize = 120;
const PANIC: usize = 12;
const RUN: Duration = Duration::from_mins(10);

/// Keeps as many instances as the average of the calls needs: of a minute, or of six seconds if that is
/// higher. While the short one is more than twice what is there, and for a minute after, the most it
/// has come to.
///
/// Source: Knative Serving, `pkg/autoscaler/scaling/autoscaler.go`.
#[derive(Debug, Default)]
pub(super) struct Averages {
    loads: VecDeque<u128>,
    seen: u128,
    peak: usize,
    panics_until: Option<Instant>,
}

impl Averages {
    /// The instances to keep, given all calls × milliseconds so far, how many calls an instance takes at
    /// once, and how many instances there are.
    pub(super) fn target(
        &mut self,
        load: u128,
        concurrency: usize,
        instances: usize,
        now: Instant,
    ) -> usize {
        self.loads.push_front(load - self.seen);
        self.loads.truncate(STABLE);
        self.seen = load;
        let tenths = if concurrency == 1 {
            10
        } else {
            7 * concurrency
        };
        let needed = |looks: usize| {
            let load: u128 = self.loads.iter().take(looks).sum();
            let one = looks as u128 * LOOK.as_millis() * tenths as u128;
            usize::try_from((10 * load).div_ceil(one)).expect("few")
        };
        let short = needed(PANIC);
        let target = needed(STABLE).max(short);
        if short >= 2 * instances.max(1) {
            self.panics_until = Some(now + Duration::from_mins(1));
        }
        if self.panics_until.is_none_or(|until| now >= until) {
            self.peak = 0;
            self.panics_until = None;
            return target;
        }
        self.peak = self.peak.max(target).max(instances);
        self.peak
    }
}

/// Instance-seconds, and starts, that `calls`, given in milliseconds, need.
fn cost(calls: &[u64], idle_s: u64, averages: Option<Averages>) -> (u64, usize) {
    let bounds = Bounds {
        idle: Duration::from_secs(idle_s),
        ..bounds(0, 100, 1)
    };
    let mut world = World::new(bounds, 100 * MS, 300 * MS);
    world.averages = averages;
    for call in calls {
        world.at(Duration::from_millis(*call), Event::Call);
    }
    world.run(RUN);
    assert_eq!(world.waits.len(), calls.len());
    (world.instance_time.as_secs(), world.starts)
}

/// Calls that come by chance, so many a second in each second.
fn by_chance(rate: impl Fn(u64) -> u64) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(7);
    let comes = |ms: &u64| random.u64(0..1000) < rate(ms / 1000);
    (0..590_000).filter(comes).collect()
}

/// Calls at once, every 20 seconds.
fn bursts() -> Vec<u64> {
    let at = (1..30).map(|number| number * 20_000);
    at.flat_map(|ms| [ms; 32]).collect()
}

#[test]
fn average_of_a_minute_keeps_nothing_that_a_minute_of_idleness_would_not() {
    let waves = |second: u64| 1 + (second % 120).abs_diff(60);
    let steps = |second: u64| if second % 300 < 120 { 40 } else { 1 };
    let mut found = Vec::new();
    for calls in [
        by_chance(|_| 20),
        by_chance(waves),
        by_chance(steps),
        bursts(),
    ] {
        let plain = |idle_s| cost(&calls, idle_s, None);
        let average = |idle_s| cost(&calls, idle_s, Some(Averages::default()));
        assert_eq!(plain(60), average(60));
        found.push([plain(1), average(1), plain(2), plain(60)]);
    }
    // With an idle time of 1 s, of 1 s and the average, of 2 s, of 60 s.
    let expected = [
        [(1803, 12), (1854, 8), (2005, 7), (4197, 7)],
        [(2963, 78), (3297, 50), (3196, 58), (5269, 23)],
        [(1766, 124), (2034, 25), (2154, 68), (4120, 19)],
        [(1919, 592), (2140, 536), (2511, 592), (18555, 32)],
    ];
    assert_eq!(found, expected);
}
