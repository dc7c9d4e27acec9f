use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use serde::Deserialize;
use stack::kafka::{PARTITIONS, PAYMENT_TOPICS};
use tokio::task::spawn_blocking;

/// Longest wait for the broker.
const BROKER_WITHIN: Duration = Duration::from_secs(20);
/// Longest wait for all messages.
const ALL_WITHIN: Duration = Duration::from_mins(2);
/// How long one look waits for a message.
const POLL: Duration = Duration::from_millis(500);

/// A message on a topic, in the order of its partition.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// When it was produced, in milliseconds since the epoch.
    pub produced_ms: i64,
    /// Its key.
    pub key: String,
    /// CloudEvents `id`.
    pub event_id: String,
    /// The change it tells of.
    pub seq: u64,
    /// The payment as the event shows it: status, captured and refunded.
    pub shown: (String, u64, u64),
    /// The value.
    pub value: String,
}

#[derive(Deserialize)]
struct CloudEvent {
    id: String,
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    status: String,
    captured_amount: u64,
    refunded_amount: u64,
    seq: u64,
}

/// Reads every topic from its beginning to its present end.
///
/// # Errors
/// When the broker does not answer, or a message is no event.
pub(super) async fn read(brokers: &str) -> anyhow::Result<Vec<Message>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "faults")
        .set("enable.auto.commit", "false");
    spawn_blocking(move || read_all(&config.create()?)).await?
}

fn read_all(consumer: &BaseConsumer) -> anyhow::Result<Vec<Message>> {
    let mut places = TopicPartitionList::new();
    let mut left = 0;
    for topic in PAYMENT_TOPICS {
        for partition in 0..PARTITIONS {
            let (low, high) = consumer
                .fetch_watermarks(topic, partition, BROKER_WITHIN)
                .context("the ends of the topics")?;
            places.add_partition_offset(topic, partition, Offset::Offset(low))?;
            left += high - low;
        }
    }
    consumer.assign(&places)?;
    let mut messages = Vec::new();
    let began = Instant::now();
    while left > 0 {
        ensure!(began.elapsed() < ALL_WITHIN, "{left} messages did not come");
        if let Some(message) = consumer.poll(POLL) {
            messages.push(message_of(&message?)?);
            left -= 1;
        }
    }
    Ok(messages)
}

fn message_of(message: &rdkafka::message::BorrowedMessage<'_>) -> anyhow::Result<Message> {
    let value = std::str::from_utf8(message.payload().unwrap_or_default())?;
    let event: CloudEvent = serde_json::from_str(value).context("a message is no event")?;
    Ok(Message {
        topic: message.topic().to_owned(),
        produced_ms: message.timestamp().to_millis().unwrap_or_default(),
        key: String::from_utf8(message.key().unwrap_or_default().to_vec())?,
        event_id: event.id,
        seq: event.data.seq,
        shown: (
            event.data.status,
            event.data.captured_amount,
            event.data.refunded_amount,
        ),
        value: value.to_owned(),
    })
}
