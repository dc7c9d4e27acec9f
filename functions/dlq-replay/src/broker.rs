use std::{
    env,
    ops::{ControlFlow, Range},
    time::Duration,
};

use anyhow::Context;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{Header, OwnedHeaders},
    metadata::MetadataPartition,
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaErrorCode,
};
use tokio::task::spawn_blocking;

use crate::{
    FUNCTION,
    error::DlqError,
    letter::{Chain, Entry, GROUP, LetterId, ORIGINAL_TOPIC, UNPARKED},
    topic::DeadLetterTopic,
};

/// Messages of a topic that one request looks at.
pub(crate) const SCAN_MAX: u32 = 100_000;
/// How long the broker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Kibibytes fetched ahead.
const FETCHED_KIB_MAX: u32 = 8 * 1024;
/// How long a message may take to be acknowledged, in milliseconds.
const ACKNOWLEDGED_WITHIN_MS: u32 = 8_000;

/// Kafka, where the letters are.
#[derive(Clone)]
pub struct Broker {
    servers: String,
    producer: FutureProducer,
}

impl Broker {
    /// Connects in the background to the brokers of `KAFKA_BROKERS`.
    ///
    /// # Errors
    /// When the variable is missing or wrong.
    pub fn from_env() -> anyhow::Result<Self> {
        let servers = env::var("KAFKA_BROKERS").context("KAFKA_BROKERS must list host:port")?;
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &servers)
            .set("client.id", FUNCTION)
            .set("acks", "all")
            .set("message.timeout.ms", ACKNOWLEDGED_WITHIN_MS.to_string())
            .create()
            .context("KAFKA_BROKERS")?;
        Ok(Self { servers, producer })
    }

    /// What the events of a function name as their source.
    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// Shows `each` the messages of a topic after a place, partition by partition in their order,
    /// until it breaks off, the topic ends, or [`SCAN_MAX`] is reached; gives `seen` back.
    ///
    /// # Errors
    /// [`DlqError::NoTopic`] and those of the broker.
    pub(crate) async fn scan<S: Send + 'static>(
        &self,
        topic: &DeadLetterTopic,
        after: Option<LetterId>,
        seen: S,
        each: fn(&mut S, LetterId, Entry) -> ControlFlow<()>,
    ) -> Result<S, DlqError> {
        let (servers, topic) = (self.servers.clone(), topic.name.clone());
        spawn_blocking(move || scan(&servers, &topic, after, seen, each)).await?
    }

    /// Ends the parking of a key, unless a letter after the one at `last` has come.
    ///
    /// # Errors
    /// When that is not acknowledged.
    pub(crate) async fn unpark(
        &self,
        topic: &DeadLetterTopic,
        chain: &Chain,
        last: LetterId,
    ) -> Result<(), DlqError> {
        let offset = last.offset.to_string();
        let headers = [
            (UNPARKED, offset.as_str()),
            (GROUP, &chain.group),
            (ORIGINAL_TOPIC, &chain.topic),
        ];
        let headers = headers.into_iter();
        let headers = headers.fold(OwnedHeaders::new(), |all, (key, value)| {
            let value = Some(value);
            all.insert(Header { key, value })
        });
        let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topic.name)
            .partition(last.partition)
            .key(chain.key.as_slice())
            .headers(headers);
        let sent = self.producer.send(record, ANSWER_WITHIN).await;
        sent.map_err(|(error, _)| error)?;
        Ok(())
    }
}

fn scan<S>(
    servers: &str,
    topic: &str,
    after: Option<LetterId>,
    mut seen: S,
    each: fn(&mut S, LetterId, Entry) -> ControlFlow<()>,
) -> Result<S, DlqError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("client.id", FUNCTION)
        // Needed by the client; nothing is committed.
        .set("group.id", FUNCTION)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", FETCHED_KIB_MAX.to_string())
        .create()?;
    let mut left = SCAN_MAX;
    for partition in partitions(&consumer, topic)? {
        let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN)?;
        let first = match after {
            Some(after) if partition < after.partition => high,
            Some(after) if partition == after.partition => low.max(after.offset.saturating_add(1)),
            _ => low,
        };
        let mut take = |id, entry: Option<Entry>| {
            left -= 1;
            let flow = entry.map_or(ControlFlow::Continue(()), |it| each(&mut seen, id, it));
            if left == 0 {
                ControlFlow::Break(())
            } else {
                flow
            }
        };
        if first < high && read(&consumer, topic, partition, first..high, &mut take)?.is_break() {
            break;
        }
    }
    Ok(seen)
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>, DlqError> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN)?;
    let topic = metadata.topics().first().ok_or(DlqError::NoTopic)?;
    if let Some(error) = topic.error() {
        return Err(match RDKafkaErrorCode::from(error) {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                DlqError::NoTopic
            }
            code => KafkaError::MetadataFetch(code).into(),
        });
    }
    let mut ids: Vec<i32> = topic
        .partitions()
        .iter()
        .map(MetadataPartition::id)
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Reads these offsets of a partition until `take` breaks off.
fn read(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    offsets: Range<i64>,
    take: &mut impl FnMut(LetterId, Option<Entry>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, DlqError> {
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, partition, Offset::Offset(offsets.start))?;
    consumer.assign(&place)?;
    loop {
        let message = match consumer.poll(ANSWER_WITHIN) {
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(ControlFlow::Continue(())),
            Some(Err(error)) => return Err(error.into()),
            None => {
                let code = RDKafkaErrorCode::OperationTimedOut;
                return Err(KafkaError::MessageConsumption(code).into());
            }
        };
        let offset = message.offset();
        if offset >= offsets.end {
            return Ok(ControlFlow::Continue(()));
        }
        if take(LetterId { partition, offset }, Entry::read(&message)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if offset + 1 == offsets.end {
            return Ok(ControlFlow::Continue(()));
        }
    }
}
