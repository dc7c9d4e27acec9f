//! How much a batch and the queue hold.

use problem::Code;
use tokio::{
    sync::mpsc,
    task::{JoinSet, yield_now},
    time::{Duration, timeout},
};

use super::*;
use crate::operations::{Operations, QUEUE_MAX};

/// The sizes of the batches that commands with bodies of these sizes make.
fn batches(sizes: &[usize]) -> Vec<usize> {
    let world = World::empty(&database());
    let commands = (0..).zip(sizes).map(|(order, size)| Command {
        size: *size,
        ..world.command(&Asked::Authorize { order }, "key")
    });
    let (waiting, _answers) = waiting(commands);
    let mut gathered = VecDeque::from(waiting);
    let mut batches = Vec::new();
    while !gathered.is_empty() {
        batches.push(next(&mut gathered).len());
    }
    batches
}

#[tokio::test]
async fn a_batch_takes_what_waits_in_steps_up_to_64_commands() {
    assert_eq!(batches(&[100; 1]), [1]);
    assert_eq!(batches(&[100; 5]), [5]);
    assert_eq!(batches(&[100; 150]), [64, 64, 20, 2]);
}

#[tokio::test]
async fn a_batch_takes_no_further_command_once_the_bodies_have_a_mebibyte() {
    let half = BATCH_BYTES_MAX / 2;
    assert_eq!(batches(&[half - 1; 4]), [3, 1]);
    assert_eq!(batches(&[half; 4]), [2, 2]);
}

#[tokio::test]
async fn a_batch_goes_at_once_and_alongside_another_only_when_large_enough() {
    let world = World::empty(&database());
    let asked = Asked::Authorize { order: 0 };
    let (queue, mut waits) = mpsc::channel(QUEUE_MAX);
    let send = |commands| {
        for waiting in waiting((0..commands).map(|_| world.command(&asked, "key"))).0 {
            queue.try_send(waiting).unwrap();
        }
    };
    let (mut gathered, mut under_way) = (VecDeque::new(), JoinSet::new());

    send(1);
    assert!(gather(&mut waits, &mut gathered, &mut under_way).await);
    assert_eq!(next(&mut gathered).len(), 1);

    let (commit, committed) = oneshot::channel::<()>();
    under_way.spawn(async { drop(committed.await) });
    send(ALONGSIDE_FROM - 1);
    let mut few = Box::pin(gather(&mut waits, &mut gathered, &mut under_way));
    assert!(timeout(Duration::ZERO, &mut few).await.is_err());
    send(1);
    assert!(few.await);
    assert_eq!(next(&mut gathered).len(), ALONGSIDE_FROM);

    send(1);
    drop(commit);
    assert!(gather(&mut waits, &mut gathered, &mut under_way).await);
    assert!(under_way.is_empty(), "the other one has ended");
}

#[tokio::test]
async fn a_command_that_the_queue_has_no_room_for_is_refused_and_may_be_sent_again() {
    let world = World::empty(&database());
    let command = |order| world.command(&Asked::Authorize { order }, "key");
    let (operations, queue) = Operations::queue();
    let mut callers = JoinSet::new();
    for order in 0..QUEUE_MAX {
        let (operations, command) = (operations.clone(), command(order));
        callers.spawn(async move { operations.run(command).await });
    }
    while queue.len() < QUEUE_MAX {
        yield_now().await;
    }
    let refused = operations.run(command(QUEUE_MAX)).await.unwrap_err();
    assert_eq!(refused.code, Code::Overloaded);
    assert_eq!(
        (refused.code.status(), refused.code.retryable()),
        (503, true)
    );
    assert_eq!(refused.retry_after_s, Some(1));
    assert_eq!(queue.len(), QUEUE_MAX, "the others still wait");
}
