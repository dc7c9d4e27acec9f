//! `idem_response_cache`: every request that changed something has its one stored reply, and every
//! stored success has changed something once.

use std::collections::HashMap;

use chrono::TimeDelta;
use serde::Deserialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Books, Check,
    events::{Known, payment_id},
    snapshot::{CHUNK_ROWS, Snapshot},
};

/// How long replies are kept, in days; older ones may be gone.
const KEPT_DAYS: i64 = idempotency::REPLY_KEPT_DAYS as i64;

#[derive(FromRow)]
struct Row {
    merchant_id: String,
    idem_key: String,
    status: Option<u16>,
    body: Option<Vec<u8>>,
}

/// A stored success, as far as money goes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Success {
    payment_id: String,
    merchant_id: String,
    order_id: String,
    status: String,
    amount: u64,
    currency: String,
    captured_amount: u64,
    refunded_amount: u64,
    version: u32,
}

/// The changes that a request asked for and whose reply was not met yet, by payment and version.
type Unanswered<'a> = HashMap<(Uuid, u32), &'a Known>;

pub(crate) async fn check(snapshot: &mut Snapshot, books: &Books) -> anyhow::Result<Check> {
    let mut check = Check::new("replies");
    let mut unanswered = unanswered(books);
    let mut after = (String::new(), String::new());
    loop {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT merchant_id, idem_key, status, body FROM idem_response_cache \
              WHERE (merchant_id = ? AND idem_key > ?) OR merchant_id > ? \
              ORDER BY merchant_id, idem_key LIMIT ?",
        )
        .bind(&after.0)
        .bind(&after.1)
        .bind(&after.0)
        .bind(CHUNK_ROWS)
        .fetch_all(&mut snapshot.db)
        .await?;
        let Some(last) = rows.last() else { break };
        after = (last.merchant_id.clone(), last.idem_key.clone());
        for row in rows {
            check.count("replies");
            if let Err(why) = compare(&row, &mut unanswered) {
                check.violated(format!("{} key {}: {why}", row.merchant_id, row.idem_key));
            }
        }
    }
    let kept_since = snapshot.taken - TimeDelta::days(KEPT_DAYS);
    for ((payment, version), known) in unanswered {
        let name = payment::PaymentId::from(payment);
        check.ensure(known.created < kept_since, || {
            format!("{name} event {version} was asked for and has no reply")
        });
    }
    Ok(check)
}

fn unanswered(books: &Books) -> Unanswered<'_> {
    let mut unanswered = Unanswered::new();
    for (payment, known) in books {
        let asked_for = known.iter().filter(|known| known.key.is_some());
        unanswered.extend(asked_for.map(|known| ((*payment, known.state.version), known)));
    }
    unanswered
}

fn compare(row: &Row, unanswered: &mut Unanswered<'_>) -> Result<(), String> {
    match (row.status, &row.body) {
        (Some(200..300), Some(body)) => answered(row, body, unanswered),
        (Some(400..500), Some(_)) => Ok(()),
        (Some(status), Some(_)) => Err(format!("{status} is never stored")),
        _ => Err("is committed without a reply".to_owned()),
    }
}

/// A success belongs to the change it tells of. The key is that of whoever signed, the payment's
/// merchant or an operator.
fn answered(row: &Row, body: &[u8], unanswered: &mut Unanswered<'_>) -> Result<(), String> {
    let reply: Success = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let payment = payment_id(&reply.payment_id).ok_or("was answered with no payment")?;
    let known = unanswered
        .remove(&(payment, reply.version))
        .ok_or("was answered with success and changed nothing")?;
    if known.key.as_deref() != Some(&row.idem_key) {
        return Err("was answered with another key's change".to_owned());
    }
    let state = &known.state;
    let said = (
        (
            reply.merchant_id.as_str(),
            reply.order_id.as_str(),
            reply.status.as_str(),
        ),
        (reply.amount, reply.captured_amount, reply.refunded_amount),
        (reply.currency.as_str(), reply.version),
    );
    let folded = (
        (
            state.merchant_id.as_str(),
            state.order_id.as_str(),
            state.status,
        ),
        (state.amount, state.captured, state.refunded),
        (state.currency.as_str(), state.version),
    );
    if said == folded {
        Ok(())
    } else {
        Err(format!(
            "was answered {said:?}, its change came to {folded:?}"
        ))
    }
}
