use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    decision_table::Decision,
    letter::{Letter, Original},
    topic::DeadLetterTopic,
};

/// A record that a function could not use.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LetterView {
    /// Names it in its topic: partition and offset.
    #[schema(example = "3-41")]
    letter_id: String,
    /// The function that could not use it.
    function: String,
    /// Where it was before.
    original: OriginalView,
    /// Its key.
    key: Option<String>,
    /// Whether `key` is base64, because it is no text.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    key_base64: bool,
    /// Its value.
    value: Option<String>,
    /// Whether `value` is base64, because it is no text.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    value_base64: bool,
    /// Its headers, in their order.
    headers: Vec<HeaderView>,
    /// Why it was given up: `RetriesExhausted`, `RecordAgeExceeded`, `KeyParked` or `RecordTooLarge`.
    condition: String,
    /// What went wrong the last time.
    reason: String,
    /// How often it was tried.
    attempts: u32,
    /// Whether later records of its key follow it until it is decided about.
    parked: bool,
    /// When it was given up.
    time: Option<DateTime<Utc>>,
    /// What became of it; pending ones have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<DecisionView>,
}

/// The place that a letter had before it was given up.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OriginalView {
    topic: String,
    partition: i32,
    offset: i64,
    /// When it was written there.
    timestamp: Option<DateTime<Utc>>,
}

/// A header of a record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderView {
    name: String,
    value: String,
    /// Whether `value` is base64, because it is no text.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    value_base64: bool,
}

/// Who decided what.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionView {
    /// `REPLAYED` or `PURGED`.
    status: &'static str,
    /// The signing key of who decided.
    actor: String,
    /// Why it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    time: DateTime<Utc>,
}

impl LetterView {
    pub(crate) fn new(topic: &DeadLetterTopic, letter: Letter, decision: Option<Decision>) -> Self {
        let (key, key_base64) = letter.key.map(shown).unzip();
        let (value, value_base64) = letter.value.map(shown).unzip();
        let header = |(name, value)| {
            let (value, value_base64) = shown(value);
            HeaderView {
                name,
                value,
                value_base64,
            }
        };
        Self {
            letter_id: letter.id.to_string(),
            function: topic.function.clone(),
            original: letter.original.into(),
            key,
            key_base64: key_base64.unwrap_or_default(),
            value,
            value_base64: value_base64.unwrap_or_default(),
            headers: letter.headers.into_iter().map(header).collect(),
            condition: letter.condition,
            reason: letter.reason,
            attempts: letter.attempts,
            parked: letter.parked,
            time: letter.time_ms.and_then(DateTime::from_timestamp_millis),
            decision: decision.map(DecisionView::from),
        }
    }
}

impl From<Original> for OriginalView {
    fn from(original: Original) -> Self {
        Self {
            topic: original.topic,
            partition: original.partition,
            offset: original.offset,
            timestamp: DateTime::from_timestamp_millis(original.timestamp_ms),
        }
    }
}

impl From<Decision> for DecisionView {
    fn from(decision: Decision) -> Self {
        Self {
            status: decision.status.name(),
            actor: decision.key_id,
            reason: decision.reason,
            time: decision.time,
        }
    }
}

/// Bytes as text, and whether that is base64.
fn shown(bytes: Vec<u8>) -> (String, bool) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) => (BASE64_STANDARD.encode(error.as_bytes()), true),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "it is what serde gives")]
fn is_false(value: &bool) -> bool {
    !value
}
