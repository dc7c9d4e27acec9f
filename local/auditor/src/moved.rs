//! The captures and refunds that the payments' events tell. Other services keep a copy of them, which
//! may be a little behind.

use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::AssertSqlSafe;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{Books, Check, Options, events::Known, fold::State, snapshot::Snapshot};

/// How often what is missing is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Korea is as far ahead of UTC, all year.
const KOREA: TimeDelta = TimeDelta::hours(9);

/// Payment and `seq` of a capture or refund.
pub(crate) type Key = (Uuid, u32);

/// A capture or refund.
pub(crate) struct Moved<'a> {
    pub(crate) kind: &'static str,
    pub(crate) amount: u64,
    pub(crate) at: DateTime<Utc>,
    /// The payment after it.
    pub(crate) state: &'a State,
}

/// A table of another service that has each capture and refund.
pub(crate) struct Mirror<'a> {
    pub(crate) table: &'static str,
    /// Of its database.
    pub(crate) url: &'a str,
    /// When the state of it was taken that is audited.
    pub(crate) taken: DateTime<Utc>,
}

/// The capture or refund that an event tells.
pub(crate) fn of(books: &Books, payment_id: Uuid, seq: u32) -> Option<Moved<'_>> {
    let known = books.get(&payment_id)?;
    let index = (seq as usize).checked_sub(1)?;
    let this = known.get(index)?;
    let (kind, amount) = match this.event_type {
        "payment.captured" => ("CAPTURE", this.state.captured),
        "payment.refunded" => {
            let before = known.get(index.checked_sub(1)?)?;
            let amount = this.state.refunded.checked_sub(before.state.refunded)?;
            ("REFUND", amount)
        }
        _ => return None,
    };
    Some(Moved {
        kind,
        amount,
        at: this.created,
        state: &this.state,
    })
}

/// The day in Korea.
pub(crate) fn day(time: DateTime<Utc>) -> NaiveDate {
    (time + KOREA).date_naive()
}

/// Every capture and refund.
pub(crate) fn keys(books: &Books) -> impl Iterator<Item = Key> {
    let moves =
        |known: &&Known| matches!(known.event_type, "payment.captured" | "payment.refunded");
    books.iter().flat_map(move |(payment_id, known)| {
        known
            .iter()
            .filter(moves)
            .map(|known| (*payment_id, known.state.version))
    })
}

/// Those that a copy does not have yet.
pub(crate) fn late(books: &Books, has: impl Fn(Key) -> bool) -> Vec<Key> {
    keys(books).filter(|key| !has(*key)).collect()
}

/// Each of the `late` ones is young, or is there in a moment; each of these is given to `excused`.
pub(crate) async fn all_arrive(
    check: &mut Check,
    mirror: &Mirror<'_>,
    books: &Books,
    late: Vec<Key>,
    options: &Options,
    mut excused: impl FnMut(Key),
) -> anyhow::Result<()> {
    let old = mirror.taken - options.pending_within;
    let is_old = |key: &Key| of(books, key.0, key.1).is_some_and(|moved| moved.at < old);
    let (mut missing, young): (Vec<Key>, Vec<Key>) = late.into_iter().partition(is_old);
    young.into_iter().for_each(&mut excused);
    let began = Instant::now();
    while !missing.is_empty() {
        let mut still = Vec::new();
        let mut now = Snapshot::open(mirror.url).await?;
        for key in missing {
            if is_there(&mut now, mirror.table, key).await? {
                excused(key);
            } else {
                still.push(key);
            }
        }
        now.close().await?;
        missing = still;
        if began.elapsed() > options.pending_within {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    for (payment_id, seq) in missing {
        let name = payment::PaymentId::from(payment_id);
        check.violated(format!("{name} {seq} has not arrived"));
    }
    Ok(())
}

async fn is_there(now: &mut Snapshot, table: &str, key: Key) -> anyhow::Result<bool> {
    let query = format!("SELECT 1 FROM {table} WHERE payment_id = ? AND seq = ?");
    let found: Option<i32> = sqlx::query_scalar(AssertSqlSafe(query))
        .bind(key.0)
        .bind(key.1)
        .fetch_optional(&mut now.db)
        .await?;
    Ok(found.is_some())
}
