//! SQL of `webhook_delivery`.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection, FromRow, MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::{Delivery, New, Next, Schedule, Sent, Status, attempt_table};

/// How long an event waits for the one before it of the same subject, should that never come: longer
/// than the platform sends an event again before it becomes a dead letter.
const EARLIER_WITHIN: TimeDelta = TimeDelta::minutes(15);
/// Webhooks that are ended at once for want of an endpoint.
const WITHOUT_ENDPOINT_MAX: u32 = 1_000;

/// A webhook without its body.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Row {
    /// The event's id.
    pub webhook_id: Uuid,
    /// Whom it is told.
    pub merchant_id: String,
    /// The event's type.
    pub event_type: String,
    /// The id of a payment or settlement.
    pub subject: String,
    /// The event's number among those of its subject.
    pub seq: u32,
    /// Where it is on its way.
    pub status: Status,
    /// Attempts made.
    pub attempts: u32,
    /// When it is tried next; `None` when it is not.
    pub due_at: Option<DateTime<Utc>>,
    /// When the event came.
    pub created_at: DateTime<Utc>,
}

/// Which webhooks to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this merchant alone.
    pub merchant_id: Option<String>,
    /// In this status alone.
    pub status: Option<Status>,
    /// Of this payment or settlement alone.
    pub subject: Option<String>,
    /// Older than this one.
    pub after: Option<Uuid>,
}

const COLUMNS: &str = "webhook_id, merchant_id, event_type, subject, seq, status, attempts, due_at, \
                       created_at";

/// Adds webhooks; those that are there already stay as they are.
///
/// # Errors
/// Those of the database.
pub async fn insert(db: &mut MySqlConnection, new: &[New], now: DateTime<Utc>) -> sqlx::Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO webhook_delivery (webhook_id, merchant_id, event_type, subject, seq, payload, \
             status, due_at, created_at) ",
    );
    query.push_values(new, |mut row, new| {
        row.push_bind(new.webhook_id)
            .push_bind(&new.merchant_id)
            .push_bind(&new.event_type)
            .push_bind(&new.subject)
            .push_bind(new.seq)
            .push_bind(&new.payload)
            .push_bind(new.status)
            .push_bind((new.status == Status::Pending).then_some(now))
            .push_bind(now);
    });
    query.push(" ON DUPLICATE KEY UPDATE seq = webhook_delivery.seq");
    query.build().execute(db).await?;
    Ok(())
}

/// The merchants for whom something may be due.
///
/// # Errors
/// Those of the database.
pub async fn merchants_due(
    db: &mut MySqlConnection,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT merchant_id FROM webhook_delivery WHERE status = 'PENDING'
          GROUP BY merchant_id HAVING MIN(due_at) <= ?",
    )
    .bind(now)
    .fetch_all(db)
    .await
}

/// Takes webhooks of a merchant that are due, so that nobody else sends them before `until`. What was
/// never tried waits for the first attempt of the event before it.
///
/// # Errors
/// Those of the database.
pub async fn claim(
    db: &mut MySqlConnection,
    merchant_id: &str,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    count_max: u32,
) -> sqlx::Result<Vec<Delivery>> {
    let due = due(db, merchant_id, now, count_max).await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = db.begin().await?;
    let mut read = QueryBuilder::<MySql>::new(
        "SELECT webhook_id, payload FROM webhook_delivery WHERE status = 'PENDING' AND due_at <= ",
    );
    push_ids(read.push_bind(now).push(" AND webhook_id IN "), &due);
    read.push(" ORDER BY due_at, webhook_id FOR UPDATE");
    let deliveries: Vec<Delivery> = read.build_query_as().fetch_all(&mut *tx).await?;
    let ids: Vec<Uuid> = deliveries.iter().map(|it| it.webhook_id).collect();
    if !ids.is_empty() {
        let mut take = QueryBuilder::<MySql>::new("UPDATE webhook_delivery SET due_at = ");
        push_ids(take.push_bind(until).push(" WHERE webhook_id IN "), &ids);
        take.build().execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(deliveries)
}

async fn due(
    db: &mut MySqlConnection,
    merchant_id: &str,
    now: DateTime<Utc>,
    count_max: u32,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT d.webhook_id FROM webhook_delivery d
          WHERE d.status = 'PENDING' AND d.merchant_id = ? AND d.due_at <= ?
            AND (d.attempts > 0 OR NOT EXISTS
                  (SELECT 1 FROM webhook_delivery e
                    WHERE e.subject = d.subject AND e.seq = d.seq - 1
                      AND e.status = 'PENDING' AND e.attempts = 0))
            AND (d.attempts > 0 OR d.seq = 1 OR d.created_at < ? OR EXISTS
                  (SELECT 1 FROM webhook_delivery e
                    WHERE e.subject = d.subject AND e.seq = d.seq - 1))
          ORDER BY d.due_at, d.webhook_id LIMIT ?",
    )
    .bind(merchant_id)
    .bind(now)
    .bind(now - EARLIER_WITHIN)
    .bind(count_max)
    .fetch_all(db)
    .await
}

fn push_ids(query: &mut QueryBuilder<MySql>, ids: &[Uuid]) {
    query.push_tuples(ids, |mut tuple, id| {
        tuple.push_bind(*id);
    });
}

/// Ends what is due of a merchant that has no endpoint.
///
/// # Errors
/// Those of the database.
pub async fn end_without_endpoint(
    db: &mut MySqlConnection,
    merchant_id: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let ended = sqlx::query(
        "UPDATE webhook_delivery SET status = 'NO_ENDPOINT', due_at = NULL
          WHERE status = 'PENDING' AND merchant_id = ? AND due_at <= ?
          ORDER BY due_at LIMIT ?",
    )
    .bind(merchant_id)
    .bind(now)
    .bind(WITHOUT_ENDPOINT_MAX)
    .execute(db)
    .await?;
    Ok(ended.rows_affected())
}

/// Deletes webhooks of events that came before some time, with their attempts, the oldest first, at
/// most `rows_max`; how many. Those that are still to be sent stay.
///
/// # Errors
/// Those of the database.
pub async fn purge(
    db: &mut MySqlConnection,
    before: DateTime<Utc>,
    rows_max: u32,
) -> sqlx::Result<u64> {
    let mut tx = db.begin().await?;
    let over: Vec<Uuid> = sqlx::query_scalar(
        "SELECT webhook_id FROM webhook_delivery WHERE created_at < ? AND status <> 'PENDING'
          ORDER BY created_at LIMIT ? FOR UPDATE SKIP LOCKED",
    )
    .bind(before)
    .bind(rows_max)
    .fetch_all(&mut *tx)
    .await?;
    if over.is_empty() {
        return Ok(0);
    }
    for table in ["webhook_attempt", "webhook_delivery"] {
        let delete = format!("DELETE FROM {table} WHERE webhook_id IN ");
        let mut delete = QueryBuilder::<MySql>::new(delete);
        push_ids(&mut delete, &over);
        delete.build().execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(over.len() as u64)
}

/// Notes an attempt, and what follows it. A webhook that was settled meanwhile stays as it is.
///
/// # Errors
/// Those of the database.
pub async fn note(
    tx: &mut MySqlConnection,
    webhook_id: Uuid,
    sent: Sent,
    schedule: Schedule,
) -> sqlx::Result<Next> {
    let (status, attempts, tries): (Status, u32, u32) = sqlx::query_as(
        "SELECT status, attempts, tries FROM webhook_delivery WHERE webhook_id = ? FOR UPDATE",
    )
    .bind(webhook_id)
    .fetch_one(&mut *tx)
    .await?;
    let next = schedule.next(sent.outcome, tries + 1);
    attempt_table::insert(tx, webhook_id, attempts + 1, sent).await?;
    let ended = sent.started_at + TimeDelta::milliseconds(sent.duration_ms.into());
    let (then, due_at) = match next {
        _ if status != Status::Pending => (status, None),
        Next::Delivered => (Status::Delivered, None),
        Next::Again(delay) => (Status::Pending, Some(ended + delay)),
        Next::Failed | Next::Gone => (Status::Failed, None),
    };
    sqlx::query(
        "UPDATE webhook_delivery
            SET attempts = attempts + 1, tries = tries + 1, status = ?, due_at = ?
          WHERE webhook_id = ?",
    )
    .bind(then)
    .bind(due_at)
    .bind(webhook_id)
    .execute(tx)
    .await?;
    Ok(next)
}

/// Begins a webhook anew: it is due now, and the schedule starts again.
///
/// # Errors
/// Those of the database.
pub async fn resend(
    db: &mut MySqlConnection,
    webhook_id: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE webhook_delivery SET status = 'PENDING', due_at = ?, tries = 0 WHERE webhook_id = ?",
    )
    .bind(now)
    .bind(webhook_id)
    .execute(db)
    .await?;
    Ok(())
}

/// One webhook.
///
/// # Errors
/// Those of the database.
pub async fn find(db: &mut MySqlConnection, webhook_id: Uuid) -> sqlx::Result<Option<Row>> {
    QueryBuilder::<MySql>::new(format!(
        "SELECT {COLUMNS} FROM webhook_delivery WHERE webhook_id = "
    ))
    .push_bind(webhook_id)
    .build_query_as()
    .fetch_optional(db)
    .await
}

/// The webhooks that a filter names, the newest event first.
///
/// # Errors
/// Those of the database.
pub async fn list(
    db: &mut MySqlConnection,
    filter: &Filter,
    count_max: u32,
) -> sqlx::Result<Vec<Row>> {
    let mut query =
        QueryBuilder::<MySql>::new(format!("SELECT {COLUMNS} FROM webhook_delivery WHERE TRUE"));
    if let Some(merchant_id) = &filter.merchant_id {
        query.push(" AND merchant_id = ").push_bind(merchant_id);
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status);
    }
    if let Some(subject) = &filter.subject {
        query.push(" AND subject = ").push_bind(subject);
    }
    if let Some(after) = filter.after {
        query.push(" AND webhook_id < ").push_bind(after);
    }
    query
        .push(" ORDER BY webhook_id DESC LIMIT ")
        .push_bind(count_max);
    query.build_query_as().fetch_all(db).await
}
