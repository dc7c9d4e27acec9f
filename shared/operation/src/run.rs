use std::{slice, sync::Arc, time::Duration};

use db::Retry;
use guard::Answer;
use idempotency::{Reply, table as idem_table};
use payment::Timestamp;
use problem::{Code, Problem};
use sqlx::MySqlPool;
use tokio::time::timeout;

use crate::{
    command::Command,
    transaction::{Failed, execute},
};

/// How long a caller waits for its reply; what is under way goes on without it. Below the
/// functions' own timeout.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs commands against the payment database.
#[derive(Clone, Debug)]
pub struct Operations {
    pool: MySqlPool,
}

impl Operations {
    /// On `pool`.
    #[must_use]
    pub fn new(pool: MySqlPool) -> Self {
        Self { pool }
    }

    /// Carries `command` out, once, however often it is sent.
    ///
    /// The work is a task of its own: a caller that goes away never cancels a statement halfway.
    ///
    /// # Errors
    /// `idempotency-key-in-flight`, `idempotency-key-reused`; `unavailable` when the outcome is not
    /// known, and sending the same key again settles it.
    pub async fn run(&self, command: Command) -> Result<Answer, Problem> {
        let pool = self.pool.clone();
        let work = tokio::spawn(async move { settle(&pool, Arc::new(command)).await });
        match timeout(REPLY_TIMEOUT, work).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

/// Runs the transaction until it is known to be committed or refused.
async fn settle(pool: &MySqlPool, command: Arc<Command>) -> Result<Answer, Problem> {
    let mut retry = Retry::new();
    let mut first = true;
    loop {
        match attempt(pool, &command).await {
            Ok(reply) => return Ok(Answer::Stored(reply)),
            // On a later attempt the key may be taken by our own commit whose answer was lost.
            Err(Failed::KeyTaken) => return stored(pool, &command, first).await,
            Err(Failed::KeyInFlight) => return Err(in_flight()),
            Err(Failed::Database(error)) if retry.again(&error).await => first = false,
            Err(error) => return Err(unavailable(&error)),
        }
    }
}

async fn attempt(pool: &MySqlPool, command: &Arc<Command>) -> Result<Reply, Failed> {
    let command = Arc::clone(command);
    let replies = db::transaction(pool, |tx| {
        Box::pin(async move { execute(tx, slice::from_ref(&*command), Timestamp::now()).await })
    })
    .await?;
    replies
        .into_iter()
        .next()
        .ok_or(Failed::Database(sqlx::Error::RowNotFound))
}

async fn stored(
    pool: &MySqlPool,
    command: &Arc<Command>,
    replayed: bool,
) -> Result<Answer, Problem> {
    let claim = command.claim.clone();
    let found: sqlx::Result<_> = db::session(pool, |db| {
        Box::pin(async move { idem_table::find(db, &claim).await })
    })
    .await;
    match found {
        Ok(Some(stored)) if stored.fingerprint != command.claim.fingerprint => {
            let detail = "The idempotency key was first used for another request.";
            Err(Problem::new(Code::IdempotencyKeyReused, detail))
        }
        Ok(Some(stored)) if replayed => Ok(Answer::Replayed(stored.reply)),
        Ok(Some(stored)) => Ok(Answer::Stored(stored.reply)),
        Ok(None) => Err(unavailable(&"the stored reply was purged meanwhile")),
        Err(error) => Err(unavailable(&error)),
    }
}

fn in_flight() -> Problem {
    let detail = "A request with this idempotency key is still running.";
    Problem::new(Code::IdempotencyKeyInFlight, detail)
}

fn unavailable(cause: &dyn std::fmt::Display) -> Problem {
    metrics::counter!("operation_unavailable_total").increment(1);
    tracing::error!(error = %cause, "operation unavailable");
    Problem::unavailable()
}
