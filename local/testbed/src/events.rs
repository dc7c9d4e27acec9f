use std::collections::BTreeMap;

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    message::{BorrowedMessage, Headers},
};
use serde_json::Value;

use crate::{Testbed, WAIT_MAX, until, variable};

/// Every topic of payments.
pub(crate) const TOPICS: [&str; 5] = [
    "payment.authorized",
    "payment.captured",
    "payment.refunded",
    "payment.voided",
    "payment.expired",
];

/// A message on a topic.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When the broker appended it, by the broker's clock, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
}

impl Event {
    /// Its number among the events of its payment.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.value["data"]["seq"].as_u64().expect("a number")
    }
}

/// The numbers of a payment's events as a consumer meets them that ignores what it has seen.
#[must_use]
pub fn first_met(messages: &[Event], payment_id: &str) -> Vec<u64> {
    let mut met = Vec::new();
    for message in messages.iter().filter(|message| message.key == payment_id) {
        if !met.contains(&message.seq()) {
            met.push(message.seq());
        }
    }
    met
}

impl Testbed {
    /// The first `count` events of a payment, in the order of their `seq`, read from the topics at
    /// the places the relay noted.
    pub async fn events(&self, payment_id: &str, count: usize) -> Vec<Event> {
        until("the payment's events", async || {
            self.delivered(payment_id).await >= count
        })
        .await;
        let places: Vec<(String, i32, i64)> = sqlx::query_as(
            "SELECT e.type, d.kafka_partition, d.kafka_offset FROM outbox_event e \
             JOIN outbox_delivery d ON d.id = e.id WHERE e.aggregateid = ? ORDER BY e.agg_seq",
        )
        .bind(payment_id)
        .fetch_all(self.database())
        .await
        .expect("the deliveries can be read");
        let mut events = Vec::new();
        for (topic, partition, offset) in places.into_iter().take(count) {
            events.push(read(&topic, partition, offset).await);
        }
        events
    }

    /// Every message on the topics until now, in the order in which the broker appended them.
    pub async fn messages(&self) -> Vec<Event> {
        let mut messages = Vec::new();
        for topic in TOPICS {
            messages.extend(read_all(topic).await);
        }
        messages.sort_by_key(|message| message.timestamp_ms);
        messages
    }

    /// Waits until no event is pending.
    pub async fn everything_sent(&self) {
        until("an empty outbox", async || {
            self.count("outbox_pending").await == 0
        })
        .await;
    }

    /// Batches that relays have read while they had nothing to settle.
    pub async fn beats(&self) -> u64 {
        sqlx::query_scalar("SELECT CAST(SUM(beats) AS UNSIGNED) FROM outbox_owner")
            .fetch_one(self.database())
            .await
            .expect("the owners can be read")
    }

    async fn delivered(&self, payment_id: &str) -> usize {
        let count: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM outbox_event e JOIN outbox_delivery d ON d.id = e.id \
             WHERE e.aggregateid = ?",
        )
        .bind(payment_id)
        .fetch_one(self.database())
        .await
        .expect("the deliveries can be counted");
        usize::try_from(count).expect("not negative")
    }
}

pub(crate) fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", variable("KAFKA_BROKERS"))
        .set("group.id", "testbed")
        .set("enable.auto.commit", "false");
    config
}

async fn read(topic: &str, partition: i32, offset: i64) -> Event {
    let consumer: StreamConsumer = config().create().expect("a consumer");
    let mut place = TopicPartitionList::new();
    place
        .add_partition_offset(topic, partition, Offset::Offset(offset))
        .expect("a place on a topic");
    consumer.assign(&place).expect("the place can be read");
    let message = tokio::time::timeout(WAIT_MAX, consumer.recv())
        .await
        .expect("the message is there")
        .expect("the message can be read");
    event(&message)
}

async fn read_all(topic: &str) -> Vec<Event> {
    let consumer: StreamConsumer = config().create().expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(topic), WAIT_MAX)
        .expect("the topic's metadata");
    let mut places = TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition.id(), WAIT_MAX)
            .expect("the ends of a partition");
        places
            .add_partition_offset(topic, partition.id(), Offset::Offset(low))
            .expect("a place on a topic");
        left += high - low;
    }
    consumer.assign(&places).expect("the topic can be read");
    let mut messages = Vec::new();
    for _ in 0..left {
        let message = tokio::time::timeout(WAIT_MAX, consumer.recv())
            .await
            .expect("the message is there")
            .expect("the message can be read");
        messages.push(event(&message));
    }
    messages
}

fn event(message: &BorrowedMessage<'_>) -> Event {
    let text = |bytes: Option<&[u8]>| {
        String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("UTF-8")
    };
    let headers = message.headers().map(|headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), text(header.value)))
            .collect()
    });
    Event {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
        key: text(message.key()),
        value: serde_json::from_slice(message.payload().unwrap_or_default()).expect("JSON"),
        headers: headers.unwrap_or_default(),
    }
}
