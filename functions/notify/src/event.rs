use consumer::{CloudEvent, Record, RecordError};
use serde::Deserialize;
use signature::KeyRing;
use webhook::{New, Status};

/// `data` of every event that is read here: of a payment, or of a settlement.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    merchant_id: String,
    payment_id: Option<String>,
    settlement_id: Option<String>,
    seq: u32,
}

/// Why a record is nothing that a merchant could be told; it will never be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventError {
    /// It holds no such event.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Another event than its topic's.
    #[error("the event is a {0}")]
    Type(String),
    /// It does not say of what it is, or not which one.
    #[error("the event has no subject, or no number")]
    Subject,
}

/// The webhook of the event that a record holds.
pub(crate) fn webhook(record: &Record, keys: &KeyRing) -> Result<New, EventError> {
    let CloudEvent {
        id,
        event_type,
        data,
        ..
    } = record.event::<Data>()?;
    if event_type != record.topic() {
        return Err(EventError::Type(event_type));
    }
    let subject = data.payment_id.or(data.settlement_id);
    let status = match keys.endpoint(&data.merchant_id) {
        Some(_) => Status::Pending,
        None => Status::NoEndpoint,
    };
    Ok(New {
        webhook_id: id,
        merchant_id: data.merchant_id,
        event_type,
        subject: subject
            .filter(|_| data.seq > 0)
            .ok_or(EventError::Subject)?,
        seq: data.seq,
        payload: record.value()?,
        status,
    })
}
