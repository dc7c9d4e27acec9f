//! The outbox of another service: its events are numbered without a gap, each is either waiting, not
//! for long, or on its topic where its delivery says, byte for byte.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use rdkafka::Message;
use serde::Deserialize;
use sqlx::FromRow;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::{
    Check, Options, Sources,
    events::digest,
    snapshot::{CHUNK_ROWS, Snapshot},
    topics::read_topic,
};

#[derive(FromRow)]
struct Row {
    event_id: Uuid,
    aggregateid: String,
    agg_seq: u32,
    #[sqlx(rename = "type")]
    event_type: String,
    payload: String,
    created: DateTime<Utc>,
    kafka_partition: Option<i32>,
    kafka_offset: Option<i64>,
    pending: bool,
}

#[derive(Deserialize)]
struct Payload {
    id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    subject: String,
    time: DateTime<Utc>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    seq: u32,
}

/// What is to be met at a place of a topic: the event's key and its payload's digest.
type Places = HashMap<(i32, i64), (String, [u8; 16])>;

/// A pointer counts in the right shard alone.
const SELECT: &str = "
SELECT e.event_id, e.aggregateid, e.agg_seq, e.type, e.payload, e.created, d.kafka_partition,
       d.kafka_offset, p.id IS NOT NULL AS pending
  FROM outbox_event e LEFT JOIN outbox_delivery d ON d.id = e.id
  LEFT JOIN outbox_pending p ON p.shard = CRC32(e.aggregateid) % 64 AND p.id = e.id
 WHERE (e.aggregateid = ? AND e.agg_seq > ?) OR e.aggregateid > ?
 ORDER BY e.aggregateid, e.agg_seq LIMIT ?";

/// Pointers and deliveries that are of no event.
const STRAY: &str = "
SELECT (SELECT COUNT(*) FROM outbox_pending p LEFT JOIN outbox_event e
           ON e.id = p.id AND p.shard = CRC32(e.aggregateid) % 64 WHERE e.id IS NULL)
     + (SELECT COUNT(*) FROM outbox_delivery d LEFT JOIN outbox_event e ON e.id = d.id
         WHERE e.id IS NULL)";

/// Holds the snapshot against the topics, which are read after it.
pub(crate) async fn check(
    name: &'static str,
    snapshot: &mut Snapshot,
    sources: &Sources,
    options: &Options,
) -> anyhow::Result<Check> {
    let mut check = Check::new(name);
    let delivered = events(snapshot, &mut check, options).await?;
    let stray: i64 = sqlx::query_scalar(STRAY)
        .fetch_one(&mut snapshot.db)
        .await?;
    check.ensure(stray == 0, || {
        format!("{stray} pointers or deliveries are of no event, or in a wrong shard")
    });
    for (event_type, places) in delivered {
        let topic = format!("{}{event_type}", options.topic_prefix);
        let brokers = sources.brokers.clone();
        let name = topic.clone();
        let missed = spawn_blocking(move || missed(&brokers, &name, places)).await??;
        for (place, (key, _)) in missed {
            check.violated(format!("{topic} has no event of {key} at {place:?}"));
        }
    }
    Ok(check)
}

/// The places of delivered events, by type.
async fn events(
    snapshot: &mut Snapshot,
    check: &mut Check,
    options: &Options,
) -> anyhow::Result<BTreeMap<String, Places>> {
    let mut delivered: BTreeMap<String, Places> = BTreeMap::new();
    let old = snapshot.taken - options.pending_within;
    let (mut aggregate, mut seq) = (String::new(), 0_u32);
    loop {
        let rows: Vec<Row> = sqlx::query_as(SELECT)
            .bind(&aggregate)
            .bind(seq)
            .bind(&aggregate)
            .bind(CHUNK_ROWS)
            .fetch_all(&mut snapshot.db)
            .await?;
        if rows.is_empty() {
            return Ok(delivered);
        }
        for row in rows {
            check.count("events");
            let before = if row.aggregateid == aggregate { seq } else { 0 };
            if let Err(why) = sound(&row, before, old) {
                check.violated(format!("{} event {}: {why}", row.aggregateid, row.agg_seq));
            }
            (aggregate, seq) = (row.aggregateid.clone(), row.agg_seq);
            if let Some(place) = row.kafka_partition.zip(row.kafka_offset) {
                check.count("delivered");
                let places = delivered.entry(row.event_type).or_default();
                let event = (row.aggregateid, digest(row.payload.as_bytes()));
                if places.insert(place, event).is_some() {
                    check.violated(format!(
                        "{aggregate} has the place {place:?} of another event"
                    ));
                }
            }
        }
    }
}

/// Says what is wrong with an event that follows the one numbered `before`.
fn sound(row: &Row, before: u32, old: DateTime<Utc>) -> Result<(), String> {
    if row.agg_seq != before + 1 {
        return Err(format!("follows event {before}"));
    }
    let payload: Payload = serde_json::from_str(&row.payload).map_err(|error| error.to_string())?;
    if payload.id != row.event_id
        || payload.event_type != row.event_type
        || payload.subject != row.aggregateid
        || payload.time != row.created
        || payload.data.seq != row.agg_seq
    {
        return Err("row and payload differ".to_owned());
    }
    match (row.kafka_offset.is_some(), row.pending) {
        (true, true) => Err("is both pending and delivered".to_owned()),
        (false, false) => Err("is neither pending nor delivered".to_owned()),
        (false, true) if row.created < old => Err(format!("waits since {}", row.created)),
        _ => Ok(()),
    }
}

/// The places where something else is, or nothing.
fn missed(brokers: &str, topic: &str, mut places: Places) -> anyhow::Result<Places> {
    read_topic(brokers, topic, |message| {
        let place = (message.partition(), message.offset());
        let same = places.get(&place).is_some_and(|(key, payload)| {
            message.key() == Some(key.as_bytes()) && message.payload().map(digest) == Some(*payload)
        });
        if same {
            places.remove(&place);
        }
    })
    .with_context(|| topic.to_owned())?;
    Ok(places)
}
