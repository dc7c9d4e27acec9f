//! How far a source is behind.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::Source;
use crate::sources::status::{PartitionView, State};

/// How long the cluster may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Asks for the ends of the partitions that `source` reads; blocks until they are there.
pub(super) fn look<C: ConsumerContext + 'static>(source: &Source, consumer: &StreamConsumer<C>) {
    match look_at_all(source, consumer) {
        Ok(()) => source.status.set(State::Waiting),
        Err(error) => {
            let reason = format!("the cluster cannot be reached: {error}");
            source.status.fail(State::Unreachable, reason);
        }
    }
}

fn look_at_all<C: ConsumerContext + 'static>(
    source: &Source,
    consumer: &StreamConsumer<C>,
) -> KafkaResult<()> {
    let partitions = source.status.partitions();
    begin_at_committed(source, consumer, &partitions)?;
    for view in partitions {
        let (topic, partition) = (Arc::from(view.topic), view.partition);
        let (start, end) = consumer.fetch_watermarks(&topic, partition, ANSWER_WITHIN)?;
        source.status.update(&topic, partition, |it| {
            let position = it.position.unwrap_or(start);
            let lag = (end - position.max(start)).max(0);
            (it.end, it.lag) = (Some(end), Some(lag));
            report(source, &topic, partition, lag);
        });
    }
    Ok(())
}

/// A partition of which no record has come yet stands where the group has committed.
fn begin_at_committed<C: ConsumerContext + 'static>(
    source: &Source,
    consumer: &StreamConsumer<C>,
    partitions: &[PartitionView],
) -> KafkaResult<()> {
    let mut unknown = TopicPartitionList::new();
    for view in partitions.iter().filter(|it| it.position.is_none()) {
        unknown.add_partition(&view.topic, view.partition);
    }
    if unknown.count() == 0 {
        return Ok(());
    }
    for place in consumer
        .committed_offsets(unknown, ANSWER_WITHIN)?
        .elements()
    {
        if let Offset::Offset(committed) = place.offset() {
            let topic = Arc::from(place.topic());
            source.status.update(&topic, place.partition(), |it| {
                if it.position.is_none() {
                    (it.position, it.committed) = (Some(committed), Some(committed));
                }
            });
        }
    }
    Ok(())
}

/// A partition is another member's now.
pub(super) fn forget(source: &Source, topic: &str, partition: i32) {
    report(source, topic, partition, 0);
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a lag is far below 2^52 records"
)]
fn report(source: &Source, topic: &str, partition: i32, lag: i64) {
    let gauge = source
        .registry
        .lag(&source.deployment.name, topic, partition);
    gauge.set(lag as f64);
}
