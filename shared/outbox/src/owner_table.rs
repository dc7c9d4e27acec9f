//! SQL of `outbox_owner`: which relay sends the events of a shard.
//!
//! `GET_LOCK` belongs to a session, so that a relay which dies, hangs beyond the session's timeout
//! or is cut off loses its shards without anybody's clock being asked. The owner written here is the
//! second fence: a relay that has lost its shards finds another name when it wants to settle.

use std::collections::HashSet;

use sqlx::MySqlConnection;
use uuid::Uuid;

/// Takes every shard over that no living session holds, and gives their number. `owner` is new for
/// every session.
///
/// # Errors
/// Those of the database.
pub async fn take_over(session: &mut MySqlConnection, owner: Uuid) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE outbox_owner SET owner = ?, epoch = epoch + 1
          WHERE (owner IS NULL OR owner <> ?)
            AND GET_LOCK(CONCAT(DATABASE(), '.outbox.', shard), 0) = 1",
        owner,
        owner
    )
    .execute(session)
    .await?;
    Ok(done.rows_affected())
}

/// Writes something in the caller's transaction, so that its commit waits until everything it has
/// read is on disk.
///
/// # Errors
/// Those of the database.
pub async fn beat(tx: &mut MySqlConnection, owner: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE outbox_owner SET beats = beats + 1 WHERE owner = ? LIMIT 1",
        owner
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The shards that are still `owner`'s, locked for the rest of the caller's transaction.
///
/// # Errors
/// Those of the database.
pub async fn lock_owned(tx: &mut MySqlConnection, owner: Uuid) -> sqlx::Result<HashSet<u16>> {
    let shards = sqlx::query_scalar!(
        "SELECT shard FROM outbox_owner WHERE owner = ? FOR UPDATE",
        owner
    )
    .fetch_all(tx)
    .await?;
    Ok(shards.into_iter().collect())
}
