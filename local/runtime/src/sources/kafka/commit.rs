//! Commits how far a source is.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Source;
use super::consumer::Context;
use crate::function::locked;

/// How long a commit may take that is waited for.
pub(super) const COMMITTED_WITHIN: Duration = Duration::from_secs(5);

/// Topic and partition.
pub(super) type Place = (Arc<str>, i32);

/// The offsets up to which everything is finished, of those of `places` where that is not committed.
pub(super) fn finished(source: &Source, places: &[Place]) -> Option<TopicPartitionList> {
    let mut offsets = TopicPartitionList::new();
    for view in source.status.partitions() {
        let is_asked =
            |(topic, partition): &Place| **topic == *view.topic && *partition == view.partition;
        let position = view.position.filter(|it| view.committed != Some(*it));
        let Some(position) = position.filter(|_| places.iter().any(is_asked)) else {
            continue;
        };
        let offset = Offset::Offset(position);
        if let Err(error) = offsets.add_partition_offset(&view.topic, view.partition, offset) {
            tracing::error!("{position} is no offset: {error}");
        }
    }
    (offsets.count() > 0).then_some(offsets)
}

/// Commits what is finished of `places`, and waits for it.
pub(super) async fn commit_now(
    source: &Arc<Source>,
    consumer: Arc<StreamConsumer<Context>>,
    places: Vec<Place>,
) {
    let source = Arc::clone(source);
    let committed = spawn_blocking(move || commit(&source, &consumer, &places));
    if timeout(COMMITTED_WITHIN, committed).await.is_err() {
        tracing::error!("offsets were not committed in {COMMITTED_WITHIN:?}");
    }
}

/// Commits what is finished of `places`; blocks until the group has it. librdkafka does not tell
/// when an asynchronous commit is over.
pub(super) fn commit(source: &Source, consumer: &StreamConsumer<Context>, places: &[Place]) {
    let context = consumer.context();
    // One that overtook another would set offsets back.
    let _turn = locked(&context.commits);
    if let Some(offsets) = finished(source, places) {
        commit_offsets(source, consumer, &offsets);
    }
}

/// Commits offsets; blocks until the group has them.
pub(super) fn commit_offsets(
    source: &Source,
    consumer: &StreamConsumer<Context>,
    offsets: &TopicPartitionList,
) {
    if let Err(error) = consumer.commit(offsets, CommitMode::Sync) {
        let function = &source.deployment.name;
        tracing::warn!(function, "offsets are not committed: {error}");
        return;
    }
    for place in offsets.elements() {
        let topic = Arc::from(place.topic());
        let committed = place.offset().to_raw();
        let status = &source.status;
        status.update(&topic, place.partition(), |it| it.committed = committed);
    }
}
