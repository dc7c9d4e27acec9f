//! Every payment's events, folded.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Books, Check,
    fold::{Data, Posting, State},
    snapshot::{CHUNK_ROWS, Snapshot},
};

/// What one event says and what must follow from it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: u64,
    pub(crate) event_type: EventType,
    /// Of the payload, byte by byte.
    pub(crate) digest: [u8; 16],
    pub(crate) created: DateTime<Utc>,
    pub(crate) state: State,
    pub(crate) postings: Vec<Posting>,
    /// The idempotency key of the request that caused it; `None` for a schedule.
    pub(crate) key: Option<String>,
    /// Where the broker acknowledged it.
    pub(crate) delivered: Option<(i32, i64)>,
    /// Whether it was met there.
    pub(crate) found: bool,
}

/// Types of events; each is the name of a topic.
pub(crate) type EventType = &'static str;

/// Every type of event a payment tells, each after those it may follow.
pub(crate) const EVENT_TYPES: [EventType; 5] = [
    "payment.authorized",
    "payment.captured",
    "payment.refunded",
    "payment.voided",
    "payment.expired",
];

#[derive(FromRow)]
struct Row {
    id: u64,
    event_id: Uuid,
    aggregatetype: String,
    aggregateid: String,
    agg_seq: u32,
    #[sqlx(rename = "type")]
    event_type: String,
    payload: String,
    request: Option<String>,
    created: DateTime<Utc>,
}

/// The value on the topic; unknown members are none of the events' own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    specversion: String,
    id: Uuid,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "type")]
    event_type: String,
    subject: String,
    time: DateTime<Utc>,
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    idempotency_key: String,
}

/// Reads and folds every event.
pub(crate) async fn check(snapshot: &mut Snapshot) -> anyhow::Result<(Books, Check)> {
    let mut check = Check::new("events");
    let mut books: Books = HashMap::new();
    let (mut aggregate, mut seq) = (String::new(), 0_u32);
    loop {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, event_id, aggregatetype, aggregateid, agg_seq, type, payload, request, created \
               FROM outbox_event WHERE (aggregateid = ? AND agg_seq > ?) OR aggregateid > ? \
              ORDER BY aggregateid, agg_seq LIMIT ?",
        )
        .bind(&aggregate)
        .bind(seq)
        .bind(&aggregate)
        .bind(CHUNK_ROWS)
        .fetch_all(&mut snapshot.db)
        .await?;
        let Some(last) = rows.last() else {
            return Ok((books, check));
        };
        (aggregate, seq) = (last.aggregateid.clone(), last.agg_seq);
        for row in rows {
            check.count("events");
            if let Err(why) = take(&mut books, &row) {
                check.violated(format!("{} event {}: {why}", row.aggregateid, row.agg_seq));
            }
        }
    }
}

fn take(books: &mut Books, row: &Row) -> Result<(), String> {
    let payment = payment_id(&row.aggregateid).ok_or("is of no payment")?;
    let payload: Payload = serde_json::from_str(&row.payload).map_err(|error| error.to_string())?;
    let heads = (
        payload.specversion.as_str(),
        payload.id,
        payload.event_type.as_str(),
    );
    let data = &payload.data;
    if heads != ("1.0", row.event_id, row.event_type.as_str())
        || row.aggregatetype != "payment"
        || payload.subject != row.aggregateid
        || data.payment_id != row.aggregateid
        || payload.time != row.created
        || data.seq != row.agg_seq
    {
        return Err("row and payload differ".to_owned());
    }
    let event_type = EVENT_TYPES
        .into_iter()
        .find(|name| *name == row.event_type)
        .ok_or_else(|| format!("{} is no type", row.event_type))?;
    let key = match &row.request {
        Some(request) => {
            let request: Request =
                serde_json::from_str(request).map_err(|error| error.to_string())?;
            Some(request.idempotency_key)
        }
        None => None,
    };
    let known = books.entry(payment).or_default();
    if known.len() + 1 != row.agg_seq as usize {
        return Err(format!("follows event {}", known.len()));
    }
    let before = known.last().map(|known| &known.state);
    let (state, postings) = State::after(before, event_type, data)?;
    known.push(Known {
        id: row.id,
        event_type,
        digest: digest(row.payload.as_bytes()),
        created: row.created,
        state,
        postings,
        key,
        delivered: None,
        found: false,
    });
    Ok(())
}

/// The first half of a SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 16] {
    let whole: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

pub(crate) fn payment_id(text: &str) -> Option<Uuid> {
    let id: payment::PaymentId = text.parse().ok()?;
    Some(id.uuid())
}
