use chrono::{TimeDelta, Utc};
use idempotency::{REPLY_KEPT_DAYS, table as idem_table};
use keyed::Session;
use serde::Serialize;
use settlement::day_of;
use sqlx::mysql::MySqlConnectOptions;
use telemetry::TraceContext;

use crate::{
    ControlTotals, FUNCTION,
    close::{Closing, merchants},
    error::SettleError,
};

/// How many days a schedule looks back for periods that were not closed.
const DAYS_BACK: TimeDelta = TimeDelta::days(31);
/// Replies purged in one run; more is left to the next one.
const PURGE_ROWS_MAX: u32 = 10_000;

/// What a scheduled run did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Settlements closed.
    closed: usize,
    /// Merchants of whom events are still on the way, left to the next run.
    waiting: Vec<String>,
    /// Stored replies that were too old.
    purged: u64,
}

/// Closes every merchant's periods until yesterday, and purges old replies. A merchant of whom events
/// are missing holds up no other.
///
/// # Errors
/// [`SettleError`].
pub async fn run_schedule(
    database: &MySqlConnectOptions,
    totals: &ControlTotals,
) -> Result<Report, SettleError> {
    let now = Utc::now();
    let today = day_of(now);
    let traceparent = TraceContext::root().traceparent();
    let closing = Closing {
        from: today - DAYS_BACK,
        to: today - TimeDelta::days(1),
        now,
        traceparent: &traceparent,
        request: None,
    };
    let mut session = Session::open(database, FUNCTION).await?;
    if !session.take_turn().await? {
        return Err(SettleError::Busy);
    }
    let db = session.db();
    let differences = totals.differences(db, closing.to, closing.before()).await?;
    let waiting = merchants(&differences);
    let closed = closing
        .close(db, |book| !waiting.contains(&book.merchant_id))
        .await?;
    let old = now - TimeDelta::days(REPLY_KEPT_DAYS.into());
    let purged = idem_table::purge(db, old, PURGE_ROWS_MAX).await?;
    session.end().await;
    let mut waiting: Vec<String> = waiting.into_iter().collect();
    waiting.sort_unstable();
    tracing::info!(
        settlements.closed = closed,
        merchants.waiting = waiting.len(),
        "settled"
    );
    Ok(Report {
        closed,
        waiting,
        purged,
    })
}
