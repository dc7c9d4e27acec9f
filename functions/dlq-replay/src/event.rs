use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::letter::Letter;

/// The event with which the runtime brings a function its records, here with one.
///
/// Source: AWS, "Using Lambda with self-managed Apache Kafka".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Batch<'a> {
    event_source: &'static str,
    bootstrap_servers: &'a str,
    records: BTreeMap<String, [Record<'a>; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    timestamp_type: &'static str,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<BTreeMap<&'a str, Vec<i8>>>,
}

/// What a function answers to a batch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    #[serde(default)]
    batch_item_failures: Option<Vec<IgnoredAny>>,
}

impl<'a> Batch<'a> {
    /// The record as it was before it was given up.
    pub(crate) fn of(letter: &'a Letter, bootstrap_servers: &'a str) -> Self {
        let original = &letter.original;
        let base64 = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|it| BASE64_STANDARD.encode(it));
        let signed = |bytes: &[u8]| bytes.iter().map(|byte| byte.cast_signed()).collect();
        let headers = letter.headers.iter();
        let record = Record {
            topic: &original.topic,
            partition: original.partition,
            offset: original.offset,
            timestamp: original.timestamp_ms,
            timestamp_type: "CREATE_TIME",
            key: base64(&letter.key),
            value: base64(&letter.value),
            headers: headers
                .map(|(name, value)| BTreeMap::from([(name.as_str(), signed(value))]))
                .collect(),
        };
        let partition = format!("{}-{}", original.topic, original.partition);
        Self {
            event_source: "aws:SelfManagedKafka",
            bootstrap_servers,
            records: BTreeMap::from([(partition, [record])]),
        }
    }
}

impl Outcome {
    /// Whether the record is to be sent again.
    pub(crate) fn failed(&self) -> bool {
        let failures = self.batch_item_failures.as_ref();
        failures.is_some_and(|failures| !failures.is_empty())
    }
}
