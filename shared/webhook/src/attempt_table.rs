//! SQL of `webhook_attempt`: insert-only.

use sqlx::MySqlConnection;
use uuid::Uuid;

use crate::{Attempt, Sent};

/// Notes an attempt.
///
/// # Errors
/// Those of the database.
pub(crate) async fn insert(
    tx: &mut MySqlConnection,
    webhook_id: Uuid,
    number: u32,
    sent: Sent,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO webhook_attempt (webhook_id, number, started_at, duration_ms, status, error)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(webhook_id)
    .bind(number)
    .bind(sent.started_at)
    .bind(sent.duration_ms)
    .bind(sent.outcome.ok())
    .bind(sent.outcome.err())
    .execute(tx)
    .await?;
    Ok(())
}

/// The newest attempts of a webhook, at most so many, in their order.
///
/// # Errors
/// Those of the database.
pub async fn of(
    db: &mut MySqlConnection,
    webhook_id: Uuid,
    count_max: u32,
) -> sqlx::Result<Vec<Attempt>> {
    let mut attempts: Vec<Attempt> = sqlx::query_as(
        "SELECT number, started_at, duration_ms, status, error FROM webhook_attempt
          WHERE webhook_id = ? ORDER BY number DESC LIMIT ?",
    )
    .bind(webhook_id)
    .bind(count_max)
    .fetch_all(db)
    .await?;
    attempts.reverse();
    Ok(attempts)
}
