use std::{sync::Arc, time::Duration};

use guard::Answer;
use problem::{Code, Problem};
use sqlx::mysql::MySqlConnectOptions;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    batch::{Database, Waiting, write_batches},
    command::Command,
    run::unavailable,
};

/// How long a caller waits for its reply; what is under way goes on without it. Below the
/// functions' own timeout.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Commands that wait for a transaction at most; one more is refused.
pub(crate) const QUEUE_MAX: usize = 256;

/// Runs commands against the payment database.
#[derive(Clone, Debug)]
pub struct Operations {
    queue: mpsc::Sender<Waiting>,
}

impl Operations {
    /// On the database at `options`, which may be away. Must be called in an async runtime.
    #[must_use]
    pub fn new(options: MySqlConnectOptions) -> Self {
        metrics::describe_histogram!(
            "operation_batch_commands",
            "Commands that shared a transaction."
        );
        metrics::describe_counter!(
            "operation_batches_failed_total",
            "Shared transactions rolled back, their commands then run alone."
        );
        let (operations, waiting) = Self::queue();
        tokio::spawn(write_batches(waiting, Database::new(options)));
        operations
    }

    /// With nobody to work on what is queued.
    pub(crate) fn queue() -> (Self, mpsc::Receiver<Waiting>) {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        (Self { queue }, waiting)
    }

    /// Carries `command` out, once, however often it is sent.
    ///
    /// The work is done by tasks of its own: a caller that goes away never cancels a statement
    /// halfway.
    ///
    /// # Errors
    /// `idempotency-key-in-flight`, `idempotency-key-reused`; `overloaded` when too many wait;
    /// `unavailable` when the outcome is not known, and sending the same key again settles it.
    pub async fn run(&self, command: Command) -> Result<Answer, Problem> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            command: Arc::new(command),
            reply,
        };
        self.queue.try_send(waiting).map_err(|_| overloaded())?;
        match timeout(REPLY_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

fn overloaded() -> Problem {
    Problem::new(Code::Overloaded, "Too many requests wait for the database.")
}
