//! What the relay has sent.

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use crate::site::variable;

/// The topic of every payment's first event.
const FIRST: &str = "payment.authorized";
/// How long the broker may take for one answer.
const BROKER_WITHIN: Duration = Duration::from_secs(20);

/// How often each payment's first event was sent, by payment.
pub(crate) fn first_events() -> anyhow::Result<HashMap<String, usize>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", variable("KAFKA_BROKERS")?)
        .set("group.id", "failpoints")
        .set("enable.auto.commit", "false")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(FIRST), BROKER_WITHIN)?;
    let topic = metadata.topics().first().context(FIRST)?;
    let (mut places, mut left) = (TopicPartitionList::new(), 0);
    for partition in topic.partitions() {
        let (low, high) = consumer.fetch_watermarks(FIRST, partition.id(), BROKER_WITHIN)?;
        places.add_partition_offset(FIRST, partition.id(), Offset::Offset(low))?;
        left += high - low;
    }
    consumer.assign(&places)?;
    let mut sent = HashMap::new();
    while left > 0 {
        let message = consumer.poll(BROKER_WITHIN).context("a message")??;
        let key = String::from_utf8(message.key().unwrap_or_default().to_vec())?;
        *sent.entry(key).or_default() += 1;
        left -= 1;
    }
    Ok(sent)
}
