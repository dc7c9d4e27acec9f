use super::*;

type Ended = oneshot::Receiver<End>;

/// An instance answers a call with a stream; what its caller gets, and the end of the stream.
fn begun(dispatcher: &mut Dispatcher, now: Instant) -> (Uuid, Finished, Ended) {
    let (_, mut poll) = dispatcher.park(F, 1, now).expect("parks");
    let mut finished = dispatcher.submit(F, call(), now).expect("dispatched");
    let id = poll.try_recv().expect("delivered").call.id;
    let ended = begin(dispatcher, id, now).expect("begins");
    (id, finished.try_recv().expect("begun"), ended)
}

fn begin(dispatcher: &mut Dispatcher, id: Uuid, now: Instant) -> Result<Ended, Refusal> {
    let (_, stream) = answer::stream(None);
    let (end, ended) = oneshot::channel();
    dispatcher
        .begin(F, 1, id, None, (stream, end), now)
        .map(|()| ended)
}

#[test]
fn stream_runs_on_until_it_is_answered() {
    let mut dispatcher = dispatcher(8, true);
    let now = Instant::now();
    let (id, finished, mut ended) = begun(&mut dispatcher, now);
    assert!(matches!(finished.outcome, Ok(Answer::Stream(_))));
    assert_eq!(dispatcher.running(F), 1);
    assert_eq!(dispatcher.park(F, 1, now).err(), Some(Refusal::Busy));
    assert_eq!(ended.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(dispatcher.answer(F, 1, id, None, Ok(one()), now), Ok(()));
    assert_eq!(ended.try_recv(), Ok(Ok(())));
    assert_eq!(dispatcher.running(F), 0);
    dispatcher.park(F, 1, now).expect("parks");
}

#[test]
fn whatever_ends_the_call_ends_its_stream() {
    let now = Instant::now();
    let error = Failure::Function(Bytes::from_static(b"{}"));
    let exited = Failure::Exited("gone".to_owned());
    let timed_out = Failure::TimedOut(5 * SECOND);
    let ended = |end: &dyn Fn(&mut Dispatcher, Uuid)| {
        let mut dispatcher = dispatcher(8, true);
        let (id, _, mut ended) = begun(&mut dispatcher, now);
        end(&mut dispatcher, id);
        ended.try_recv().expect("ended")
    };
    let by_error = ended(&|dispatcher, id| {
        let answered = dispatcher.answer(F, 1, id, None, Err(error.clone()), now);
        assert_eq!(answered, Ok(()));
    });
    assert_eq!(by_error, Err(error.clone()));
    let by_exit = ended(&|dispatcher, _| dispatcher.remove(F, 1, &exited, now));
    assert_eq!(by_exit, Err(exited.clone()));
    let by_time = ended(&|dispatcher, id| {
        dispatcher.sweep(now + 5 * SECOND);
        let late = dispatcher.answer(F, 1, id, None, Ok(one()), now);
        assert_eq!(late, Err(Refusal::Expired));
    });
    assert_eq!(by_time, Err(timed_out));
}

#[test]
fn only_what_runs_can_begin_and_only_once() {
    let mut dispatcher = dispatcher(8, true);
    let now = Instant::now();
    let (id, _, mut ended) = begun(&mut dispatcher, now);
    assert_eq!(
        begin(&mut dispatcher, id, now).err(),
        Some(Refusal::Unknown)
    );
    let nobody = Uuid::nil();
    assert_eq!(
        begin(&mut dispatcher, nobody, now).err(),
        Some(Refusal::Unknown)
    );
    assert_eq!(ended.try_recv(), Err(TryRecvError::Empty), "it goes on");
    dispatcher.sweep(now + 5 * SECOND);
    assert_eq!(
        begin(&mut dispatcher, id, now).err(),
        Some(Refusal::Expired)
    );
}
