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
    /// When the broker's log says it was written, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
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
