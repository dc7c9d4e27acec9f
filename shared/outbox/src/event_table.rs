//! SQL of `outbox_event`: insert-only.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::{Event, pending_table};

/// An event with what became of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// CloudEvents `id`.
    pub event_id: Uuid,
    /// Contiguous from 1 per aggregate.
    pub seq: u32,
    /// CloudEvents `type`, and the topic.
    pub event_type: String,
    /// The value on the topic.
    pub payload: String,
    /// JSON of the request that caused it; `None` for a schedule.
    pub request: Option<String>,
    /// When the change happened.
    pub created: DateTime<Utc>,
    /// Where the broker put it; `None` while it is pending.
    pub kafka_partition: Option<i32>,
    /// Its offset there.
    pub kafka_offset: Option<i64>,
    /// When the broker acknowledged it.
    pub delivered_at: Option<DateTime<Utc>>,
}

/// Writes events and their pointers in the caller's transaction. The caller holds the lock of every
/// aggregate concerned, so that id order is commit order for each.
///
/// # Errors
/// Those of the database; a `seq` used before is a duplicate key.
pub async fn append(tx: &mut MySqlConnection, events: &[Event]) -> sqlx::Result<()> {
    let done = QueryBuilder::<MySql>::new(
        "INSERT INTO outbox_event (event_id, aggregatetype, aggregateid, agg_seq, type, payload, \
         headers, request, created) ",
    )
    .push_values(events, |mut row, event| {
        row.push_bind(event.event_id)
            .push_bind(event.aggregate_type)
            .push_bind(&event.aggregate_id)
            .push_bind(event.seq)
            .push_bind(event.event_type)
            .push_bind(event.payload())
            .push_bind(json!({ "traceparent": event.traceparent }).to_string())
            .push_bind(
                event
                    .request
                    .as_ref()
                    .map(|request| json!(request).to_string()),
            )
            .push_bind(event.time);
    })
    .build()
    .execute(&mut *tx)
    .await?;
    failpoint::at!("outbox.events-written");
    // One INSERT of known length gets consecutive ids from the first (InnoDB, "simple inserts").
    pending_table::insert(tx, events, done.last_insert_id()).await
}

/// Every event of an aggregate with its delivery, in order.
///
/// # Errors
/// Those of the database.
pub async fn of_aggregate(db: &mut MySqlConnection, aggregate_id: &str) -> sqlx::Result<Vec<Told>> {
    sqlx::query_as!(
        Told,
        r#"SELECT e.event_id AS "event_id: _", e.agg_seq AS seq, e.type AS event_type, e.payload, e.request,
                  e.created AS "created: _", d.kafka_partition AS "kafka_partition?",
                  d.kafka_offset AS "kafka_offset?", d.delivered_at AS "delivered_at?: _"
             FROM outbox_event e LEFT JOIN outbox_delivery d ON d.id = e.id
            WHERE e.aggregateid = ? ORDER BY e.agg_seq"#,
        aggregate_id
    )
    .fetch_all(db)
    .await
}
