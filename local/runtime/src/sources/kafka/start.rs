//! Where a source begins to read.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;

use super::Source;
use super::commit::commit_offsets;
use super::consumer::Context;
use crate::manifest::Start;

/// How long the cluster may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The partitions assigned to a member, with the offset of those that it begins at their end: it
/// starts with the latest record, and the group has committed none.
///
/// # Errors
/// If the cluster does not answer.
pub(super) async fn places(
    source: Arc<Source>,
    consumer: Arc<StreamConsumer<Context>>,
    partitions: TopicPartitionList,
) -> anyhow::Result<TopicPartitionList> {
    match source.config.start {
        Start::Earliest => Ok(partitions),
        Start::Latest => Ok(spawn_blocking(move || latest(&source, &consumer, partitions)).await??),
    }
}

/// Commits what it finds, so that after a restart the records that have come by then are not left
/// out.
fn latest(
    source: &Source,
    consumer: &StreamConsumer<Context>,
    partitions: TopicPartitionList,
) -> KafkaResult<TopicPartitionList> {
    let mut places = TopicPartitionList::new();
    let mut ends = TopicPartitionList::new();
    for place in consumer
        .committed_offsets(partitions, ANSWER_WITHIN)?
        .elements()
    {
        place.error()?;
        let (topic, partition) = (place.topic(), place.partition());
        if let Offset::Offset(_) = place.offset() {
            places.add_partition(topic, partition);
        } else {
            let (_, end) = consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN)?;
            places.add_partition_offset(topic, partition, Offset::Offset(end))?;
            ends.add_partition_offset(topic, partition, Offset::Offset(end))?;
        }
    }
    if ends.count() > 0 {
        commit_offsets(source, consumer, &ends);
    }
    Ok(places)
}
