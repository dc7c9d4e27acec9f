//! Instances that no longer answer.

use super::*;

/// The longest run of a call.
const TIMEOUT: Duration = LIMITS.timeout;

/// Parks a poll, and hands it a call.
fn start(dispatcher: &mut Dispatcher, at: Instant) -> Delivery {
    let (_, mut poll) = dispatcher.park(F, 1, at).expect("parks");
    let _caller = dispatcher.submit(F, call(), at).expect("dispatched");
    poll.try_recv().expect("delivered")
}

fn answer(dispatcher: &mut Dispatcher, delivery: &Delivery, at: Instant) -> Result<(), Refusal> {
    let (id, dispatch) = (delivery.call.id, Some(delivery.dispatch));
    dispatcher.answer(F, 1, id, dispatch, Ok(one()), at)
}

#[test]
fn instance_is_stuck_when_a_call_times_out_and_nothing_else_came_from_it() {
    for sequential in [false, true] {
        let mut dispatcher = dispatcher(8, sequential);
        let now = Instant::now();
        start(&mut dispatcher, now);
        assert_eq!(dispatcher.sweep(now + TIMEOUT / 2), []);
        assert_eq!(dispatcher.sweep(now + TIMEOUT), [(F, 1)]);
        assert_eq!(dispatcher.sweep(now + 2 * TIMEOUT), [], "told once");
    }
}

#[test]
fn slow_call_among_many_served_ones_leaves_the_instance_alone() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    start(&mut dispatcher, now);
    for second in 1..30 {
        let at = now + second * SECOND;
        let served = start(&mut dispatcher, at);
        assert_eq!(answer(&mut dispatcher, &served, at), Ok(()));
        assert_eq!(dispatcher.sweep(at), [], "after {second} s");
    }
}

#[test]
fn poll_or_late_answer_shows_that_the_instance_lives() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let slow = start(&mut dispatcher, now);
    let (_, _idle) = dispatcher.park(F, 1, now + SECOND).expect("parks");
    assert_eq!(dispatcher.sweep(now + TIMEOUT), []);
    let late = answer(&mut dispatcher, &slow, now + TIMEOUT);
    assert_eq!(late, Err(Refusal::Expired));
    assert_eq!(
        dispatcher.sweep(now + 3 * TIMEOUT),
        [],
        "no call is overdue"
    );
}

#[test]
fn instance_that_falls_silent_with_every_worker_busy_is_stuck_a_timeout_later() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    let first = start(&mut dispatcher, now);
    start(&mut dispatcher, now);
    let last_word = now + SECOND;
    assert_eq!(answer(&mut dispatcher, &first, last_word), Ok(()));
    assert_eq!(dispatcher.sweep(now + TIMEOUT), [], "it was heard since");
    assert_eq!(dispatcher.instance(F, 1), Some((Phase::Ready, 0)));
    assert_eq!(dispatcher.sweep(last_word + TIMEOUT), [(F, 1)]);
}

#[test]
fn stuck_instance_gets_no_further_call() {
    let mut dispatcher = dispatcher(8, false);
    let now = Instant::now();
    start(&mut dispatcher, now);
    let (_, mut poll) = dispatcher.park(F, 1, now).expect("parks");
    assert_eq!(dispatcher.sweep(now + TIMEOUT), [(F, 1)]);
    let _caller = dispatcher.submit(F, call(), now + TIMEOUT).expect("queued");
    assert!(poll.try_recv().is_err());
    assert_eq!(dispatcher.queued(F), 1);
}
