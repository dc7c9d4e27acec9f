//! SQL of `outbox_pending` and of `outbox_delivery`, which takes a pointer's place once the broker
//! has acknowledged its event.

use chrono::{DateTime, Utc};
use sqlx::{MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::{Event, shard};

/// An event the broker has not acknowledged.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its shard.
    pub shard: u16,
    /// Its place in the outbox.
    pub id: u64,
    /// CloudEvents `id`.
    pub event_id: Uuid,
    /// The key.
    pub aggregate_id: String,
    /// The topic.
    pub event_type: String,
    /// The value.
    pub payload: String,
    /// JSON: `{"traceparent"}`.
    pub headers: String,
}

/// An acknowledgement of the broker.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// The pointer's shard.
    pub shard: u16,
    /// The pointer's event.
    pub id: u64,
    /// Where the broker put it.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

/// How much waits.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Events not acknowledged.
    pub events: i64,
    /// Age of the oldest of them, in milliseconds; 0 when none waits.
    pub oldest_ms: i64,
}

/// Points at the events of one INSERT whose first id is `first_id`.
pub(crate) async fn insert(
    tx: &mut MySqlConnection,
    events: &[Event],
    first_id: u64,
) -> sqlx::Result<()> {
    QueryBuilder::<MySql>::new("INSERT INTO outbox_pending (shard, id) ")
        .push_values((first_id..).zip(events), |mut row, (id, event)| {
            row.push_bind(shard(&event.aggregate_id)).push_bind(id);
        })
        .build()
        .execute(tx)
        .await?;
    Ok(())
}

/// What is pending in the shards that `owner` owns, at most `rows_max`, from shard `first_shard` on
/// and round to it again; within a shard in id order. The events of the keys `held` (without commas)
/// are left out, so that they take no room. Reads by the primary key, so that a long backlog costs
/// no sort.
///
/// # Errors
/// Those of the database.
pub async fn read(
    db: &mut MySqlConnection,
    owner: Uuid,
    first_shard: u16,
    rows_max: u32,
    held: impl Iterator<Item = &str>,
) -> sqlx::Result<Vec<Pending>> {
    let held = held.collect::<Vec<_>>().join(",");
    let mut pending = read_from(db, owner, first_shard, rows_max, &held).await?;
    let room = rows_max.saturating_sub(u32::try_from(pending.len()).unwrap_or(rows_max));
    if first_shard > 0 && room > 0 {
        let before = read_from(db, owner, 0, room, &held).await?;
        pending.extend(
            before
                .into_iter()
                .take_while(|event| event.shard < first_shard),
        );
    }
    Ok(pending)
}

async fn read_from(
    db: &mut MySqlConnection,
    owner: Uuid,
    first_shard: u16,
    rows_max: u32,
    held: &str,
) -> sqlx::Result<Vec<Pending>> {
    sqlx::query_as!(
        Pending,
        r#"SELECT p.shard, p.id, e.event_id AS "event_id: _", e.aggregateid AS aggregate_id,
                  e.type AS event_type, e.payload, e.headers
             FROM outbox_pending p
                  STRAIGHT_JOIN outbox_owner o ON o.shard = p.shard AND o.owner = ?
                  STRAIGHT_JOIN outbox_event e ON e.id = p.id
            WHERE p.shard >= ? AND FIND_IN_SET(e.aggregateid, ?) = 0
            ORDER BY p.shard, p.id LIMIT ?"#,
        owner,
        first_shard,
        held,
        rows_max
    )
    .fetch_all(db)
    .await
}

/// Takes the pointers of acknowledged events away and notes where each event is, in the caller's
/// transaction.
///
/// # Errors
/// Those of the database.
pub async fn settle(
    tx: &mut MySqlConnection,
    deliveries: &[Delivery],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    QueryBuilder::<MySql>::new(
        "INSERT INTO outbox_delivery (id, kafka_partition, kafka_offset, delivered_at) ",
    )
    .push_values(deliveries, |mut row, delivery| {
        row.push_bind(delivery.id)
            .push_bind(delivery.partition)
            .push_bind(delivery.offset)
            .push_bind(now);
    })
    .build()
    .execute(&mut *tx)
    .await?;
    let mut query = QueryBuilder::<MySql>::new("DELETE FROM outbox_pending WHERE (shard, id) IN ");
    query.push_tuples(deliveries, |mut tuple, delivery| {
        tuple.push_bind(delivery.shard).push_bind(delivery.id);
    });
    query.build().execute(tx).await?;
    Ok(())
}

/// How much waits, and for how long.
///
/// # Errors
/// Those of the database.
pub async fn backlog(db: &mut MySqlConnection, now: DateTime<Utc>) -> sqlx::Result<Backlog> {
    sqlx::query_as!(
        Backlog,
        r#"SELECT COUNT(*) AS "events!: i64",
                  COALESCE((SELECT GREATEST(0, TIMESTAMPDIFF(MICROSECOND, e.created, ?) DIV 1000)
                              FROM outbox_event e
                             WHERE e.id = MIN(p.id)), 0) AS "oldest_ms!: i64"
             FROM outbox_pending p"#,
        now
    )
    .fetch_one(db)
    .await
}
