//! Natural batching: whatever waits when a writer is free shares its next transaction. There is no
//! timer; a command that comes alone runs at once.

use std::sync::Arc;

use guard::Answer;
use problem::Problem;
use sqlx::{MySqlPool, mysql::MySqlConnectOptions};
use tokio::sync::{Mutex, Semaphore, mpsc::Receiver, oneshot};

use crate::{
    command::Command,
    run::settle,
    transaction::{Failed, attempt},
};

/// Commands a transaction may carry, in the steps it is filled to: every number of rows is a
/// prepared statement of its own, which the server keeps per connection.
const BATCH_ROWS: [usize; 12] = [64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];
/// A transaction takes no further command once the bodies of its requests have this size in bytes.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Commands that run alone at once at most, after the transaction they shared failed.
const ALONE_MAX: usize = 256;

/// A command and who waits for its reply.
pub(crate) struct Waiting {
    pub(crate) command: Arc<Command>,
    pub(crate) reply: oneshot::Sender<Result<Answer, Problem>>,
}

/// Connections to the payment database.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// For transactions that give up rather than wait for a lock.
    pub(crate) hasty: MySqlPool,
    /// For transactions of one command that has met a lock.
    pub(crate) patient: MySqlPool,
    /// One per connection of `patient`: whoever has a turn is not kept waiting for a connection.
    pub(crate) turns: Arc<Semaphore>,
    alone: Arc<Semaphore>,
}

impl Database {
    pub(crate) fn new(options: MySqlConnectOptions) -> Self {
        Self {
            hasty: db::hasty_pool(options.clone()),
            patient: db::pool(options),
            turns: Arc::new(Semaphore::new(db::CONNECTIONS_MAX as usize)),
            alone: Arc::new(Semaphore::new(ALONE_MAX)),
        }
    }
}

/// Writes batch after batch until no more commands can come.
pub(crate) async fn write_batches(queue: Arc<Mutex<Receiver<Waiting>>>, database: Database) {
    while let Some(batch) = next(&queue).await {
        // A task of its own: if it panics, its callers are told and the writer goes on.
        if let Err(error) = tokio::spawn(write(database.clone(), batch)).await {
            tracing::error!(error = %error, "a batch was given up");
        }
    }
}

/// Waits for a command and takes those that wait with it, within the bounds of a batch.
async fn next(queue: &Mutex<Receiver<Waiting>>) -> Option<Vec<Waiting>> {
    let mut queue = queue.lock().await;
    let first = queue.recv().await?;
    let waiting = queue.len() + 1;
    let rows = BATCH_ROWS.into_iter().find(|rows| *rows <= waiting)?;
    let mut bytes = first.command.size;
    let mut batch = Vec::with_capacity(rows);
    batch.push(first);
    while batch.len() < rows
        && bytes < BATCH_BYTES_MAX
        && let Ok(waiting) = queue.try_recv()
    {
        bytes += waiting.command.size;
        batch.push(waiting);
    }
    Some(batch)
}

async fn write(database: Database, mut batch: Vec<Waiting>) {
    // A caller that stopped waiting was told to ask again, and does.
    batch.retain(|waiting| !waiting.reply.is_closed());
    if batch.is_empty() {
        return;
    }
    let commands: Vec<Arc<Command>> = batch
        .iter()
        .map(|waiting| Arc::clone(&waiting.command))
        .collect();
    match attempt(&database.hasty, commands).await {
        Ok(replies) => {
            #[expect(clippy::cast_precision_loss, reason = "at most 64")]
            metrics::histogram!("operation_batch_commands").record(batch.len() as f64);
            for (waiting, reply) in batch.into_iter().zip(replies) {
                let _ = waiting.reply.send(Ok(Answer::Stored(reply)));
            }
        }
        Err(failed) => run_alone(&database, batch, &failed).await,
    }
}

/// Runs each command of a failed batch by itself, all at once. Among several it is not known yet who
/// met the lock: the others must not wait for it.
async fn run_alone(database: &Database, batch: Vec<Waiting>, failed: &Failed) {
    metrics::counter!("operation_batches_failed_total", "cause" => failed.name()).increment(1);
    let met_lock = batch.len() == 1 && failed.met_lock();
    for waiting in batch {
        let Ok(permit) = Arc::clone(&database.alone).acquire_owned().await else {
            return;
        };
        let database = database.clone();
        tokio::spawn(async move {
            settle(database, waiting, met_lock).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests;
