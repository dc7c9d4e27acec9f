//! More calls than the instances, or the host, can take.

use super::*;
use crate::dispatch::queue::BYTES_MAX;

const MS: Duration = Duration::from_millis(1);

/// A host whose functions have one instance each, with more polls than the host may run calls.
struct Host {
    dispatcher: Dispatcher,
    now: Instant,
    polls: Vec<(FunctionId, oneshot::Receiver<Delivery>)>,
    callers: Vec<(Instant, oneshot::Receiver<Finished>)>,
}

impl Host {
    fn new(in_flight_max: usize, functions: &[Limits]) -> Self {
        let mut host = Self {
            dispatcher: Dispatcher::new(Some(in_flight_max)),
            now: Instant::now(),
            polls: Vec::new(),
            callers: Vec::new(),
        };
        for (number, limits) in functions.iter().enumerate() {
            let function = host.dispatcher.register(&number.to_string(), *limits);
            host.dispatcher.add(function, 1, host.now);
            (0..2 * in_flight_max).for_each(|_| host.park(function));
        }
        host
    }

    fn park(&mut self, function: FunctionId) {
        let parked = self.dispatcher.park(function, 1, self.now);
        self.polls.push((function, parked.expect("parks").1));
    }

    fn submit(&mut self, function: FunctionId) -> bool {
        let submitted = self.dispatcher.submit(function, call(), self.now);
        let now = self.now;
        submitted
            .map(|caller| self.callers.push((now, caller)))
            .is_ok()
    }

    /// What has been handed out since the last time.
    fn started(&mut self) -> Vec<(FunctionId, Delivery)> {
        let mut started = Vec::new();
        self.polls.retain_mut(|(function, poll)| {
            let delivery = poll.try_recv();
            let parked = delivery.is_err();
            started.extend(delivery.map(|delivery| (*function, delivery)));
            parked
        });
        started
    }

    fn finish(&mut self, (function, delivery): &(FunctionId, Delivery)) {
        let id = delivery.call.id;
        let answered = self
            .dispatcher
            .answer(*function, 1, id, None, Ok(one()), self.now);
        assert_eq!(answered, Ok(()));
        self.park(*function);
    }

    fn running(&self, function: FunctionId) -> usize {
        self.dispatcher.running(function)
    }
}

fn limits(priority: Priority) -> Limits {
    Limits {
        priority,
        queue_max: 1000,
        ..LIMITS
    }
}

#[test]
fn urgent_calls_have_a_reserved_share_and_go_first() {
    const HIGH: FunctionId = 0;
    const NORMAL: FunctionId = 1;
    const LOW: FunctionId = 2;
    let mut host = Host::new(8, &Priority::MOST_URGENT_FIRST.map(limits));
    for function in [LOW, NORMAL] {
        assert!((0..20).all(|_| host.submit(function)));
    }
    let shares = (host.running(LOW), host.running(NORMAL));
    assert_eq!(
        shares,
        (4, 2),
        "half for the lowest, three quarters for both"
    );
    let mut running = host.started();
    assert!((0..20).all(|_| host.submit(HIGH)));
    assert_eq!(host.running(HIGH), 2, "the reserved share is free at once");
    running.append(&mut host.started());

    let mut order = Vec::new();
    while !running.is_empty() {
        host.finish(&running.remove(0));
        let mut started = host.started();
        order.extend(started.iter().map(|(function, _)| *function));
        running.append(&mut started);
    }
    let last = |wanted| order.iter().rposition(|function| *function == wanted);
    let first = |wanted| order.iter().position(|function| *function == wanted);
    assert_eq!(order.len(), 60 - 8, "nothing is left behind");
    assert_eq!(order[..18], [HIGH; 18], "no other starts while one waits");
    assert!(last(NORMAL) < last(LOW) && first(NORMAL) < first(LOW));
}

#[test]
fn functions_of_one_priority_take_turns_by_how_long_their_calls_wait() {
    let mut host = Host::new(4, &[limits(Priority::High); 2]);
    assert!((0..4).all(|_| host.submit(0)));
    let running = host.started();
    for function in [1, 0, 1, 0] {
        host.now += MS;
        assert!(host.submit(function));
    }
    let mut order = Vec::new();
    for call in &running {
        host.finish(call);
        order.extend(host.started().iter().map(|(function, _)| *function));
    }
    assert_eq!(order, [1, 0, 1, 0]);
}

#[test]
fn call_that_times_out_or_loses_its_instance_makes_room() {
    let mut host = Host::new(1, &[limits(Priority::Normal); 2]);
    assert!(host.submit(0) && host.submit(1));
    assert_eq!((host.running(0), host.running(1)), (1, 0));
    host.dispatcher
        .remove(0, 1, &Failure::Exited(String::new()), host.now);
    assert_eq!((host.running(0), host.running(1)), (0, 1));

    let mut host = Host::new(1, &[limits(Priority::Normal); 2]);
    assert!(host.submit(0));
    host.now += 4 * SECOND;
    assert!(host.submit(1));
    host.now += SECOND;
    assert_eq!(host.dispatcher.sweep(host.now), [(0, 1)]);
    assert_eq!((host.running(0), host.running(1)), (0, 1));
}

/// Some fourteen times as many calls come in as can be served: each takes 10 ms, and seven run
/// at once.
#[test]
fn overload_is_served_at_full_rate_with_short_waits_and_is_over_at_once() {
    const TICK: Duration = Duration::from_millis(10);
    const TICKS: u32 = 400;
    let waits = Limits {
        queue_target: 50 * MS,
        ..limits(Priority::Normal)
    };
    let mut host = Host::new(10, &[waits]);
    let begin = host.now;
    for _ in 0..TICKS {
        host.started().iter().for_each(|call| host.finish(call));
        let _refused = (0..100).filter(|_| !host.submit(0)).count();
        host.now += TICK;
        host.dispatcher.sweep(host.now);
    }
    let mut served = 0;
    for (submitted, mut caller) in std::mem::take(&mut host.callers) {
        let Ok(finished) = caller.try_recv() else {
            continue;
        };
        let Some(dispatched) = finished.dispatched else {
            assert_eq!(whole(&finished), Err(Failure::QueueWait));
            continue;
        };
        served += 1;
        let standing = submitted > begin + SECOND;
        assert!(!standing || dispatched - submitted <= waits.queue_target);
    }
    assert_eq!(served, 7 * (TICKS - 1), "no place was ever free");
    let in_target = 100 * 50 / 10;
    assert!(host.dispatcher.queued(0) <= in_target, "bounded by time");

    host.now += waits.queue_target;
    host.dispatcher.sweep(host.now);
    host.started().iter().for_each(|call| host.finish(call));
    assert_eq!(host.dispatcher.queued(0), 0);
    assert!(host.submit(0));
    assert_eq!(host.started().len(), 1, "the next call starts at once");
}

#[test]
fn burst_may_wait_longer_than_a_standing_queue() {
    let mut dispatcher = Dispatcher::new(None);
    dispatcher.register(
        "f",
        Limits {
            queue_target: 50 * MS,
            ..LIMITS
        },
    );
    let now = Instant::now();
    dispatcher.add(F, 1, now);
    let (_, _poll) = dispatcher.park(F, 1, now).expect("parks");
    let _running = dispatcher.submit(F, call(), now).expect("dispatched");
    let mut waiting = dispatcher.submit(F, call(), now).expect("queued");
    dispatcher.sweep(now + 999 * MS);
    assert!(waiting.try_recv().is_err(), "the queue is new");
    dispatcher.sweep(now + SECOND);
    let finished = waiting.try_recv().expect("shed");
    assert_eq!(whole(&finished), Err(Failure::QueueWait));
}

#[test]
fn calls_that_waited_for_a_start_are_no_overload() {
    let mut dispatcher = Dispatcher::new(None);
    dispatcher.register(
        "f",
        Limits {
            queue_target: 50 * MS,
            ..LIMITS
        },
    );
    let now = Instant::now();
    dispatcher.add(F, 1, now);
    let waiting: Vec<_> = (0..3).map(|_| dispatcher.submit(F, call(), now)).collect();
    let later = now + 1500 * MS;
    dispatcher.sweep(later);
    let (_, _poll) = dispatcher.park(F, 1, later).expect("parks");
    dispatcher.sweep(later + 100 * MS);
    assert_eq!(dispatcher.queued(F), waiting.len() - 1);
}

#[test]
fn queue_is_bounded_in_bytes() {
    let mut dispatcher = dispatcher(1000, false);
    let now = Instant::now();
    let large = Call {
        payload: Bytes::from(vec![b' '; BYTES_MAX / 4]),
        ..call()
    };
    let waiting: Vec<_> = (0..4)
        .map(|_| dispatcher.submit(F, large.clone(), now).expect("queued"))
        .collect();
    let refused = dispatcher.submit(F, call(), now);
    assert_eq!(refused.expect_err("full"), Failure::QueueFull);
    let (_, _poll) = dispatcher.park(F, 1, now).expect("parks");
    dispatcher.submit(F, large, now).expect("room again");
    drop(waiting);
}

#[test]
fn full_queue_is_known_before_the_event_is_made() {
    let mut dispatcher = dispatcher(1, false);
    let now = Instant::now();
    assert_eq!(dispatcher.refusal(F, 0, now), None);
    let _waiting = dispatcher.submit(F, call(), now).expect("queued");
    assert_eq!(dispatcher.refusal(F, 0, now), Some(Failure::QueueFull));
}

#[test]
fn calls_wait_for_a_restart_only_if_it_comes_in_time() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let exited = Failure::Exited("gone".to_owned());
    dispatcher.remove(F, 1, &exited, now);
    let mut early = dispatcher.submit(F, call(), now).expect("queued");
    let mut late = dispatcher.submit(F, call(), now + SECOND).expect("queued");
    dispatcher.restarts_at(F, 2, now + 2500 * MS);
    assert_eq!(
        whole(&early.try_recv().expect("failed")),
        Err(Failure::NoInstance)
    );
    assert!(late.try_recv().is_err(), "it may wait until 3 s");
    assert_eq!(dispatcher.refusal(F, 0, now), Some(Failure::NoInstance));
    assert_eq!(dispatcher.refusal(F, 0, now + SECOND), None);
    dispatcher.add(F, 2, now);
    assert_eq!(dispatcher.refusal(F, 0, now), None, "it is being started");
}

#[test]
fn start_that_failed_is_not_waited_for() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    dispatcher.remove(F, 1, &Failure::Exited("gone".to_owned()), now);
    dispatcher.restarts_at(F, 2, now + SECOND);
    assert_eq!(dispatcher.refusal(F, 0, now), None);
    dispatcher.restarts_at(F, 2, now + 10 * SECOND);
    assert_eq!(dispatcher.refusal(F, 0, now), Some(Failure::NoInstance));
}

#[test]
fn instance_that_is_back_does_not_stand_for_another() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let exited = Failure::Exited("gone".to_owned());
    dispatcher.add(F, 2, now);
    dispatcher.remove(F, 1, &exited, now);
    dispatcher.restarts_at(F, 3, now + 10 * SECOND);
    dispatcher.remove(F, 2, &exited, now);
    dispatcher.restarts_at(F, 4, now + SECOND);
    dispatcher.add(F, 4, now + SECOND);
    dispatcher.remove(F, 4, &exited, now + SECOND);
    assert_eq!(
        dispatcher.refusal(F, 0, now + SECOND),
        Some(Failure::NoInstance)
    );
}

#[test]
fn nothing_waits_for_a_function_that_never_starts() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let exited = Failure::Exited("gone".to_owned());
    let mut waiting = dispatcher.submit(F, call(), now).expect("queued");
    for instance in 1..=5 {
        assert!(waiting.try_recv().is_err(), "{instance}");
        dispatcher.remove(F, instance, &exited, now);
        dispatcher.restarts_at(F, instance + 1, now);
        dispatcher.add(F, instance + 1, now);
    }
    assert_eq!(
        whole(&waiting.try_recv().expect("failed")),
        Err(Failure::NoInstance)
    );
    let refused = dispatcher.submit(F, call(), now);
    assert_eq!(refused.expect_err("hopeless"), Failure::NoInstance);
    let (_, _poll) = dispatcher.park(F, 6, now).expect("parks");
    assert!(dispatcher.submit(F, call(), now).is_ok(), "it has started");
}
