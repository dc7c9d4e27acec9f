use std::{slice, sync::Arc};

use db::{Failure, Retry};
use guard::Answer;
use idempotency::{Reply, table as idem_table};
use payment::Timestamp;
use problem::{Code, Problem};
use sqlx::MySqlPool;

use crate::{
    command::Command,
    transaction::{Failed, execute},
};

/// Runs one command's transaction until it is known to be committed or refused.
///
/// `maybe_committed` says that a transaction of unknown outcome carried the command before: a key
/// that is taken may then be its own.
///
/// # Errors
/// `idempotency-key-in-flight`, `idempotency-key-reused`; `unavailable` when the outcome is not
/// known, and sending the same key again settles it.
pub(crate) async fn settle(
    pool: &MySqlPool,
    command: Arc<Command>,
    mut maybe_committed: bool,
) -> Result<Answer, Problem> {
    let mut retry = Retry::new();
    loop {
        match attempt(pool, &command).await {
            Ok(reply) => return Ok(Answer::Stored(reply)),
            Err(Failed::KeyTaken) => return stored(pool, &command, !maybe_committed).await,
            Err(Failed::KeyInFlight) => return Err(in_flight()),
            Err(Failed::Database(error)) if retry.again(&error).await => {
                maybe_committed |= Failure::of(&error) == Failure::Lost;
            }
            Err(error) => return Err(unavailable(&error)),
        }
    }
}

async fn attempt(pool: &MySqlPool, command: &Arc<Command>) -> Result<Reply, Failed> {
    let command = Arc::clone(command);
    let replies = db::transaction(pool, |tx| {
        Box::pin(async move { execute(tx, slice::from_ref(&command), Timestamp::now()).await })
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
    let found: sqlx::Result<_> = db::transaction(pool, |tx| {
        Box::pin(async move { idem_table::repeat(tx, &claim).await })
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

pub(crate) fn unavailable(cause: &dyn std::fmt::Display) -> Problem {
    metrics::counter!("operation_unavailable_total").increment(1);
    tracing::error!(error = %cause, "operation unavailable");
    Problem::unavailable()
}
