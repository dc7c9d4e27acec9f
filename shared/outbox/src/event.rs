use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// One event of an aggregate, told in the same transaction as its change.
#[derive(Clone, Debug)]
pub struct Event {
    /// CloudEvents `id`.
    pub event_id: Uuid,
    /// What kind of thing changed: `payment`.
    pub aggregate_type: &'static str,
    /// Which one: key and CloudEvents `subject`.
    pub aggregate_id: String,
    /// Contiguous from 1 per aggregate.
    pub seq: u32,
    /// CloudEvents `type`, and the topic.
    pub event_type: &'static str,
    /// CloudEvents `source`.
    pub source: &'static str,
    /// CloudEvents `data`; holds `seq`, and no personal data.
    pub data: Value,
    /// W3C trace context of the request.
    pub traceparent: String,
    /// The request that caused it; `None` for a schedule.
    pub request: Option<Request>,
    /// When the change happened.
    pub time: DateTime<Utc>,
}

/// What asked for a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// HTTP method.
    pub method: String,
    /// Raw path.
    pub path: String,
    /// The key that signed it.
    pub key_id: String,
    /// The client's retry token.
    pub idempotency_key: String,
    /// Why, in the client's own words; told to nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Event {
    /// The value on the topic: CloudEvents 1.0, structured JSON.
    #[must_use]
    pub fn payload(&self) -> String {
        json!({
            "specversion": "1.0",
            "id": self.event_id,
            "source": self.source,
            "type": self.event_type,
            "subject": self.aggregate_id,
            "time": self.time.to_rfc3339_opts(SecondsFormat::Millis, true),
            "data": self.data,
        })
        .to_string()
    }
}
