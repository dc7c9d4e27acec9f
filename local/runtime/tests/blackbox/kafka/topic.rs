use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::harness::{PATIENCE, eventually, soon};

/// How long one poll of a topic lasts.
const POLL: Duration = Duration::from_millis(200);

/// A topic of a test's own.
pub(super) struct Topic {
    pub(super) name: String,
    partitions: i32,
    producer: FutureProducer,
    _kafka: Share,
}

/// Whether a test has Kafka to itself.
#[expect(dead_code, reason = "held, not read")]
enum Share {
    WithOthers(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// Shared by the tests that need Kafka, held alone by those that stop it.
pub(super) static KAFKA: RwLock<()> = RwLock::const_new(());

/// Connects to the stack's Kafka.
fn config() -> ClientConfig {
    let brokers = std::env::var("KAFKA_BROKERS")
        .expect("KAFKA_BROKERS; run this by local/stack/private NAME --services-only COMMAND");
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("reconnect.backoff.max.ms", "500");
    config
}

impl Topic {
    pub(super) async fn new(partitions: i32) -> Self {
        Self::with(partitions, Share::WithOthers(KAFKA.read().await)).await
    }

    /// As [`Topic::new`], when no other test uses Kafka any more.
    pub(super) async fn alone(partitions: i32) -> Self {
        Self::with(partitions, Share::Alone(KAFKA.write().await)).await
    }

    async fn with(partitions: i32, kafka: Share) -> Self {
        let name = format!("test-{}", uuid::Uuid::new_v4());
        make(&name, partitions, &[]).await;
        Self {
            producer: config().create().unwrap(),
            name,
            partitions,
            _kafka: kafka,
        }
    }

    /// The topic of its dead letters.
    pub(super) fn letters_name(&self) -> String {
        format!("{}.dlq", self.name)
    }

    /// The source's members that send its failures there.
    pub(super) fn on_failure() -> &'static str {
        "on_failure = 'kafka://{topic}.dlq'\n"
    }

    /// Makes the topic of its dead letters, which takes letters of so many bytes at most.
    pub(super) async fn make_letters(&self, bytes: &str) {
        make(
            &self.letters_name(),
            self.partitions,
            &[("max.message.bytes", bytes)],
        )
        .await;
    }

    /// Gives the topic of its dead letters so many partitions, and ends the parking of a key in the last.
    pub(super) async fn unpark_in_new_partition(&self, partitions: i32, key: &str) {
        let name = self.letters_name();
        let more = NewPartitions::new(&name, usize::try_from(partitions).unwrap());
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = admin().create_partitions([&more], &options).await.unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        let header = |key, value| Header {
            key,
            value: Some(value),
        };
        let headers = OwnedHeaders::new()
            .insert(header("kafka_dlt-unparked", ""))
            .insert(header("kafka_dlt-consumer-group", &self.name))
            .insert(header("kafka_dlt-original-topic", &self.name));
        // One that knows the new partitions.
        let producer: FutureProducer = config().create().unwrap();
        let record: FutureRecord<'_, str, str> = FutureRecord::to(&name);
        let record = record.partition(partitions - 1).key(key).headers(headers);
        soon(producer.send(record, PATIENCE)).await.unwrap();
    }

    pub(super) async fn set_letter_bytes(&self, bytes: &str) {
        let name = self.letters_name();
        let change =
            AlterConfig::new(ResourceSpecifier::Topic(&name)).set("max.message.bytes", bytes);
        let options = AdminOptions::new();
        let altered = admin().alter_configs([&change], &options).await.unwrap();
        assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    }

    /// Deletes the records of a partition before this offset.
    pub(super) async fn delete_before(&self, partition: i32, offset: i64) {
        let mut places = TopicPartitionList::new();
        places
            .add_partition_offset(&self.name, partition, Offset::Offset(offset))
            .unwrap();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let deleted = admin().delete_records(&places, &options).await.unwrap();
        assert!(deleted.elements().iter().all(|it| it.error().is_ok()));
    }

    /// Sends a record; its offset.
    pub(super) async fn send(&self, partition: i32, key: Option<&[u8]>, value: &[u8]) -> i64 {
        self.send_with(partition, key, Some(value), OwnedHeaders::new())
            .await
    }

    pub(super) async fn send_with(
        &self,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: OwnedHeaders,
    ) -> i64 {
        let mut record = FutureRecord::to(&self.name)
            .partition(partition)
            .headers(headers);
        (record.key, record.payload) = (key, value);
        let sent = self.producer.send(record, PATIENCE);
        soon(sent).await.unwrap().offset
    }

    /// Sends so many records to a partition.
    pub(super) async fn send_many(&self, partition: i32, count: usize) {
        let sends = (0..count).map(|_| self.send(partition, None, b"v"));
        futures_util::future::join_all(sends).await;
    }

    /// The offset that the source has committed of a partition; none while Kafka does not tell.
    pub(super) async fn committed(&self, partition: i32) -> Option<i64> {
        let name = self.name.clone();
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config().set("group.id", &name).create().unwrap();
            let mut asked = TopicPartitionList::new();
            asked.add_partition(&name, partition);
            let committed = consumer.committed_offsets(asked, PATIENCE).ok()?;
            match committed.elements()[0].offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            }
        })
        .await
        .unwrap()
    }

    /// Waits until the source has committed this offset of a partition.
    pub(super) async fn await_committed(&self, partition: i32, offset: i64) {
        eventually(async || (self.committed(partition).await == Some(offset)).then_some(())).await;
    }

    /// The first `count` dead letters, those of a key in order.
    pub(super) async fn letters(&self, count: usize) -> Vec<Letter> {
        messages(self.letters_name(), count).await
    }

    /// The first `count` messages of the topic itself, those of a key in order.
    pub(super) async fn messages(&self, count: usize) -> Vec<Letter> {
        messages(self.name.clone(), count).await
    }
}

/// A message that was written to a topic.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) message: OwnedMessage,
    pub(super) headers: BTreeMap<String, String>,
}

impl Letter {
    pub(super) fn header(&self, name: &str) -> &str {
        let name = format!("kafka_dlt-{name}");
        self.headers.get(&name).map_or("", String::as_str)
    }

    pub(super) fn value(&self) -> &[u8] {
        self.message.payload().unwrap_or_default()
    }
}

async fn messages(topic: String, count: usize) -> Vec<Letter> {
    let read = tokio::task::spawn_blocking(move || read(&topic, count));
    read.await.unwrap()
}

fn read(topic: &str, count: usize) -> Vec<Letter> {
    let consumer: BaseConsumer = config().set("group.id", "test").create().unwrap();
    let began = std::time::Instant::now();
    let mut places = TopicPartitionList::new();
    // The source may not have made it yet.
    while places.count() == 0 {
        assert!(began.elapsed() < PATIENCE, "no topic {topic}");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        for partition in metadata.topics()[0].partitions() {
            places
                .add_partition_offset(topic, partition.id(), Offset::Beginning)
                .unwrap();
        }
    }
    consumer.assign(&places).unwrap();
    let mut letters = Vec::new();
    while letters.len() < count {
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {count} letters",
            letters.len()
        );
        let Some(message) = consumer.poll(POLL) else {
            continue;
        };
        let message = message.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        let headers = headers
            .map(|it| (it.key.to_owned(), text(it.value.unwrap_or_default())))
            .collect();
        letters.push(Letter {
            message: message.detach(),
            headers,
        });
    }
    letters
}

fn admin() -> AdminClient<DefaultClientContext> {
    config().create().unwrap()
}

async fn make(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let new = settings
        .iter()
        .fold(new, |new, (key, value)| new.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let made = admin().create_topics([&new], &options).await.unwrap();
    assert_eq!(made, [Ok(name.to_owned())]);
}

/// Stops or starts the stack's Kafka.
pub(super) async fn stack(what: &str) {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = tokio::process::Command::new(workspace.join("target/release/stack"));
    let output = command
        .args([what, "kafka"])
        .current_dir(&workspace)
        .output();
    let output = tokio::time::timeout(PATIENCE * 2, output)
        .await
        .unwrap()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
