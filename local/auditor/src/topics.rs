//! The topics: each payment's events are there, in order, as the database has them.

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{BorrowedMessage, Headers},
};
use serde::Deserialize;
use sqlx::{Connection, MySqlConnection};
use uuid::Uuid;

use crate::{
    Books, Check, Options, Sources,
    events::{EVENT_TYPES, Known, digest, payment_id},
};

/// How long the broker may take for one answer.
pub(crate) const BROKER_TIMEOUT: Duration = Duration::from_secs(20);

/// Of a payment: how many of its events were met, in order, without a gap.
type Met = HashMap<Uuid, usize>;

/// A record that the snapshot knows nothing of.
struct Unknown {
    aggregate: String,
    seq: u32,
    digest: [u8; 16],
}

#[derive(Deserialize)]
struct Payload {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    seq: u32,
}

pub(crate) async fn check(
    sources: &Sources,
    options: &Options,
    mut books: Books,
) -> anyhow::Result<Check> {
    let (sources, options) = (sources.clone(), options.clone());
    let database_url = sources.database_url.clone();
    let work = move || read(&sources, &options, &mut books);
    let (mut check, unknown) = tokio::task::spawn_blocking(work).await??;
    newer(&database_url, &unknown, &mut check).await?;
    Ok(check)
}

/// Reads every topic up to where it ends now, which is after the snapshot.
fn read(
    sources: &Sources,
    options: &Options,
    books: &mut Books,
) -> anyhow::Result<(Check, Vec<Unknown>)> {
    let mut check = Check::new("topics");
    let (mut met, mut unknown) = (Met::new(), Vec::new());
    // A payment's events are on several topics: across them, order is that of the log's times.
    let mut records: Vec<Record> = Vec::new();
    // The last step of a life first: whatever was sent before a record that is read is then on a
    // topic read later, although the relay goes on meanwhile.
    for event_type in EVENT_TYPES.into_iter().rev() {
        let topic = format!("{}{event_type}", options.topic_prefix);
        read_topic(&sources.brokers, &topic, |message| {
            check.count("records");
            match Record::of(message, event_type) {
                Ok(record) => records.push(record),
                Err(why) => check.violated(format!(
                    "{topic} {}/{}: {why}",
                    message.partition(),
                    message.offset()
                )),
            }
        })?;
    }
    records.sort_by_key(|record| (record.written_ms, record.seq));
    for record in records {
        take(record, books, &mut met, &mut unknown, &mut check);
    }
    for (payment, known) in books.iter() {
        let name = payment::PaymentId::from(*payment);
        for known in known.iter().filter(|known| known.delivered.is_some()) {
            check.ensure(known.found, || {
                let seq = known.state.version;
                format!("{name} event {seq} is not where its delivery says")
            });
        }
        let delivered = known
            .iter()
            .take_while(|known| known.delivered.is_some())
            .count();
        let met = met.get(payment).copied().unwrap_or_default();
        check.ensure(met >= delivered, || {
            format!("{name} has {delivered} events delivered, {met} are there in order")
        });
    }
    Ok((check, unknown))
}

/// A record of a payment.
struct Record {
    payment: Uuid,
    aggregate: String,
    seq: u32,
    event_type: &'static str,
    digest: [u8; 16],
    written_ms: i64,
    place: (i32, i64),
}

impl Record {
    fn of(message: &BorrowedMessage<'_>, event_type: &'static str) -> Result<Self, String> {
        let value = message.payload().ok_or("has no value")?;
        let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
        let aggregate = key.ok_or("has no key")?.to_owned();
        let payment = payment_id(&aggregate).ok_or("has the key of no payment")?;
        let payload: Payload = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let headers = message.headers().ok_or("has no headers")?;
        for name in ["ce_id", "traceparent"] {
            if !headers.iter().any(|header| header.key == name) {
                return Err(format!("has no header {name}"));
            }
        }
        Ok(Self {
            payment,
            aggregate,
            seq: payload.data.seq,
            event_type,
            digest: digest(value),
            written_ms: message.timestamp().to_millis().unwrap_or_default(),
            place: (message.partition(), message.offset()),
        })
    }
}

/// Takes the next record of a payment: its next event, or one met before, byte by byte.
fn take(
    record: Record,
    books: &mut Books,
    met: &mut Met,
    unknown: &mut Vec<Unknown>,
    check: &mut Check,
) {
    let events = books.get_mut(&record.payment);
    let index = (record.seq as usize).checked_sub(1);
    let known = index.and_then(|index| events?.get_mut(index));
    let Some(known) = known else {
        unknown.push(Unknown {
            aggregate: record.aggregate,
            seq: record.seq,
            digest: record.digest,
        });
        return;
    };
    check.ensure(agrees(&record, known), || {
        format!(
            "{} event {} is another one there",
            record.aggregate, record.seq
        )
    });
    known.found |= known.delivered == Some(record.place);
    let met = met.entry(record.payment).or_default();
    match known.state.version as usize {
        version if version == *met + 1 => *met = version,
        version if version <= *met => check.count("repeated"),
        version => check.violated(format!(
            "{} event {version} follows {met}",
            record.aggregate
        )),
    }
}

fn agrees(record: &Record, known: &Known) -> bool {
    record.event_type == known.event_type && record.digest == known.digest
}

/// Reads a topic from its beginning to where it ends when this begins.
pub(crate) fn read_topic(
    brokers: &str,
    topic: &str,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> anyhow::Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "auditor")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), BROKER_TIMEOUT)?;
    let partitions = metadata
        .topics()
        .first()
        .context("no such topic")?
        .partitions();
    let mut ends = HashMap::new();
    let mut places = TopicPartitionList::new();
    for partition in partitions
        .iter()
        .map(rdkafka::metadata::MetadataPartition::id)
    {
        let (low, high) = consumer.fetch_watermarks(topic, partition, BROKER_TIMEOUT)?;
        if low < high {
            ends.insert(partition, high);
            places.add_partition_offset(topic, partition, Offset::Offset(low))?;
        }
    }
    consumer.assign(&places)?;
    while !ends.is_empty() {
        let message = consumer.poll(BROKER_TIMEOUT);
        let message = message.with_context(|| format!("{topic} cannot be read"))??;
        let Some(end) = ends.get(&message.partition()) else {
            continue;
        };
        let last = message.offset() + 1 >= *end;
        if message.offset() < *end {
            each(&message);
        }
        if last {
            ends.remove(&message.partition());
        }
    }
    Ok(())
}

/// Records that are newer than the snapshot must be in the database by now.
async fn newer(database_url: &str, unknown: &[Unknown], check: &mut Check) -> anyhow::Result<()> {
    let mut db = MySqlConnection::connect(database_url).await?;
    for record in unknown {
        let payload: Option<String> = sqlx::query_scalar(
            "SELECT payload FROM outbox_event WHERE aggregateid = ? AND agg_seq = ?",
        )
        .bind(&record.aggregate)
        .bind(record.seq)
        .fetch_optional(&mut db)
        .await?;
        let same = payload.is_some_and(|payload| digest(payload.as_bytes()) == record.digest);
        check.ensure(same, || {
            format!(
                "{} event {} is on the topic alone",
                record.aggregate, record.seq
            )
        });
    }
    Ok(db.close().await?)
}
