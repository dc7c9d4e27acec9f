use consumer::{CloudEvent, Record, RecordError};
use ledger::{
    EntryError, Journal,
    posting::{self, Settled},
};
use money::{Currency, Money, MoneyError};
use serde::Deserialize;
use settlement::{InvalidSettlementId, SettlementId};

/// `data` of the event that is read here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    settlement_id: String,
    merchant_id: String,
    currency: Currency,
    supply_amount: u64,
    vat: u64,
    reversed_supply_amount: u64,
    reversed_vat: u64,
    pay_out_amount: u64,
    seq: u32,
}

/// Why a record tells of no settlement; it will never do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// It holds no such event.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Another event.
    #[error("the event is a {0}")]
    Type(String),
    /// The id is none.
    #[error(transparent)]
    SettlementId(#[from] InvalidSettlementId),
    /// An amount is out of range.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// It posts nothing sensible.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// The journal of the settlement that a record tells of.
pub(crate) fn journal(record: &Record) -> Result<Journal, JournalError> {
    let CloudEvent {
        event_type,
        time,
        data,
        ..
    } = record.event::<Data>()?;
    if event_type != "settlement.closed" {
        return Err(JournalError::Type(event_type));
    }
    let money = |minor| Money::new(minor, data.currency);
    let entries = posting::settle(Settled {
        supply: money(data.supply_amount)?,
        vat: money(data.vat)?,
        reversed_supply: money(data.reversed_supply_amount)?,
        reversed_vat: money(data.reversed_vat)?,
        payout: money(data.pay_out_amount)?,
    })?;
    Ok(Journal {
        subject_id: data.settlement_id.parse::<SettlementId>()?.uuid(),
        seq: data.seq,
        merchant_id: data.merchant_id,
        entries,
        posted_at: time,
    })
}
