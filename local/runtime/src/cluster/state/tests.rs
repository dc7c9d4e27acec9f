use super::*;

const ME: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const TIMEOUT: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

fn own() -> (Uuid, Member) {
    let name = "a".to_owned();
    (ME, Member { name, weight: 1 })
}

/// The row of the other host, which counts `members`.
fn other(silent: Duration, members: &str) -> HostRow {
    HostRow {
        runtime: OTHER,
        host: "b".to_owned(),
        weight: 1,
        members: members.to_owned(),
        silent_ms: i64::try_from(silent.as_millis()).expect("a short time"),
    }
}

fn lease(epoch: u64, runtime: Option<Uuid>) -> LeaseRow {
    LeaseRow {
        function: "f".to_owned(),
        epoch,
        runtime,
        host: "b".to_owned(),
    }
}

/// Asks for the lease of `f`.
fn want(state: &mut State, reserved: Option<usize>) -> oneshot::Receiver<Lease> {
    let (taken, lease) = oneshot::channel();
    let stop = CancellationToken::new();
    let wanted = Wanted {
        timeout: TIMEOUT,
        reserved,
        stop,
        taken,
    };
    state.want("f", wanted);
    lease
}

/// Looks for so long, five times a second; what follows from the last look.
fn watch(
    state: &mut State,
    from: Instant,
    long: Duration,
    row: &HostRow,
    leased: &LeaseRow,
) -> Todo {
    let mut todo = Todo::default();
    for tenth in (0..=long.as_millis()).step_by(200) {
        let now = from + Duration::from_millis(u64::try_from(tenth).expect("a short time"));
        todo = state.look(now, own(), vec![row.clone()], vec![leased.clone()]);
    }
    todo
}

#[test]
fn lease_that_nobody_has_is_taken_at_once() {
    for (rows, epoch) in [(vec![], None), (vec![lease(7, None)], Some(7))] {
        let mut state = State::default();
        let _wanted = want(&mut state, None);
        let live = other(Duration::ZERO, "a=1 b=1");
        let todo = state.look(Instant::now(), own(), vec![live], rows);
        let function = "f".to_owned();
        let wait = Duration::ZERO;
        assert_eq!(
            todo.take,
            [Take {
                function,
                epoch,
                wait
            }]
        );
    }
}

#[test]
fn lease_of_a_host_is_taken_once_that_was_silent_and_its_last_call_is_over() {
    let mut state = State::default();
    let _wanted = want(&mut state, None);
    let now = Instant::now();
    let taken = lease(7, Some(OTHER));
    let live = other(2 * SECOND, "");
    assert_eq!(watch(&mut state, now, 8 * SECOND, &live, &taken).take, []);

    let silent = other(SILENCE_MAX, "");
    let todo = state.look(now + 8 * SECOND, own(), vec![silent], vec![taken]);
    assert_eq!(todo.take[0].wait, HOLDS_FOR + TIMEOUT);
    assert_eq!(todo.forget, [OTHER]);
}

#[test]
fn hosts_that_were_silent_while_the_database_was_away_are_not_gone() {
    let mut state = State::default();
    let _wanted = want(&mut state, Some(8));
    let now = Instant::now();
    let taken = lease(7, Some(OTHER));
    let away = other(60 * SECOND, "a=1 b=1");
    let todo = watch(&mut state, now, 2 * SECOND, &away, &taken);
    assert_eq!((todo.take.len(), todo.forget.len()), (0, 0));
    assert_eq!((state.hosts(), state.shares().of(8)), (2, 4));
    let later = now + 10 * SECOND;
    assert_eq!(watch(&mut state, later, 2 * SECOND, &away, &taken).take, []);
    assert_eq!(
        watch(&mut state, later, 4 * SECOND, &away, &taken)
            .take
            .len(),
        1
    );
    assert_eq!((state.hosts(), state.shares().of(8)), (1, 8));
}

/// Has the lease, with epoch 8.
fn holder(now: Instant, reserved: Option<usize>) -> (State, Lease) {
    let mut state = State::default();
    let mut wanted = want(&mut state, reserved);
    let todo = state.look(now, own(), vec![], vec![lease(7, None)]);
    let hurry = Arc::default();
    state.taken(&todo.take[0], 8, now, now, |term| Lease { term, hurry });
    let lease = wanted.try_recv().expect("it was taken");
    (state, lease)
}

#[test]
fn term_holds_for_a_while_after_each_look_and_is_lost_to_another_epoch() {
    let now = Instant::now();
    let (mut state, held) = holder(now, None);
    assert!(held.term.holds(now + SECOND));
    assert!(!held.term.holds(now + HOLDS_FOR));
    state.look(now + SECOND, own(), vec![], vec![lease(8, Some(ME))]);
    assert!(held.term.holds(now + HOLDS_FOR));
    state.look(now + SECOND, own(), vec![], vec![lease(9, Some(OTHER))]);
    assert!(!held.term.holds(now + SECOND));
    assert!(held.term.ended.is_cancelled());
}

#[test]
fn term_that_is_not_confirmed_is_lost_for_good() {
    let now = Instant::now();
    let (mut state, held) = holder(now, None);
    assert_eq!(state.drop_lost(now + HOLDS_FOR), ["f"]);
    assert!(held.term.ended.is_cancelled());
    state.look(now + 2 * SECOND, own(), vec![], vec![lease(8, Some(ME))]);
    assert!(!held.term.holds(now + 2 * SECOND));
}

#[test]
fn host_takes_what_it_has_lost_itself_without_a_wait() {
    let now = Instant::now();
    let (mut state, held) = holder(now, None);
    state.drop_lost(now + HOLDS_FOR);
    drop(held);
    let _wanted = want(&mut state, None);
    let todo = state.look(now + 3 * SECOND, own(), vec![], vec![lease(8, Some(ME))]);
    assert_eq!(todo.take[0].wait, Duration::ZERO);
}

#[test]
fn lease_whose_owner_has_no_use_for_it_any_more_is_given_back() {
    let now = Instant::now();
    let (mut state, held) = holder(now, None);
    let rows = || vec![lease(8, Some(ME))];
    assert!(state.look(now, own(), vec![], rows()).give_back.is_empty());
    drop(held);
    assert_eq!(state.look(now, own(), vec![], rows()).give_back.len(), 1);
}

#[test]
fn host_that_may_run_no_call_gives_the_lease_up_and_asks_for_none() {
    let now = Instant::now();
    let (mut state, held) = holder(now, Some(1));
    assert!(!held.term.ended.is_cancelled());
    // The heavier host comes first.
    let heavier = HostRow {
        weight: 2,
        ..other(Duration::ZERO, "b=2 a=1")
    };
    state.look(now, own(), vec![heavier.clone()], vec![lease(8, Some(ME))]);
    assert!(held.term.ended.is_cancelled());
    assert!(held.term.holds(now), "what has begun may end");
    drop(held);
    state.is_given_back("f");
    let _wanted = want(&mut state, Some(1));
    let todo = state.look(now, own(), vec![heavier], vec![lease(8, None)]);
    assert_eq!(todo.take, []);
}
