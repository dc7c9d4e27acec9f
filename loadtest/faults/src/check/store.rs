use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use sqlx::{FromRow, MySqlPool};
use uuid::Uuid;

use crate::history::{BodyHash, Shown};

/// What the database holds.
#[derive(Debug, Default)]
pub struct Store {
    /// Payments by their ids.
    pub payments: HashMap<String, Payment>,
    /// Stored replies by merchant and key: status and body, which are never missing.
    pub replies: HashMap<(String, String), Option<(u16, BodyHash)>>,
    /// Events by payment id and `seq`.
    pub events: BTreeMap<(String, u64), Event>,
    /// Journals by payment id: the `seq` of each.
    pub journals: HashMap<String, Vec<u64>>,
}

/// A payment's row.
#[derive(Debug)]
pub struct Payment {
    /// The merchant's reference.
    pub order_id: String,
    /// What a client would see.
    pub shown: Shown,
}

/// An event's row.
#[derive(Debug)]
pub struct Event {
    /// Its id as in `CloudEvents`.
    pub id: String,
    /// Its topic.
    pub topic: String,
    /// Key id and idempotency key of the request that caused it; `None` for the schedule.
    pub request: Option<(String, String)>,
}

#[derive(FromRow)]
struct PaymentRow {
    payment_id: Uuid,
    order_id: String,
    status: String,
    amount: u64,
    captured_amount: u64,
    refunded_amount: u64,
    version: u32,
}

#[derive(FromRow)]
struct EventRow {
    #[sqlx(rename = "event_id")]
    id: Uuid,
    aggregateid: String,
    agg_seq: u32,
    r#type: String,
    request: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestColumn {
    key_id: String,
    idempotency_key: String,
}

impl Store {
    /// Reads everything.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn read(database: &MySqlPool) -> anyhow::Result<Self> {
        let payments: Vec<PaymentRow> = sqlx::query_as(
            "SELECT payment_id, order_id, status, amount, captured_amount, refunded_amount, \
             version FROM payment",
        )
        .fetch_all(database)
        .await?;
        let events: Vec<EventRow> = sqlx::query_as(
            "SELECT event_id, aggregateid, agg_seq, type, request FROM outbox_event",
        )
        .fetch_all(database)
        .await?;
        let events = events.into_iter().map(event).collect::<Result<_, _>>()?;
        Ok(Self {
            payments: payments.into_iter().map(payment).collect(),
            replies: replies(database).await?,
            events,
            journals: journals(database).await?,
        })
    }
}

fn payment(row: PaymentRow) -> (String, Payment) {
    let shown = Shown {
        status: row.status,
        amount: row.amount,
        captured: row.captured_amount,
        refunded: row.refunded_amount,
        version: row.version.into(),
    };
    (
        id(row.payment_id),
        Payment {
            order_id: row.order_id,
            shown,
        },
    )
}

fn event(row: EventRow) -> serde_json::Result<((String, u64), Event)> {
    let request = row
        .request
        .map(|json| serde_json::from_str::<RequestColumn>(&json));
    let request = request
        .transpose()?
        .map(|it| (it.key_id, it.idempotency_key));
    let event = Event {
        id: row.id.to_string(),
        topic: row.r#type,
        request,
    };
    Ok(((row.aggregateid, row.agg_seq.into()), event))
}

async fn replies(
    database: &MySqlPool,
) -> sqlx::Result<HashMap<(String, String), Option<(u16, BodyHash)>>> {
    type Row = (String, String, Option<u16>, Option<Vec<u8>>);
    let select = "SELECT merchant_id, idem_key, status, body FROM idem_response_cache";
    let rows: Vec<Row> = sqlx::query_as(select).fetch_all(database).await?;
    let reply = |status: Option<u16>, body: Option<Vec<u8>>| {
        status
            .zip(body)
            .map(|(status, body)| (status, BodyHash::of(&body)))
    };
    let named = rows.into_iter();
    Ok(named
        .map(|(merchant, key, status, body)| ((merchant, key), reply(status, body)))
        .collect())
}

async fn journals(database: &MySqlPool) -> sqlx::Result<HashMap<String, Vec<u64>>> {
    let select = "SELECT DISTINCT subject_id, seq FROM ledger_entry ORDER BY subject_id, seq";
    let rows: Vec<(Uuid, u32)> = sqlx::query_as(select).fetch_all(database).await?;
    let mut journals: HashMap<String, Vec<u64>> = HashMap::new();
    for (subject, seq) in rows {
        journals.entry(id(subject)).or_default().push(seq.into());
    }
    Ok(journals)
}

fn id(payment: Uuid) -> String {
    format!("pay_{}", payment.simple())
}
