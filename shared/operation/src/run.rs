use std::sync::Arc;

use db::Retry;
use guard::Answer;
use idempotency::table as idem_table;
use problem::{Code, Problem};
use sqlx::MySqlPool;

use crate::{
    batch::{Database, Waiting},
    command::Command,
    transaction::{Failed, attempt},
};

/// Runs one command by itself until it is known to be committed or refused, and tells its caller.
///
/// It waits for no lock at first, so that whoever meets none is not held up by those who do; once it
/// `met_lock`, it waits for its turn and then for the lock.
pub(crate) async fn settle(database: Database, waiting: Waiting, mut met_lock: bool) {
    let mut retry = Retry::new();
    let mut turn = None;
    let result = loop {
        if met_lock && turn.is_none() {
            turn = database.turns.acquire().await.ok();
            // A caller that stopped waiting was told to ask again, and does.
            if waiting.reply.is_closed() {
                return;
            }
        }
        let pool = if met_lock {
            &database.patient
        } else {
            &database.hasty
        };
        match answer(pool, &waiting.command).await {
            Err(failed) if failed.met_lock() && !met_lock => met_lock = true,
            Err(Failed::Database(error)) if retry.again(&error).await => {}
            result => break result,
        }
    };
    let _ = waiting
        .reply
        .send(result.map_err(|failed| problem(&failed)));
}

/// Runs the command's transaction; when its key is taken, the stored reply is the answer.
async fn answer(pool: &MySqlPool, command: &Arc<Command>) -> Result<Answer, Failed> {
    match attempt(pool, vec![Arc::clone(command)]).await {
        Ok(replies) => {
            let reply = replies.into_iter().next();
            let none = Failed::Database(sqlx::Error::RowNotFound);
            reply.map(Answer::Stored).ok_or(none)
        }
        Err(Failed::KeyTaken) => stored(pool, command).await,
        Err(failed) => Err(failed),
    }
}

/// The reply stored under the command's key: a repetition, unless an earlier attempt stored it whose
/// outcome was not known.
async fn stored(pool: &MySqlPool, command: &Command) -> Result<Answer, Failed> {
    let claim = command.claim.clone();
    let stored = db::transaction(pool, |tx| {
        Box::pin(async move { idem_table::repeat(tx, &claim).await })
    })
    .await?
    .ok_or(Failed::Purged)?;
    let Command { claim, .. } = command;
    match stored.claim_id {
        _ if stored.fingerprint != claim.fingerprint => Err(Failed::KeyReused),
        Some(id) if id == claim.id => Ok(Answer::Stored(stored.reply)),
        _ => Ok(Answer::Replayed(stored.reply)),
    }
}

/// What the caller is told.
fn problem(failed: &Failed) -> Problem {
    match failed {
        Failed::KeyInFlight => {
            let detail = "A request with this idempotency key is still running.";
            Problem::new(Code::IdempotencyKeyInFlight, detail)
        }
        Failed::KeyReused => {
            let detail = "The idempotency key was first used for another request.";
            Problem::new(Code::IdempotencyKeyReused, detail)
        }
        failed => unavailable(failed),
    }
}

pub(crate) fn unavailable(cause: &dyn std::fmt::Display) -> Problem {
    metrics::counter!("operation_unavailable_total").increment(1);
    tracing::error!(error = %cause, "operation unavailable");
    Problem::unavailable()
}
