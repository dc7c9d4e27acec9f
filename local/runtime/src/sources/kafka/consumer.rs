//! The member of the consumer group: its settings, and what Kafka tells it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::mpsc;

use super::settled::Settled;
use crate::manifest::KafkaSource;

/// After how long without a heartbeat a member is taken for dead.
const SESSION: Duration = Duration::from_secs(10);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// Most bytes of records fetched ahead, over all partitions, and the least and most of one.
const PREFETCH_BYTES_MAX: usize = 128 * 1024 * 1024;
const PREFETCH_KIB: (usize, usize) = (64, 4096);
/// Longest pause between two tries to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a broker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How soon a partition is fetched from again that had too much fetched ahead.
const FETCH_AGAIN: Duration = Duration::from_millis(10);

/// How often a member tells whether its group has it.
const STATISTICS_EVERY: Duration = Duration::from_secs(5);

/// What the group tells a member.
#[derive(Debug)]
pub(super) enum Rebalance {
    /// It has these partitions, too.
    Assigned(TopicPartitionList),
    /// It must give these away.
    Revoked(TopicPartitionList),
}

impl Rebalance {
    /// Tells the group that it is done.
    pub(super) fn answer(&self, consumer: &impl Consumer<Context>) {
        let answered = match self {
            Self::Assigned(partitions) => consumer.incremental_assign(partitions),
            Self::Revoked(partitions) => consumer.incremental_unassign(partitions),
        };
        if let Err(error) = answered {
            tracing::warn!("answering the group: {error}");
        }
    }
}

/// Takes what Kafka tells.
pub(super) struct Context {
    /// The group waits for an answer to each of these, so there is never more than one.
    rebalances: mpsc::UnboundedSender<Rebalance>,
    closing: AtomicBool,
    /// Held by who commits.
    pub(super) commits: Mutex<()>,
    pub(super) settled: Settled,
}

impl Context {
    pub(super) fn new(rebalances: mpsc::UnboundedSender<Rebalance>) -> Self {
        Self {
            rebalances,
            closing: AtomicBool::new(false),
            commits: Mutex::default(),
            settled: Settled::not_yet(Instant::now()),
        }
    }

    /// From now on the group is answered at once: nobody works on any partition.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("{error}: {reason}");
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(group) = statistics.cgrp {
            self.settled.tell(&group.join_state, Instant::now());
        }
    }
}

impl ConsumerContext for Context {
    /// Hands the change to whoever can wait for batches in flight, and answers the group then.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let change = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                Rebalance::Assigned(partitions.clone())
            }
            _ => Rebalance::Revoked(partitions.clone()),
        };
        if self.closing.load(Ordering::Relaxed) {
            change.answer(consumer);
        } else {
            // Nobody takes it only while the member is dropped.
            let _dropped = self.rebalances.send(change);
        }
    }
}

/// Reads dead letters, and logs no error for the end of a partition.
pub(super) struct Reader;

impl ClientContext for Reader {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("{error}: {reason}");
    }
}

impl ConsumerContext for Reader {}

/// How `source` connects to its cluster, for whatever purpose.
pub(super) fn client_config(source: &KafkaSource, client: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &source.bootstrap_servers)
        .set("client.id", client)
        .set("reconnect.backoff.max.ms", ms(RECONNECT_MAX))
        .set("socket.timeout.ms", ms(ANSWER_WITHIN))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    config
}

/// How long the group waits for a member that may take `drain_max` until it has given a partition
/// away.
fn poll_interval(drain_max: Duration) -> Duration {
    drain_max * 2 + SESSION
}

/// How long such a member may be without its group: as long as the group waits for the others, and
/// until it is taken for dead and has joined again.
pub(super) fn settled_within(drain_max: Duration) -> Duration {
    poll_interval(drain_max) + SESSION * 2
}

/// The settings of a member that reads some of `partitions` partitions, and that may take
/// `drain_max` until it has given one away.
pub(super) fn member_config(
    source: &KafkaSource,
    client: &str,
    partitions: usize,
    drain_max: Duration,
) -> ClientConfig {
    let (least, most) = PREFETCH_KIB;
    let prefetch_kib = (PREFETCH_BYTES_MAX / 1024 / partitions.max(1)).clamp(least, most);
    let mut config = client_config(source, client);
    config
        .set("group.id", &source.group)
        // Also where the committed offset is not there any more. Who starts with the latest record
        // is assigned that.
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", ms(SESSION))
        .set("heartbeat.interval.ms", ms(HEARTBEAT_EVERY))
        .set("max.poll.interval.ms", ms(poll_interval(drain_max)))
        .set("statistics.interval.ms", ms(STATISTICS_EVERY))
        .set("queued.max.messages.kbytes", prefetch_kib.to_string())
        .set("fetch.queue.backoff.ms", ms(FETCH_AGAIN))
        .set("topic.metadata.refresh.interval.ms", "30000");
    config
}

/// The settings of a reader of the dead letters, who is no member of a group.
pub(super) fn reader_config(source: &KafkaSource, client: &str) -> ClientConfig {
    let mut config = client_config(source, client);
    config
        .set("group.id", format!("{}.parked-keys", source.group))
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", PREFETCH_KIB.1.to_string())
        .set("fetch.queue.backoff.ms", ms(FETCH_AGAIN));
    config
}

fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}
