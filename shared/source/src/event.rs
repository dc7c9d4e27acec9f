use consumer::{CloudEvent, Record, RecordError};
use money::{Currency, Money, MoneyError};
use payment::PaymentId;
use serde::Deserialize;

use crate::{Kind, Source};

/// `data` of the events that are read here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    payment_id: String,
    merchant_id: String,
    currency: Currency,
    captured_amount: u64,
    refunded_amount: u64,
    /// Of a refund, and this one alone.
    refund_amount: Option<u64>,
    seq: u32,
}

/// Why a record is no capture and no refund; it will never be one.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It holds no event of a payment.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Another event.
    #[error("the event is a {0}")]
    Type(String),
    /// The id is none.
    #[error(transparent)]
    PaymentId(#[from] payment::InvalidPaymentId),
    /// An amount is out of range.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A refund that does not say how much.
    #[error("the refund has no refundAmount")]
    NoAmount,
}

/// The capture or refund that a record tells of.
pub(crate) fn source(record: &Record) -> Result<Source, SourceError> {
    let CloudEvent {
        id,
        event_type,
        time,
        data,
    } = record.event::<Data>()?;
    let money = |minor| Money::new(minor, data.currency);
    let captured = money(data.captured_amount)?;
    let (kind, amount) = match event_type.as_str() {
        "payment.captured" => (Kind::Capture, captured),
        "payment.refunded" => {
            let amount = data.refund_amount.ok_or(SourceError::NoAmount)?;
            (Kind::Refund, money(amount)?)
        }
        _ => return Err(SourceError::Type(event_type)),
    };
    Ok(Source {
        payment_id: data.payment_id.parse::<PaymentId>()?.uuid(),
        seq: data.seq,
        event_id: id,
        merchant_id: data.merchant_id,
        kind,
        amount,
        captured,
        refunded: money(data.refunded_amount)?,
        occurred_at: time,
    })
}
