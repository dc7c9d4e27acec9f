//! SQL of `idem_response_cache`.

use chrono::{DateTime, Utc};
use sqlx::{MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::{Fingerprint, IdempotencyKey, Reply};

/// A key as one request uses it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Names the request, which tells its own claim from that of an earlier one.
    pub id: Uuid,
    /// The key's scope.
    pub merchant_id: String,
    /// The key.
    pub key: IdempotencyKey,
    /// What it is used for.
    pub fingerprint: Fingerprint,
}

/// A key that was used before.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Of the claim that took place; `None` for one made before ids were kept.
    pub claim_id: Option<Uuid>,
    /// What it was first used for.
    pub fingerprint: Fingerprint,
    /// What was answered.
    pub reply: Reply,
}

/// Claims keys in the caller's transaction, in one statement, each with its reply when that is
/// known already. Waits while another transaction holds one of the keys.
///
/// # Errors
/// A duplicate key when one was used before, a lock wait when its holder takes too long; those of
/// the database.
pub async fn claim(
    tx: &mut MySqlConnection,
    claims: &[(&Claim, Option<&Reply>)],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    insert(claims.iter().copied(), now)
        .build()
        .execute(tx)
        .await?;
    Ok(())
}

fn insert<'a>(
    rows: impl Iterator<Item = (&'a Claim, Option<&'a Reply>)>,
    now: DateTime<Utc>,
) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new(
        "INSERT INTO idem_response_cache \
         (merchant_id, idem_key, claim_id, fingerprint, status, body, created_at) ",
    );
    query.push_values(rows, |mut row, (claim, reply)| {
        row.push_bind(&claim.merchant_id)
            .push_bind(claim.key.as_str())
            .push_bind(claim.id)
            .push_bind(claim.fingerprint.as_bytes().as_slice())
            .push_bind(reply.map(|reply| reply.status))
            .push_bind(reply.map(|reply| reply.body.as_ref()))
            .push_bind(now);
    });
    query
}

/// Stores the replies of keys claimed in the same transaction, in one statement: every row exists,
/// so that the insert only updates.
///
/// # Errors
/// Those of the database.
pub async fn finish(
    tx: &mut MySqlConnection,
    replies: &[(&Claim, &Reply)],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    if replies.is_empty() {
        return Ok(());
    }
    let mut query = insert(
        replies.iter().map(|(claim, reply)| (*claim, Some(*reply))),
        now,
    );
    query.push(" ON DUPLICATE KEY UPDATE status = VALUES(status), body = VALUES(body)");
    query.build().execute(tx).await?;
    Ok(())
}

/// The stored reply of a key, to be repeated once the caller's transaction is committed; `None` when
/// it was never used or its reply was purged.
///
/// The reply may have been committed a moment ago and not be on disk yet, and a crash would take
/// back what was repeated. Counting the repetition is a change that is committed after it, and so
/// waits for it.
///
/// # Errors
/// Those of the database.
pub async fn repeat(tx: &mut MySqlConnection, claim: &Claim) -> sqlx::Result<Option<Stored>> {
    sqlx::query!(
        "UPDATE idem_response_cache SET replays = replays + 1
          WHERE merchant_id = ? AND idem_key = ?",
        claim.merchant_id,
        claim.key.as_str(),
    )
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query!(
        r#"SELECT claim_id AS "claim_id: Uuid", fingerprint, status AS "status!", body AS "body!"
             FROM idem_response_cache WHERE merchant_id = ? AND idem_key = ?"#,
        claim.merchant_id,
        claim.key.as_str(),
    )
    .fetch_optional(tx)
    .await?;
    row.map(|row| {
        let fingerprint = <[u8; 32]>::try_from(row.fingerprint)
            .map_err(|_| sqlx::Error::Decode("a fingerprint has 32 bytes".into()))?;
        let reply = Reply {
            status: row.status,
            body: row.body.into(),
        };
        Ok(Stored {
            claim_id: row.claim_id,
            fingerprint: fingerprint.into(),
            reply,
        })
    })
    .transpose()
}

/// Deletes replies stored before `before`, at most `rows_max`, and gives their number.
///
/// # Errors
/// Those of the database.
pub async fn purge(
    db: &mut MySqlConnection,
    before: DateTime<Utc>,
    rows_max: u32,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "DELETE FROM idem_response_cache WHERE created_at < ? ORDER BY created_at LIMIT ?",
        before,
        rows_max
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
