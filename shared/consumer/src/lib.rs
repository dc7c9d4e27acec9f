//! What a function gets from Kafka and answers: a batch of events, and which of them failed.
//!
//! Source: AWS, "Using Lambda with self-managed Apache Kafka" (the event, partial batch responses);
//! CloudEvents 1.0, structured JSON.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// One invocation: the records of each topic and partition, in their order.
#[derive(Debug, Deserialize)]
pub struct Batch {
    records: BTreeMap<String, Vec<Record>>,
}

/// One record of a topic.
#[derive(Debug, Deserialize)]
pub struct Record {
    topic: String,
    partition: i32,
    offset: i64,
    value: Option<String>,
}

/// An event of another service.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct CloudEvent<D> {
    /// The same each time it is sent.
    pub id: Uuid,
    /// What happened, and the topic.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// More of it.
    pub data: D,
}

/// A record that holds no event of the kind that is expected; it will never do.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It has no value.
    #[error("the record has no value")]
    Empty,
    /// The value is not base64, which the platform's fault would be.
    #[error("the value is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// The value is not such an event.
    #[error("the value is no such event: {0}")]
    Json(#[from] serde_json::Error),
}

/// Which records failed. What comes before the first of a partition is finished; it and all after it
/// are sent again.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    batch_item_failures: Vec<Failure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: Item,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Item {
    partition: String,
    offset: i64,
}

impl Batch {
    /// All records, those of a partition in their order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values().flatten()
    }
}

impl Record {
    /// The event it holds.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn event<D: DeserializeOwned>(&self) -> Result<CloudEvent<D>, RecordError> {
        Ok(serde_json::from_slice(&self.value()?)?)
    }

    /// Its value, byte for byte.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn value(&self) -> Result<Vec<u8>, RecordError> {
        let value = self.value.as_deref().ok_or(RecordError::Empty)?;
        Ok(BASE64_STANDARD.decode(value)?)
    }

    /// The topic it is from.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

impl Answer {
    /// Has `record` sent again.
    pub fn fail(&mut self, record: &Record) {
        self.batch_item_failures.push(Failure {
            item_identifier: Item {
                partition: format!("{}-{}", record.topic, record.partition),
                offset: record.offset,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn batch(value: &Value) -> Batch {
        let record = json!({
            "topic": "orders", "partition": 3, "offset": 41, "timestamp": 1_700_000_000_000_u64,
            "timestampType": "CREATE_TIME", "key": "a2V5", "value": value, "headers": [],
        });
        let event = json!({
            "eventSource": "aws:SelfManagedKafka",
            "bootstrapServers": "127.0.0.1:9092",
            "records": { "orders-3": [record] },
        });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn record_holds_an_event() {
        let text = json!({
            "specversion": "1.0", "id": "018f0000-0000-7000-8000-000000000001", "source": "/a",
            "type": "order.made", "subject": "s", "time": "2026-01-02T03:04:05.678Z", "data": 7,
        });
        let batch = batch(&BASE64_STANDARD.encode(text.to_string()).into());
        let record = batch.records().next().unwrap();
        let event: CloudEvent<u32> = record.event().unwrap();
        assert_eq!((event.event_type.as_str(), event.data), ("order.made", 7));
        assert_eq!(event.time.to_rfc3339(), "2026-01-02T03:04:05.678+00:00");
        assert!(matches!(
            record.event::<String>(),
            Err(RecordError::Json(_))
        ));
    }

    #[test]
    fn record_without_an_event_is_an_error() {
        for (value, error) in [
            (Value::Null, "the record has no value"),
            (json!("%"), "the value is not base64"),
            (json!("e30="), "the value is no such event"),
        ] {
            let batch = batch(&value);
            let record = batch.records().next().unwrap();
            let told = record.event::<Value>().unwrap_err().to_string();
            assert!(told.starts_with(error), "{told}");
        }
    }

    #[test]
    fn answer_names_what_failed() {
        let batch = batch(&Value::Null);
        let mut answer = Answer::default();
        assert_eq!(json!(answer), json!({ "batchItemFailures": [] }));
        answer.fail(batch.records().next().unwrap());
        assert_eq!(
            json!(answer),
            json!({ "batchItemFailures": [{ "itemIdentifier": { "partition": "orders-3", "offset": 41 } }] })
        );
    }
}
