//! Natural batching: whatever comes while a transaction is under way shares the next one. There is
//! no timer; a command that comes alone runs at once.

use std::{collections::VecDeque, sync::Arc};

use guard::Answer;
use problem::Problem;
use sqlx::{MySqlPool, mysql::MySqlConnectOptions};
use tokio::{
    sync::{Semaphore, mpsc::Receiver, oneshot},
    task::JoinSet,
};

use crate::{
    command::Command,
    run::settle,
    transaction::{Failed, attempt},
};

/// Commands a transaction may carry, in the steps it is filled to: every number of rows is a
/// prepared statement of its own, for which the server keeps memory per connection.
const BATCH_ROWS: [usize; 20] = [
    64, 56, 48, 40, 32, 28, 24, 20, 16, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1,
];
/// Commands that go while another batch is under way, at least: one executes while the other's commit
/// reaches the disk. Fewer would only make both smaller.
const ALONGSIDE_FROM: usize = 16;
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
pub(crate) async fn write_batches(mut queue: Receiver<Waiting>, database: Database) {
    let mut gathered = VecDeque::new();
    let mut under_way = JoinSet::new();
    while gather(&mut queue, &mut gathered, &mut under_way).await {
        under_way.spawn(write(database.clone(), next(&mut gathered)));
    }
}

/// Gathers commands until they may go; false when no more can come, and so nobody waits any more.
async fn gather(
    queue: &mut Receiver<Waiting>,
    gathered: &mut VecDeque<Waiting>,
    under_way: &mut JoinSet<()>,
) -> bool {
    loop {
        while gathered.len() < BATCH_ROWS[0]
            && let Ok(waiting) = queue.try_recv()
        {
            gathered.push_back(waiting);
        }
        let enough = match under_way.len() {
            0 => 1,
            1 => ALONGSIDE_FROM,
            _ => usize::MAX,
        };
        if gathered.len() >= enough {
            return true;
        }
        tokio::select! {
            waiting = queue.recv(), if gathered.len() < BATCH_ROWS[0] => match waiting {
                Some(waiting) => gathered.push_back(waiting),
                None => return false,
            },
            ended = under_way.join_next(), if !under_way.is_empty() => {
                // Its callers are told as their channels close; the others go on.
                if let Some(Err(error)) = ended {
                    tracing::error!(error = %error, "a batch was given up");
                }
            }
        }
    }
}

/// The first of the commands gathered, within the bounds of a batch.
fn next(gathered: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut steps = BATCH_ROWS.into_iter();
    let rows = steps.find(|rows| *rows <= gathered.len()).unwrap_or(0);
    let mut bytes = 0;
    let mut batch = Vec::with_capacity(rows);
    while batch.len() < rows
        && bytes < BATCH_BYTES_MAX
        && let Some(waiting) = gathered.pop_front()
    {
        bytes += waiting.command.size;
        batch.push(waiting);
    }
    batch
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
