use consumer::{CloudEvent, Record, RecordError};
use ledger::{
    Entry, EntryError, Journal,
    posting::{self, Bearer, Difference},
};
use money::{Currency, Money, MoneyError};
use recon::{Action, CaseId, InvalidId};
use serde::Deserialize;

/// The `seq` of a decision that takes effect; what takes it back has the next.
const TAKES_EFFECT: u32 = 1;

/// `data` of the event that is read here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    case_id: String,
    action: Action,
    in_effect: bool,
    stake: Option<i64>,
    currency: Option<Currency>,
    account_of: String,
    seq: u32,
}

/// Why a record tells of no decision; it will never do.
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
    CaseId(#[from] InvalidId),
    /// Its number is not that of what it says.
    #[error("seq {0} is of no such decision")]
    Seq(u32),
    /// What is at stake has no currency.
    #[error("the stake has no currency")]
    NoCurrency,
    /// The amount is out of range.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// It posts nothing sensible.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// The journal of the decision that a record tells of; without entries when nothing is at stake.
pub(crate) fn journal(record: &Record) -> Result<Journal, JournalError> {
    let CloudEvent {
        event_type,
        time,
        data,
        ..
    } = record.event::<Data>()?;
    if event_type != "recon.resolved" {
        return Err(JournalError::Type(event_type));
    }
    let mut entries = entries(&data)?;
    match (data.seq, data.in_effect) {
        (TAKES_EFFECT, true) => {}
        (2, false) => entries = posting::undo(&entries, TAKES_EFFECT)?,
        (seq, _) => return Err(JournalError::Seq(seq)),
    }
    Ok(Journal {
        subject_id: data.case_id.parse::<CaseId>()?.uuid(),
        seq: data.seq,
        merchant_id: data.account_of,
        entries,
        posted_at: time,
    })
}

fn entries(data: &Data) -> Result<Vec<Entry>, JournalError> {
    let bearer = match data.action {
        Action::Accept => Bearer::Suspense,
        Action::WriteOff => Bearer::WriteOff,
        _ => return Ok(Vec::new()),
    };
    let Some(stake) = data.stake else {
        return Ok(Vec::new());
    };
    let currency = data.currency.ok_or(JournalError::NoCurrency)?;
    let amount = Money::new(stake.unsigned_abs(), currency)?;
    let difference = if stake > 0 {
        Difference::More(amount)
    } else {
        Difference::Less(amount)
    };
    Ok(posting::difference(difference, bearer)?)
}
