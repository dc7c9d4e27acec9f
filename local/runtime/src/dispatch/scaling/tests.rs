//! The rules one by one, and then at work: a dispatcher with its calls, instances and time simulated.

mod keep_warm;

use std::collections::{BTreeMap, BinaryHeap, HashMap};

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::oneshot::Receiver;
use uuid::Uuid;

use self::keep_warm::Averages;
use super::*;
use crate::answer::Answer;
use crate::call::{Call, Failure, Finished};
use crate::dispatch::{Delivery, Dispatcher, FunctionId, Limits};
use crate::manifest::Priority;

const MS: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_mins(5);
/// How busy a host is that holds starts back.
const BUSY: u32 = 86;

fn bounds(min: usize, max: usize, concurrency: usize) -> Bounds {
    Bounds {
        min,
        max,
        concurrency,
        idle: IDLE,
    }
}

#[test]
fn one_instance_per_call_that_waits_less_those_on_their_way() {
    let scaling = Scaling::new(bounds(0, 10, 1));
    assert_eq!(scaling.to_start(0, 0, 0, 0).now, 0);
    assert_eq!(scaling.to_start(3, 0, 0, 0).now, 3);
    assert_eq!(scaling.to_start(3, 5, 2, 0).now, 1);
    assert_eq!(scaling.to_start(3, 0, 3, 0).now, 0);
    assert_eq!(scaling.to_start(30, 6, 1, 0).now, 3, "up to max_instances");
    let wide = Scaling::new(bounds(0, 10, 32));
    assert_eq!(
        wide.to_start(33, 1, 0, 0).now,
        2,
        "an instance takes 32 at once"
    );
    let many = Scaling::new(bounds(0, 1000, 1));
    assert_eq!(many.to_start(500, 20, 10, 0).now, STARTS_MAX - 10);
}

#[test]
fn no_instance_for_what_the_others_serve_before_it_is_there() {
    let mut scaling = Scaling::new(bounds(0, 10, 1));
    for _ in 0..STARTS_KEPT {
        scaling.started(300 * MS);
    }
    scaling.started(900 * MS);
    for _ in 0..100 {
        scaling.answered(10 * MS);
    }
    assert_eq!(
        scaling.to_start(60, 2, 0, 0).now,
        0,
        "2 × 300 / 10 are served"
    );
    assert_eq!(scaling.to_start(62, 2, 0, 0).now, 2);
    assert_eq!(scaling.to_start(1, 0, 0, 0).now, 1, "nobody serves it");
}

#[test]
fn the_longest_idle_are_stopped_at_most_half_at_a_time_and_never_below_min() {
    let mut scaling = Scaling::new(bounds(1, 10, 1));
    let now = Instant::now();
    let idle = |seconds: &[u64]| -> Vec<_> {
        let idle = seconds.iter().map(|it| Duration::from_secs(*it));
        (1..).zip(idle).collect()
    };
    let mut stop = |seconds: &[u64], after| {
        scaling.stop_idle(seconds.len(), idle(seconds).into_iter(), now + after)
    };
    assert!(stop(&[299, 10, 0], Duration::ZERO).is_empty());
    assert_eq!(stop(&[300, 400, 0, 500], Duration::ZERO), [4, 2]);
    assert!(stop(&[301, 0], MS).is_empty(), "too soon after");
    assert_eq!(stop(&[301, 302], STOP_EVERY), [2]);
    assert!(stop(&[600], 2 * STOP_EVERY).is_empty());
}

#[test]
fn busy_host_holds_back_what_would_not_be_the_first_instance() {
    let wide = Scaling::new(bounds(2, 10, 8));
    let held = |now, held_back| Starts { now, held_back };
    assert_eq!(wide.to_start(33, 3, 0, 85), held(5, 0), "not above it");
    assert_eq!(wide.to_start(33, 3, 0, BUSY), held(0, 5));
    assert_eq!(wide.to_start(33, 1, 0, BUSY), held(1, 4), "min_instances");
    assert_eq!(wide.to_start(0, 3, 0, BUSY), held(0, 0));
    let none = Scaling::new(bounds(0, 10, 8));
    assert_eq!(none.to_start(33, 0, 0, BUSY), held(1, 4), "the first");
    assert_eq!(
        none.to_start(33, 0, 1, BUSY),
        held(0, 4),
        "it is on its way"
    );
    let sequential = Scaling::new(bounds(0, 10, 1));
    assert_eq!(sequential.to_start(3, 1, 0, BUSY), held(3, 0));
}

#[test]
fn bounds_that_change_are_kept_at_once() {
    let mut scaling = Scaling::new(bounds(3, 4, 1));
    assert_eq!(scaling.to_start(0, 0, 0, 0).now, 3);
    assert_eq!(scaling.to_start(0, 1, 1, 0).now, 1);
    scaling.bounds = bounds(0, 1, 1);
    let idle = (1..=4).map(|id| (id, MS));
    assert_eq!(scaling.stop_idle(4, idle, Instant::now()), [1, 2]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call,
    Started(InstanceId),
    Answered(InstanceId, Uuid),
    Look,
}

/// One function whose calls take `call` and whose instances take `start` to start.
struct World {
    dispatcher: Dispatcher,
    function: FunctionId,
    call: Duration,
    start: Duration,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    number: u64,
    instances: usize,
    parked: Vec<(InstanceId, Receiver<Delivery>)>,
    callers: Vec<Receiver<Finished>>,
    submitted: HashMap<Uuid, Instant>,
    /// Of the calls that were taken.
    waits: Vec<Duration>,
    most: usize,
    /// Milliseconds, and how many instances there were from then on.
    curve: BTreeMap<u128, usize>,
    began: Instant,
    now: Instant,
    /// Instances × time, and calls × milliseconds, so far.
    instance_time: Duration,
    load: u128,
    starts: usize,
    /// What instances are kept by instead of the time they have been idle.
    averages: Option<Averages>,
}

impl World {
    fn new(bounds: Bounds, call: Duration, start: Duration) -> Self {
        let mut dispatcher = Dispatcher::new(None);
        let function = dispatcher.register(
            "f",
            Limits {
                priority: Priority::Normal,
                queue_max: 10_000,
                queue_wait: Duration::from_secs(5),
                queue_target: Duration::from_secs(5),
                timeout: Duration::from_mins(1),
                sequential: bounds.concurrency == 1,
                reserved: None,
                instances: bounds,
            },
        );
        let began = Instant::now();
        let mut world = Self {
            dispatcher,
            function,
            call,
            start,
            events: BinaryHeap::new(),
            number: 0,
            instances: 0,
            parked: Vec::new(),
            callers: Vec::new(),
            submitted: HashMap::new(),
            waits: Vec::new(),
            most: 0,
            curve: BTreeMap::new(),
            began,
            now: began,
            instance_time: Duration::ZERO,
            load: 0,
            starts: 0,
            averages: None,
        };
        for _ in 0..bounds.min {
            world.begin(world.began);
        }
        world.at(Duration::ZERO, Event::Look);
        world
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.push(self.began + after, event);
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn begin(&mut self, now: Instant) {
        self.instances += 1;
        self.starts += 1;
        self.number += 1;
        let id = self.number;
        self.dispatcher.add(self.function, id, now);
        self.push(now + self.start, Event::Started(id));
        self.most = self.most.max(self.instances);
    }

    /// Lets time pass until `end`.
    fn run(&mut self, end: Duration) {
        while let Some(Reverse((now, ..))) = self.events.peek()
            && *now <= self.began + end
            && let Some(Reverse((now, _, event))) = self.events.pop()
        {
            self.passes(now);
            self.happens(event, now);
            self.deliver(now);
            let starts = self.dispatcher.to_start(self.function, self.instances);
            for _ in 0..starts.now {
                self.begin(now);
            }
            let ms = now.duration_since(self.began).as_millis();
            if self.curve.values().last() != Some(&self.instances) {
                self.curve.insert(ms, self.instances);
            }
        }
    }

    fn passes(&mut self, now: Instant) {
        let passed = now - self.now;
        self.now = now;
        let calls = self.dispatcher.queued(self.function) + self.dispatcher.running(self.function);
        self.instance_time += passed * u32::try_from(self.instances).expect("few");
        self.load += passed.as_millis() * calls as u128;
    }

    fn happens(&mut self, event: Event, now: Instant) {
        match event {
            Event::Call => {
                let call = Call::new(Bytes::new(), HeaderValue::from_static("Root=1"));
                self.submitted.insert(call.id, now);
                let caller = self.dispatcher.submit(self.function, call, now);
                self.callers.push(caller.expect("the queue has room"));
            }
            Event::Started(id) => {
                let concurrency = self.dispatcher.lanes[self.function]
                    .limits
                    .instances
                    .concurrency;
                for _ in 0..concurrency {
                    self.poll(id, now);
                }
            }
            Event::Answered(id, call) => {
                let answer = Ok(Answer::Whole(Bytes::new()));
                let answered = self
                    .dispatcher
                    .answer(self.function, id, call, None, answer, now);
                answered.expect("it was running");
                self.poll(id, now);
            }
            Event::Look => {
                let retired = self.retire(now);
                for id in &retired {
                    self.dispatcher
                        .remove(self.function, *id, &Failure::Draining, now);
                }
                self.instances -= retired.len();
                self.parked.retain(|(id, _)| !retired.contains(id));
                self.push(now + 500 * MS, Event::Look);
            }
        }
    }

    fn retire(&mut self, now: Instant) -> Vec<InstanceId> {
        let (function, instances) = (self.function, self.instances);
        let Some(averages) = &mut self.averages else {
            return self.dispatcher.retire_idle(function, instances, now);
        };
        let bounds = *self.dispatcher.bounds(function);
        let target = averages.target(self.load, bounds.concurrency, instances, now);
        *self.dispatcher.bounds(function) = Bounds {
            min: target.clamp(bounds.min, bounds.max),
            ..bounds
        };
        let retired = self.dispatcher.retire_idle(function, instances, now);
        *self.dispatcher.bounds(function) = bounds;
        retired
    }

    fn poll(&mut self, id: InstanceId, now: Instant) {
        let (_, poll) = self
            .dispatcher
            .park(self.function, id, now)
            .expect("it is in service");
        self.parked.push((id, poll));
    }

    fn deliver(&mut self, now: Instant) {
        for (id, mut poll) in std::mem::take(&mut self.parked) {
            match poll.try_recv() {
                Ok(delivery) => {
                    let since = self.submitted[&delivery.call.id];
                    self.waits.push(now - since);
                    self.push(now + self.call, Event::Answered(id, delivery.call.id));
                }
                Err(_) => self.parked.push((id, poll)),
            }
        }
    }

    fn longest_wait(&self) -> Duration {
        self.waits.iter().max().copied().unwrap_or_default()
    }
}

#[test]
fn a_burst_gets_instances_at_once_and_they_go_when_idle() {
    let mut world = World::new(bounds(1, 50, 1), 100 * MS, 5 * MS);
    for _ in 0..64 {
        world.at(1_000 * MS, Event::Call);
    }
    world.run(3_000 * MS);
    assert_eq!((world.waits.len(), world.most), (64, 50));
    assert!(
        world.longest_wait() <= 125 * MS,
        "{:?}",
        world.longest_wait()
    );
    world.run(IDLE);
    assert_eq!(world.instances, 50, "kept warm");
    world.run(IDLE + 5_000 * MS);
    assert!((2..50).contains(&world.instances), "not all at once");
    world.run(IDLE + 30_000 * MS);
    let grown = [(0, 1), (1_000, 17), (1_005, 33), (1_010, 49), (1_015, 50)];
    let shrunk = [
        (301_500, 25),
        (303_500, 12),
        (305_500, 6),
        (307_500, 3),
        (309_500, 1),
    ];
    let curve = grown.into_iter().chain(shrunk).collect();
    assert_eq!(world.curve, curve);
}

#[test]
fn short_calls_are_not_worth_instances_that_start_slowly() {
    let mut world = World::new(bounds(1, 50, 1), 10 * MS, 300 * MS);
    for _ in 0..20 {
        world.at(1_000 * MS, Event::Call);
    }
    for call in 0..500 {
        world.at(2_000 * MS + 20 * call * MS, Event::Call);
    }
    world.run(20_000 * MS);
    assert_eq!(world.waits.len(), 520);
    let learned = world.most;
    for _ in 0..20 {
        world.at(21_000 * MS, Event::Call);
    }
    world.run(30_000 * MS);
    assert_eq!(
        world.most, learned,
        "by now it is known that one serves them sooner"
    );
    assert!(world.longest_wait() <= 300 * MS);
}

#[test]
fn a_function_at_rest_has_no_instance_and_the_first_call_waits_for_one_start() {
    let mut world = World::new(bounds(0, 4, 1), 10 * MS, 5 * MS);
    world.at(1_000 * MS, Event::Call);
    world.run(2_000 * MS);
    assert_eq!((world.most, world.longest_wait()), (1, 5 * MS));
    world.run(IDLE + 3_000 * MS);
    assert_eq!(world.instances, 0);
    world.at(IDLE + 4_000 * MS, Event::Call);
    world.run(IDLE + 5_000 * MS);
    assert_eq!((world.waits.len(), world.longest_wait()), (2, 5 * MS));
}

#[test]
fn an_instance_that_takes_many_calls_at_once_is_filled_before_the_next_is_needed() {
    let mut world = World::new(bounds(1, 10, 32), 50 * MS, 5 * MS);
    for call in 0..2_000 {
        world.at(1_000 * MS + 5 * call * MS, Event::Call);
    }
    world.run(12_000 * MS);
    assert_eq!((world.waits.len(), world.most), (2_000, 1), "10 at once");
    for _ in 0..100 {
        world.at(13_000 * MS, Event::Call);
    }
    world.run(20_000 * MS);
    assert_eq!(world.most, 4, "100 at once");
}

#[test]
fn instances_that_never_start_are_not_joined_by_ever_more() {
    let mut world = World::new(bounds(0, 1_000, 1), 10 * MS, Duration::from_hours(1));
    for call in 0..1_000 {
        world.at(call * MS, Event::Call);
    }
    world.run(Duration::from_mins(1));
    assert_eq!((world.waits.len(), world.most), (0, STARTS_MAX));
}

#[test]
fn a_busy_host_gives_the_first_instance_at_once_and_the_others_when_it_is_less_busy() {
    let mut world = World::new(bounds(0, 10, 8), 100 * MS, 5 * MS);
    world.dispatcher.set_host_cpu(BUSY);
    for _ in 0..400 {
        world.at(1_000 * MS, Event::Call);
    }
    world.run(3_000 * MS);
    assert_eq!((world.waits.len(), world.most), (160, 1), "8 each 100 ms");
    world.dispatcher.set_host_cpu(50);
    world.run(5_000 * MS);
    assert_eq!((world.waits.len(), world.most), (400, 10));
    let curve: Vec<_> = world.curve.into_iter().collect();
    assert_eq!(curve, [(0, 0), (1_000, 1), (3_005, 10)]);
}
