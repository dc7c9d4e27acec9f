//! How much a batch and the queue hold.

use problem::Code;
use tokio::{sync::mpsc, task::JoinSet};

use super::*;
use crate::operations::{Operations, QUEUE_MAX};

/// The sizes of the batches that commands with bodies of these sizes make.
async fn batches(sizes: &[usize]) -> Vec<usize> {
    let world = World::empty(&database());
    let (queue, waiting_for) = mpsc::channel(QUEUE_MAX);
    let commands = (0..).zip(sizes).map(|(order, size)| Command {
        size: *size,
        ..world.command(&Asked::Authorize { order }, "key")
    });
    let (batch, _answers) = waiting(commands);
    for waiting in batch {
        queue.try_send(waiting).unwrap();
    }
    drop(queue);
    let waiting_for = Mutex::new(waiting_for);
    let mut batches = Vec::new();
    while let Some(batch) = next(&waiting_for).await {
        batches.push(batch.len());
    }
    batches
}

#[tokio::test]
async fn a_batch_takes_what_waits_in_steps_up_to_64_commands() {
    assert_eq!(batches(&[100; 1]).await, [1]);
    assert_eq!(batches(&[100; 5]).await, [4, 1]);
    assert_eq!(batches(&[100; 150]).await, [64, 64, 16, 6]);
}

#[tokio::test]
async fn a_batch_takes_no_further_command_once_the_bodies_have_a_mebibyte() {
    let half = BATCH_BYTES_MAX / 2;
    assert_eq!(batches(&[half - 1; 4]).await, [3, 1]);
    assert_eq!(batches(&[half; 4]).await, [2, 2]);
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
        tokio::task::yield_now().await;
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
