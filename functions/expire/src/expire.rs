use db::Retry;
use idempotency::{REPLY_KEPT_DAYS, table as idem_table};
use operation::{Told, record};
use payment::{Change, PaymentId, Timestamp, table as payment_table};
use serde::Serialize;
use sqlx::{MySqlConnection, MySqlPool};
use telemetry::TraceContext;

/// Payments expired in one transaction.
const BATCH_ROWS_MAX: u32 = 100;
/// Replies purged in one statement.
const PURGE_ROWS_MAX: u32 = 1_000;
/// Batches of each kind in one invocation; more is left to the next one.
const BATCHES_MAX: u32 = 50;

/// What one invocation did.
#[derive(Serialize)]
pub(crate) struct Report {
    expired: usize,
    purged: u64,
}

/// Expires lapsed authorizations and purges old replies, in bounded batches.
pub(crate) async fn run(pool: &MySqlPool) -> sqlx::Result<Report> {
    let now = Timestamp::now();
    let mut report = Report {
        expired: 0,
        purged: 0,
    };
    for _ in 0..BATCHES_MAX {
        let expired = expire_batch(pool, now).await?;
        report.expired += expired;
        if expired == 0 {
            break;
        }
    }
    for _ in 0..BATCHES_MAX {
        let before = now.minus_days(REPLY_KEPT_DAYS).utc();
        let purged = db::session(pool, move |db| {
            Box::pin(idem_table::purge(db, before, PURGE_ROWS_MAX))
        })
        .await?;
        report.purged += purged;
        if purged < u64::from(PURGE_ROWS_MAX) {
            break;
        }
    }
    metrics::counter!("payments_expired_total").increment(report.expired as u64);
    tracing::info!(
        payments.expired = report.expired,
        replies.purged = report.purged,
        "expired"
    );
    Ok(report)
}

async fn expire_batch(pool: &MySqlPool, now: Timestamp) -> sqlx::Result<usize> {
    let mut retry = Retry::new();
    loop {
        match db::transaction(pool, move |tx| Box::pin(expire(tx, now))).await {
            Err(error) if retry.again(&error).await => {}
            result => return result,
        }
    }
}

/// Finds lapsed authorizations without a lock, locks them, and decides again under the lock.
async fn expire(tx: &mut MySqlConnection, now: Timestamp) -> sqlx::Result<usize> {
    let mut ids: Vec<PaymentId> = payment_table::lapsed(tx, now.utc(), BATCH_ROWS_MAX).await?;
    ids.sort_unstable();
    let payments = payment_table::lock(tx, &ids).await?;
    let changes: Vec<Change> = payments
        .iter()
        .filter_map(|payment| payment.expire(now))
        .collect();
    let traceparent = TraceContext::root().traceparent();
    let told: Vec<Told<'_>> = changes
        .iter()
        .map(|change| Told {
            change,
            request: None,
            traceparent: &traceparent,
        })
        .collect();
    record(tx, &told).await?;
    Ok(told.len())
}
