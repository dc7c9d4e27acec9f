//! Natural batching: whatever waits when a writer is free shares its next transaction. There is no
//! timer; a command that comes alone runs at once.

use std::sync::Arc;

use db::Failure;
use guard::Answer;
use idempotency::Reply;
use payment::Timestamp;
use problem::Problem;
use sqlx::{MySqlPool, mysql::MySqlConnectOptions};
use tokio::sync::{Mutex, Semaphore, mpsc::Receiver, oneshot};

use crate::{
    command::Command,
    run::settle,
    transaction::{Failed, execute},
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
    /// For transactions of many: they give up rather than wait for a lock, so that a payment
    /// somebody else holds delays only its own commands.
    hasty: MySqlPool,
    /// For transactions of one.
    patient: MySqlPool,
    alone: Arc<Semaphore>,
}

impl Database {
    pub(crate) fn new(options: MySqlConnectOptions) -> Self {
        Self {
            hasty: db::hasty_pool(options.clone()),
            patient: db::pool(options),
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
    #[expect(clippy::cast_precision_loss, reason = "at most 64")]
    metrics::histogram!("operation_batch_commands").record(batch.len() as f64);
    let commands: Vec<Arc<Command>> = batch
        .iter()
        .map(|waiting| Arc::clone(&waiting.command))
        .collect();
    match attempt(&database.hasty, commands).await {
        Ok(replies) => {
            for (waiting, reply) in batch.into_iter().zip(replies) {
                let _ = waiting.reply.send(Ok(Answer::Stored(reply)));
            }
        }
        Err(failed) => run_alone(&database, batch, &failed).await,
    }
}

async fn attempt(pool: &MySqlPool, commands: Vec<Arc<Command>>) -> Result<Vec<Reply>, Failed> {
    db::transaction(pool, |tx| {
        Box::pin(async move { execute(tx, &commands, Timestamp::now()).await })
    })
    .await
}

/// Runs each command of a failed batch by itself, all at once.
async fn run_alone(database: &Database, batch: Vec<Waiting>, failed: &Failed) {
    metrics::counter!("operation_batches_failed_total", "cause" => failed.name()).increment(1);
    let maybe_committed =
        matches!(failed, Failed::Database(error) if Failure::of(error) == Failure::Lost);
    for waiting in batch {
        let Ok(permit) = Arc::clone(&database.alone).acquire_owned().await else {
            return;
        };
        let pool = database.patient.clone();
        tokio::spawn(async move {
            let result = settle(&pool, waiting.command, maybe_committed).await;
            let _ = waiting.reply.send(result);
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests;
