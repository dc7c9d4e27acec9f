//! Dead letters: records that are given up, written to another topic.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};

use super::event::Record;
use super::parked::LetterPlace;
use super::progress::Loss;
use crate::function::locked;
use crate::manifest::{KafkaSource, LetterTopic};

/// What the names of the headers begin with, as Spring Kafka has them.
const PREFIX: &str = "kafka_dlt-";
/// The topic of the record.
pub(super) const ORIGINAL_TOPIC: &str = "kafka_dlt-original-topic";
/// The group that gave it up.
pub(super) const GROUP: &str = "kafka_dlt-consumer-group";
/// This letter parks its key.
pub(super) const PARKED: &str = "kafka_dlt-parked";
/// The key is parked no longer; the value is the offset of the last letter taken back, or empty.
pub(super) const UNPARKED: &str = "kafka_dlt-unparked";

/// How long a letter may take to be acknowledged.
pub(super) const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// Longest text of an error in a letter, in bytes.
const ERROR_BYTES_MAX: usize = 1024;
/// Largest letter in bytes; the broker's own bound is what matters.
const LETTER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes the records that one source gives up.
pub(crate) struct DeadLetters {
    topics: BTreeSet<String>,
    template: LetterTopic,
    group: String,
    parks: bool,
    config: ClientConfig,
    producer: Mutex<FutureProducer>,
}

impl DeadLetters {
    /// The dead letters of `source`, if it has any.
    ///
    /// # Errors
    /// If no producer can be made.
    pub(super) fn of(source: &KafkaSource, client: &str) -> anyhow::Result<Option<Self>> {
        let Some(template) = source.on_failure.clone() else {
            return Ok(None);
        };
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &source.bootstrap_servers)
            .set("client.id", client)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set(
                "message.timeout.ms",
                ACKNOWLEDGED_WITHIN.as_millis().to_string(),
            )
            .set("message.max.bytes", LETTER_BYTES_MAX.to_string())
            // The topic's bound holds for the letters sent together, and all of them are refused.
            .set("batch.num.messages", "1")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.propagation.max.ms", "5000")
            // The same partition that Java's clients choose for a key.
            .set("partitioner", "murmur2_random");
        let producer = config.create().context("no producer for dead letters")?;
        Ok(Some(Self {
            topics: source.topics.iter().map(|it| it.as_ref().clone()).collect(),
            template,
            group: source.group.clone(),
            parks: source.park_key,
            config,
            producer: Mutex::new(producer),
        }))
    }

    /// Whether keys of `topic` are parked here.
    pub(crate) fn parks_keys_of(&self, topic: &str) -> bool {
        self.parks && self.topics.contains(topic)
    }

    /// Writes records in their order, so many of them at once; the places of those acknowledged
    /// before the first that was not, and why that was not. Those sent at once with it may be
    /// acknowledged, too, and none after them is sent.
    pub(super) async fn write(
        &self,
        records: &[(Record, Loss)],
        error: &str,
        at_once: usize,
    ) -> (Vec<LetterPlace>, Option<String>) {
        let mut places = Vec::new();
        for records in records.chunks(at_once) {
            let sent: Vec<_> = records
                .iter()
                .map(|(record, loss)| self.send(record, loss, error))
                .collect();
            for delivery in join_all(sent.into_iter().map(acknowledged)).await {
                match delivery {
                    Ok(place) => places.push(place),
                    Err(reason) => {
                        self.replace_if_broken();
                        return (places, Some(format!("{reason:#}")));
                    }
                }
            }
        }
        (places, None)
    }

    /// Ends the parking of a key of `topic`.
    ///
    /// # Errors
    /// If that is not acknowledged.
    pub(crate) async fn unpark(&self, topic: &str, key: &[u8]) -> anyhow::Result<()> {
        let headers = OwnedHeaders::new();
        let headers = with(headers, UNPARKED, "");
        let headers = with(headers, GROUP, &self.group);
        let headers = with(headers, ORIGINAL_TOPIC, topic);
        let to = self.template.of(topic);
        let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&to).key(key).headers(headers);
        let sent = locked(&self.producer).send_result(record);
        acknowledged(sent.map_err(|(error, _)| error.into())).await?;
        Ok(())
    }

    fn send(&self, record: &Record, loss: &Loss, error: &str) -> anyhow::Result<DeliveryFuture> {
        let (key, value) = (record.key()?, record.value()?);
        let to = self.template.of(&record.topic);
        let mut letter = FutureRecord::to(&to).headers(self.headers(record, loss, error));
        letter.key = key.as_ref();
        letter.payload = value.as_ref();
        let sent = locked(&self.producer).send_result(letter);
        sent.map_err(|(error, _)| error.into())
    }

    fn headers(&self, record: &Record, loss: &Loss, error: &str) -> OwnedHeaders {
        // Those of an earlier letter would contradict the new ones.
        let own = record
            .headers()
            .filter(|(name, _)| !name.starts_with(PREFIX));
        let headers = own.fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header {
                key,
                value: Some(&value),
            })
        });
        let [partition, attempts] = [i64::from(record.partition), i64::from(loss.attempts)];
        let [partition, offset, timestamp, attempts] =
            [partition, record.offset, record.timestamp, attempts].map(|it| it.to_string());
        let headers = [
            (ORIGINAL_TOPIC, record.topic.as_str()),
            ("kafka_dlt-original-partition", &partition),
            ("kafka_dlt-original-offset", &offset),
            ("kafka_dlt-original-timestamp", &timestamp),
            (GROUP, &self.group),
            (
                "kafka_dlt-exception-message",
                cut(loss.condition.explain(error)),
            ),
            ("kafka_dlt-attempts", &attempts),
            ("kafka_dlt-condition", loss.condition.name()),
        ]
        .into_iter()
        .fold(headers, |all, (key, value)| with(all, key, value));
        if self.parks && record.has_key() {
            with(headers, PARKED, "true")
        } else {
            headers
        }
    }

    /// A producer that met a fatal error never recovers.
    fn replace_if_broken(&self) {
        let mut producer = locked(&self.producer);
        let Some((code, reason)) = producer.client().fatal_error() else {
            return;
        };
        tracing::error!(%code, reason, "replacing the producer of dead letters");
        match self.config.create() {
            Ok(new) => *producer = new,
            Err(error) => tracing::error!("no producer for dead letters: {error}"),
        }
    }
}

async fn acknowledged(sent: anyhow::Result<DeliveryFuture>) -> anyhow::Result<LetterPlace> {
    let report: OwnedDeliveryResult = sent?.await.map_err(|_| anyhow!("the producer is gone"))?;
    match report {
        Ok(delivery) => Ok(LetterPlace {
            partition: delivery.partition,
            offset: delivery.offset,
        }),
        Err((error, _)) => Err(error.into()),
    }
}

fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header {
        key,
        value: Some(value),
    })
}

/// As much of an error as a letter takes.
fn cut(error: &str) -> &str {
    &error[..error.floor_char_boundary(ERROR_BYTES_MAX)]
}
