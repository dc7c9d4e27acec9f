//! Dead letters: records that are given up, written to another topic.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureRecord};

use super::event::Record;
use super::parked::LetterPlace;
use super::progress::Loss;
use crate::manifest::{KafkaSource, LetterTopic};
use crate::producer::{Producer, acknowledged};

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

/// Longest text of an error in a letter, in bytes.
const ERROR_BYTES_MAX: usize = 1024;

/// Writes the records that one source gives up.
pub(crate) struct DeadLetters {
    topics: BTreeSet<String>,
    template: LetterTopic,
    group: String,
    parks: bool,
    producer: Producer,
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
        Ok(Some(Self {
            topics: source.topics.iter().map(|it| it.as_ref().clone()).collect(),
            template,
            group: source.group.clone(),
            parks: source.park_key,
            producer: Producer::new(&source.bootstrap_servers, client)?,
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
                    Ok(letter) => places.push(LetterPlace {
                        partition: letter.partition,
                        offset: letter.offset,
                    }),
                    Err(reason) => {
                        self.producer.replace_if_broken();
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
        acknowledged(self.producer.send(record)).await?;
        Ok(())
    }

    fn send(&self, record: &Record, loss: &Loss, error: &str) -> anyhow::Result<DeliveryFuture> {
        let (key, value) = (record.key()?, record.value()?);
        let to = self.template.of(&record.topic);
        let mut letter = FutureRecord::to(&to).headers(self.headers(record, loss, error));
        letter.key = key.as_ref();
        letter.payload = value.as_ref();
        self.producer.send(letter)
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
