use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::oneshot::error::TryRecvError;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::answer::{self, Answer};
use crate::call::Extras;
use crate::cluster::Term;

mod overload;
mod streams;
mod stuck;

const SECOND: Duration = Duration::from_secs(1);

/// The only function of most tests.
const F: FunctionId = 0;

const LIMITS: Limits = Limits {
    priority: Priority::Normal,
    queue_max: 8,
    queue_wait: Duration::from_secs(2),
    queue_target: Duration::from_secs(2),
    timeout: Duration::from_secs(5),
    sequential: false,
    reserved: None,
    instances: Bounds {
        min: 1,
        max: 1,
        concurrency: 8,
        idle: Duration::from_mins(5),
    },
};

fn dispatcher(queue_max: usize, sequential: bool) -> Dispatcher {
    let mut dispatcher = Dispatcher::new(None);
    let limits = Limits {
        queue_max,
        sequential,
        ..LIMITS
    };
    assert_eq!(dispatcher.register("f", limits), F);
    dispatcher.add(F, 1, Instant::now());
    dispatcher
}

fn call() -> Call {
    Call::new(
        Bytes::from_static(b"{}"),
        HeaderValue::from_static("Root=1"),
    )
}

fn one() -> Answer {
    Answer::Whole(Bytes::from_static(b"1"))
}

/// What came out at once.
fn whole(finished: &Finished) -> Result<Bytes, Failure> {
    match &finished.outcome {
        Ok(Answer::Whole(bytes)) => Ok(bytes.clone()),
        Ok(Answer::Stream(_)) => panic!("no stream was begun"),
        Err(failure) => Err(failure.clone()),
    }
}

#[test]
fn call_goes_to_the_parked_poll_and_its_answer_to_the_caller() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let (_, mut poll) = dispatcher.park(F, 1, now).expect("parks");
    let call = call();
    let mut finished = dispatcher.submit(F, call.clone(), now).expect("dispatched");
    let delivery = poll.try_recv().expect("delivered");
    assert_eq!(delivery.call.id, call.id);
    assert_eq!(delivery.deadline, now + 5 * SECOND);
    assert_eq!(dispatcher.running(F), 1);

    assert_eq!(
        dispatcher.answer(F, 1, call.id, Some(delivery.dispatch), Ok(one()), now),
        Ok(())
    );
    let finished = finished.try_recv().expect("finished");
    assert_eq!(finished.dispatched, Some(now));
    assert_eq!(whole(&finished), Ok("1".into()));
    assert_eq!(dispatcher.running(F), 0);
}

#[test]
fn waiting_call_goes_to_the_next_poll_first_come_first_served() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let (first, second) = (call(), call());
    let _pending = [
        dispatcher.submit(F, first.clone(), now).expect("queued"),
        dispatcher.submit(F, second.clone(), now).expect("queued"),
    ];
    assert_eq!(dispatcher.queued(F), 2);
    for expected in [first, second] {
        let (_, mut poll) = dispatcher.park(F, 1, now + SECOND).expect("parks");
        let delivery = poll.try_recv().expect("delivered");
        assert_eq!(delivery.call.id, expected.id);
        assert_eq!(
            delivery.deadline,
            now + 6 * SECOND,
            "the deadline starts at the dispatch"
        );
    }
    assert_eq!(dispatcher.queued(F), 0);
}

#[test]
fn full_queue_refuses() {
    let mut dispatcher = dispatcher(1, false);
    let now = Instant::now();
    let _pending = dispatcher.submit(F, call(), now).expect("queued");
    assert_eq!(
        dispatcher.submit(F, call(), now).expect_err("full"),
        Failure::QueueFull
    );
}

#[test]
fn closed_dispatcher_refuses_new_calls_only() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let waiting = call();
    let _pending = dispatcher.submit(F, waiting.clone(), now).expect("queued");
    dispatcher.close();
    assert_eq!(
        dispatcher.submit(F, call(), now).expect_err("closed"),
        Failure::Draining
    );
    let (_, mut poll) = dispatcher.park(F, 1, now).expect("parks");
    assert_eq!(poll.try_recv().expect("delivered").call.id, waiting.id);
}

#[test]
fn call_that_waits_too_long_is_shed() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let mut finished = dispatcher.submit(F, call(), now).expect("queued");
    dispatcher.sweep(now + SECOND);
    assert_eq!(finished.try_recv().expect_err("waits"), TryRecvError::Empty);
    dispatcher.sweep(now + 2 * SECOND);
    let finished = finished.try_recv().expect("shed");
    assert_eq!(whole(&finished), Err(Failure::QueueWait));
    assert_eq!(finished.dispatched, None);
    assert_eq!(dispatcher.queued(F), 0);
}

#[test]
fn call_whose_wait_is_over_is_not_handed_out() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let _late = dispatcher.submit(F, call(), now).expect("queued");
    let timely = call();
    let _timely = dispatcher.submit(F, timely.clone(), now + SECOND);
    let (_, mut poll) = dispatcher.park(F, 1, now + 2 * SECOND).expect("parks");
    assert_eq!(poll.try_recv().expect("delivered").call.id, timely.id);
}

#[test]
fn call_dispatched_from_the_queue_has_its_whole_timeout() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let mut finished = dispatcher.submit(F, call(), now).expect("queued");
    let (_, _poll) = dispatcher.park(F, 1, now + SECOND).expect("parks");
    assert_eq!(dispatcher.sweep(now + 5 * SECOND), []);
    assert_eq!(finished.try_recv().expect_err("runs"), TryRecvError::Empty);
    assert_eq!(dispatcher.sweep(now + 6 * SECOND), [(F, 1)]);
    let finished = finished.try_recv().expect("timed out");
    assert_eq!(whole(&finished), Err(Failure::TimedOut(5 * SECOND)));
    assert_eq!(finished.dispatched, Some(now + SECOND));
}

#[test]
fn answer_after_the_timeout_is_expired_once_then_unknown() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let (_, _poll) = dispatcher.park(F, 1, now).expect("parks");
    let call = call();
    let _pending = dispatcher.submit(F, call.clone(), now).expect("dispatched");
    assert_eq!(dispatcher.sweep(now + 5 * SECOND), [(F, 1)]);
    assert_eq!(dispatcher.instance(F, 1), Some((Phase::Ready, 0)));
    assert_eq!(
        dispatcher.answer(F, 1, call.id, None, Ok(one()), now),
        Err(Refusal::Expired)
    );
    assert_eq!(
        dispatcher.answer(F, 1, call.id, None, Ok(one()), now),
        Err(Refusal::Unknown)
    );
}

#[test]
fn second_foreign_and_stale_answers_are_unknown() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    dispatcher.add(F, 2, now);
    let (_, _poll) = dispatcher.park(F, 1, now).expect("parks");
    let call = call();
    let _pending = dispatcher.submit(F, call.clone(), now).expect("dispatched");
    assert_eq!(
        dispatcher.answer(F, 2, call.id, None, Ok(one()), now),
        Err(Refusal::Unknown)
    );
    assert_eq!(
        dispatcher.answer(F, 1, call.id, Some(0), Ok(one()), now),
        Err(Refusal::Unknown)
    );
    assert_eq!(
        dispatcher.answer(F, 1, call.id, None, Ok(one()), now),
        Ok(())
    );
    assert_eq!(
        dispatcher.answer(F, 1, call.id, None, Ok(one()), now),
        Err(Refusal::Unknown)
    );
}

#[test]
fn lost_instance_fails_its_own_calls_only() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    dispatcher.add(F, 2, now);
    let (_, _first) = dispatcher.park(F, 1, now).expect("parks");
    let (_, _second) = dispatcher.park(F, 2, now).expect("parks");
    let mut pending = [
        dispatcher.submit(F, call(), now).expect("dispatched"),
        dispatcher.submit(F, call(), now).expect("dispatched"),
    ];
    let exited = Failure::Exited("gone".to_owned());
    dispatcher.remove(F, 1, &exited, now);
    assert_eq!(whole(&pending[0].try_recv().expect("failed")), Err(exited));
    assert_eq!(
        pending[1].try_recv().expect_err("runs"),
        TryRecvError::Empty
    );
}

#[test]
fn dead_poll_is_never_dispatched_to() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let (number, dead) = dispatcher.park(F, 1, now).expect("parks");
    let (_, mut alive) = dispatcher.park(F, 1, now).expect("parks");
    let (_, also_dead) = dispatcher.park(F, 1, now).expect("parks");
    drop(also_dead);
    dispatcher.unpark(F, 1, number, None, now);
    drop(dead);
    let _pending = dispatcher.submit(F, call(), now).expect("dispatched");
    assert!(alive.try_recv().is_ok());
    let _pending = dispatcher.submit(F, call(), now).expect("queued");
    assert_eq!(dispatcher.queued(F), 1);
}

#[test]
fn call_sent_to_a_poll_that_never_saw_it_is_handed_out_again() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let (number, mut lost) = dispatcher.park(F, 1, now).expect("parks");
    let call = call();
    let _pending = dispatcher.submit(F, call.clone(), now).expect("dispatched");
    let unseen = lost.try_recv().ok();
    dispatcher.unpark(F, 1, number, unseen, now);
    assert_eq!((dispatcher.queued(F), dispatcher.running(F)), (1, 0));
    let (_, mut poll) = dispatcher.park(F, 1, now).expect("parks");
    assert_eq!(poll.try_recv().expect("delivered").call.id, call.id);
}

#[test]
fn least_loaded_instance_is_chosen() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    dispatcher.add(F, 2, now);
    for _ in 0..3 {
        std::mem::forget(dispatcher.park(F, 1, now).expect("parks"));
        std::mem::forget(dispatcher.park(F, 2, now).expect("parks"));
    }
    let _pending: Vec<_> = (0..4)
        .map(|_| dispatcher.submit(F, call(), now).expect("dispatched"))
        .collect();
    assert_eq!(dispatcher.instance(F, 1), Some((Phase::Ready, 2)));
    assert_eq!(dispatcher.instance(F, 2), Some((Phase::Ready, 2)));
}

#[test]
fn instances_that_may_go_are_left_idle_while_the_first_has_room_to_spare() {
    let mut dispatcher = Dispatcher::new(None);
    let mut limits = LIMITS;
    limits.instances.max = 2;
    assert_eq!(dispatcher.register("f", limits), F);
    let now = Instant::now();
    for id in [1, 2] {
        dispatcher.add(F, id, now);
        for _ in 0..8 {
            std::mem::forget(dispatcher.park(F, id, now).expect("parks"));
        }
    }
    let mut running = |calls| {
        for _ in 0..calls {
            std::mem::forget(dispatcher.submit(F, call(), now).expect("dispatched"));
        }
        [1, 2].map(|id| dispatcher.instance(F, id).expect("it is there").1)
    };
    assert_eq!(running(6), [6, 0], "seven tenths of 8");
    assert_eq!(running(2), [6, 2]);
}

#[test]
fn what_is_reserved_holds_for_all_versions_of_a_function_together() {
    let mut dispatcher = Dispatcher::new(None);
    let limits = |reserved| Limits { reserved, ..LIMITS };
    let old = dispatcher.register("f", limits(Some(2)));
    let new = dispatcher.register("f", limits(Some(3)));
    let other = dispatcher.register("g", limits(Some(1)));
    let now = Instant::now();
    for version in [old, new, other] {
        dispatcher.add(version, 1, now);
    }
    let (_, mut poll) = dispatcher.park(old, 1, now).expect("parks");
    let running = call();
    let _finished = dispatcher.submit(old, running.clone(), now).expect("runs");
    let _delivery = poll.try_recv().expect("delivered");
    let _second = dispatcher.submit(new, call(), now).expect("waits");
    let refused = |result: Result<_, Failure>| matches!(result, Err(Failure::Reserved));
    assert!(refused(dispatcher.submit(old, call(), now)));
    let _third = dispatcher.submit(new, call(), now).expect("it may have 3");
    assert!(refused(dispatcher.submit(new, call(), now)));
    let _others = dispatcher.submit(other, call(), now).expect("its own");
    let answered = dispatcher.answer(old, 1, running.id, None, Ok(one()), now);
    answered.expect("it was running");
    let _again = dispatcher
        .submit(new, call(), now)
        .expect("a call has ended");
    dispatcher.unregister(old);
    assert!(refused(dispatcher.submit(new, call(), now)));
}

#[test]
fn calls_above_what_is_reserved_are_refused() {
    let mut dispatcher = Dispatcher::new(None);
    let limits = Limits {
        reserved: Some(2),
        ..LIMITS
    };
    assert_eq!(dispatcher.register("f", limits), F);
    let now = Instant::now();
    dispatcher.add(F, 1, now);
    let (_, _poll) = dispatcher.park(F, 1, now).expect("parks");
    let _running = dispatcher.submit(F, call(), now).expect("dispatched");
    let _waiting = dispatcher.submit(F, call(), now).expect("queued");
    let third = dispatcher.submit(F, call(), now);
    assert_eq!(third.expect_err("two are there"), Failure::Reserved);
}

#[test]
fn sequential_instance_may_not_poll_while_it_runs_a_call() {
    let mut dispatcher = dispatcher(8, true);
    let now = Instant::now();
    let (_, _poll) = dispatcher.park(F, 1, now).expect("parks");
    let call = call();
    let _pending = dispatcher.submit(F, call.clone(), now).expect("dispatched");
    assert_eq!(dispatcher.park(F, 1, now).expect_err("busy"), Refusal::Busy);
    assert_eq!(
        dispatcher.answer(F, 1, call.id, None, Ok(one()), now),
        Ok(())
    );
    assert!(dispatcher.park(F, 1, now).is_ok());
}

#[test]
fn abandoned_call_leaves_the_queue_but_runs_on_once_dispatched() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let waiting = call();
    let pending = dispatcher.submit(F, waiting.clone(), now).expect("queued");
    drop(pending);
    assert!(!dispatcher.abandon(F, waiting.id));
    assert_eq!(dispatcher.queued(F), 0);

    let (_, _poll) = dispatcher.park(F, 1, now).expect("parks");
    let running = call();
    let pending = dispatcher
        .submit(F, running.clone(), now)
        .expect("dispatched");
    drop(pending);
    assert!(dispatcher.abandon(F, running.id));
    assert_eq!(
        dispatcher.answer(F, 1, running.id, None, Ok(one()), now),
        Ok(())
    );
}

#[test]
fn call_whose_lease_is_lost_while_it_waits_never_begins() {
    let mut dispatcher = Dispatcher::new(None);
    let limits = Limits {
        queue_wait: 60 * SECOND,
        queue_target: 60 * SECOND,
        ..LIMITS
    };
    dispatcher.register("f", limits);
    let now = Instant::now();
    dispatcher.add(F, 1, now);
    let term = Term::new("f".to_owned(), 1, now, now, CancellationToken::new());
    let mut under_lease = call();
    under_lease.extras = Some(Box::new(Extras {
        term: Some(Arc::new(term)),
        ..Extras::default()
    }));
    let mut first = dispatcher
        .submit(F, under_lease.clone(), now)
        .expect("waits");
    let (_, mut poll) = dispatcher.park(F, 1, now + SECOND).expect("parks");
    assert_eq!(poll.try_recv().expect("begins").call.id, under_lease.id);
    assert!(first.try_recv().is_err(), "it runs");

    under_lease.id = call().id;
    let mut second = dispatcher.submit(F, under_lease, now).expect("waits");
    let (_, mut poll) = dispatcher.park(F, 1, now + 3 * SECOND).expect("parks");
    assert!(poll.try_recv().is_err(), "nothing begins");
    let finished = second.try_recv().expect("it has failed");
    assert_eq!(whole(&finished), Err(Failure::LeaseLost));
}
