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

/// Changes by the key that asked for them: whose payment, and which change.
type Asked<'a> = HashMap<(String, String), (Uuid, &'a Known)>;

pub(crate) async fn check(snapshot: &mut Snapshot, books: &Books) -> anyhow::Result<Check> {
    let mut check = Check::new("replies");
    let mut asked = asked(books, &mut check);
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
            let known = asked.remove(&(row.merchant_id.clone(), row.idem_key.clone()));
            if let Err(why) = compare(&row, known) {
                check.violated(format!("{} key {}: {why}", row.merchant_id, row.idem_key));
            }
        }
    }
    let kept_since = snapshot.taken - TimeDelta::days(KEPT_DAYS);
    for ((merchant, key), (payment, known)) in asked {
        let name = payment::PaymentId::from(payment);
        check.ensure(known.created < kept_since, || {
            format!("{merchant} key {key} changed {name} and has no reply")
        });
    }
    Ok(check)
}

fn asked<'a>(books: &'a Books, check: &mut Check) -> Asked<'a> {
    let mut asked = Asked::new();
    for (payment, known) in books {
        for known in known {
            let Some(key) = &known.key else { continue };
            let merchant = &known.state.merchant_id;
            let twin = asked.insert((merchant.clone(), key.clone()), (*payment, known));
            check.ensure(twin.is_none(), || {
                format!("{merchant} key {key} took effect twice")
            });
        }
    }
    asked
}

fn compare(row: &Row, known: Option<(Uuid, &Known)>) -> Result<(), String> {
    let (Some(status), Some(body)) = (row.status, &row.body) else {
        return Err("is committed without a reply".to_owned());
    };
    match (status, known) {
        (200..300, Some((payment, known))) => agree(body, payment, known),
        (200..300, None) => Err("was answered with success and changed nothing".to_owned()),
        (_, Some(_)) => Err(format!("was answered with {status} and changed something")),
        (400..500, None) => Ok(()),
        (_, None) => Err(format!("{status} is never stored")),
    }
}

fn agree(body: &[u8], payment: Uuid, known: &Known) -> Result<(), String> {
    let reply: Success = serde_json::from_slice(body).map_err(|error| error.to_string())?;
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
    if said == folded && payment_id(&reply.payment_id) == Some(payment) {
        return Ok(());
    }
    Err(format!(
        "was answered {said:?}, its change came to {folded:?}"
    ))
}
