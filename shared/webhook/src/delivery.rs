use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::text::stored_as_text;

/// Where a webhook is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = WebhookStatus)]
pub enum Status {
    /// It is sent, and sent again until the endpoint takes it.
    Pending,
    /// The endpoint answered 2xx.
    Delivered,
    /// The endpoint did not take it, as often as it was tried, or answered 410.
    Failed,
    /// The merchant named no endpoint when it was due, or one that had answered 410.
    NoEndpoint,
}

/// Why an attempt got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NoAnswer {
    /// None came in time.
    TimedOut,
    /// The URL leads to an address that is not called.
    AddressRefused,
    /// There was no connection, or it broke.
    Unreachable,
}

stored_as_text!(Status {
    Pending = "PENDING",
    Delivered = "DELIVERED",
    Failed = "FAILED",
    NoEndpoint = "NO_ENDPOINT",
});

stored_as_text!(NoAnswer {
    TimedOut = "TIMED_OUT",
    AddressRefused = "ADDRESS_REFUSED",
    Unreachable = "UNREACHABLE",
});

/// An event that a merchant is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// The event's id, the same on every attempt.
    pub webhook_id: Uuid,
    /// Whom it is told.
    pub merchant_id: String,
    /// The event's type.
    pub event_type: String,
    /// Of what: the id of a payment or settlement.
    pub subject: String,
    /// The event's number among those of its subject, from 1.
    pub seq: u32,
    /// The event as it is on the topic.
    pub payload: Vec<u8>,
    /// [`Status::Pending`], or [`Status::NoEndpoint`] at once.
    pub status: Status,
}

/// A webhook that is sent now.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Delivery {
    /// The event's id.
    pub webhook_id: Uuid,
    /// The body.
    pub payload: Vec<u8>,
}

/// An attempt that was made just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The status of the answer.
    pub outcome: Result<u16, NoAnswer>,
}

/// An attempt as it was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<NoAnswer>,
}
