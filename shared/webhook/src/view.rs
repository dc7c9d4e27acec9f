use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Attempt, NoAnswer, Status, delivery_table::Row};

/// A webhook as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookView {
    /// The id of its event, and the `webhook-id` of every attempt.
    #[schema(value_type = String)]
    webhook_id: Uuid,
    /// Whom it is sent to.
    merchant_id: String,
    /// The type of its event.
    event_type: String,
    /// The payment or settlement of its event.
    subject: String,
    /// The number of its event among those of the subject.
    seq: u32,
    /// Where it is on its way.
    status: Status,
    /// Attempts made.
    attempt_count: u32,
    /// When it is tried next, the attempt that is being made aside; absent when it is not.
    #[serde(
        serialize_with = "milliseconds_of",
        skip_serializing_if = "Option::is_none"
    )]
    next_attempt_at: Option<DateTime<Utc>>,
    /// When the event came.
    #[serde(serialize_with = "milliseconds")]
    created_at: DateTime<Utc>,
}

/// A webhook with its attempts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WebhookDetail {
    #[serde(flatten)]
    webhook: WebhookView,
    /// The newest 100, in their order.
    attempts: Vec<AttemptView>,
}

/// One attempt to send a webhook.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptView {
    /// From 1.
    number: u32,
    /// When it began.
    #[serde(serialize_with = "milliseconds")]
    started_at: DateTime<Utc>,
    /// How long it took.
    duration_ms: u32,
    /// The HTTP status of the answer; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<NoAnswer>,
}

impl From<Row> for WebhookView {
    fn from(row: Row) -> Self {
        Self {
            webhook_id: row.webhook_id,
            merchant_id: row.merchant_id,
            event_type: row.event_type,
            subject: row.subject,
            seq: row.seq,
            status: row.status,
            attempt_count: row.attempts,
            next_attempt_at: row.due_at,
            created_at: row.created_at,
        }
    }
}

impl WebhookDetail {
    /// Joins a webhook with its attempts.
    #[must_use]
    pub fn new(row: Row, attempts: Vec<Attempt>) -> Self {
        Self {
            webhook: row.into(),
            attempts: attempts.into_iter().map(AttemptView::from).collect(),
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            duration_ms: attempt.duration_ms,
            status: attempt.status,
            error: attempt.error,
        }
    }
}

fn milliseconds<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[expect(clippy::ref_option, reason = "what serde passes")]
fn milliseconds_of<S: Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = time.map(|it| it.to_rfc3339_opts(SecondsFormat::Millis, true));
    text.serialize(serializer)
}
