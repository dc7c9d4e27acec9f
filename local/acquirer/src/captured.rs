use anyhow::Context as _;
use chrono::NaiveDate;
use payment::PaymentId;
use recon::TransactionKey;
use serde::Deserialize;
use source::{Kind, start_of};
use sqlx::MySqlConnection;

/// A capture or refund that took place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Names it.
    pub key: TransactionKey,
    /// What moved.
    pub kind: Kind,
    /// In the currency's minor unit.
    pub amount: u64,
    /// ISO 4217.
    pub currency: String,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    event_type: String,
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    payment_id: String,
    currency: String,
    captured_amount: u64,
    refund_amount: Option<u64>,
    seq: u32,
}

/// What the payment service captured and refunded on a day in Seoul, in the order of its events.
///
/// # Errors
/// Those of the database; an event that is none.
pub async fn captured_on(
    db: &mut MySqlConnection,
    day: NaiveDate,
) -> anyhow::Result<Vec<Captured>> {
    let next = day.succ_opt().and_then(start_of);
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT payload FROM outbox_event
          WHERE type IN ('payment.captured', 'payment.refunded') AND created >= ? AND created < ?
          ORDER BY id",
    )
    .bind(start_of(day).context("no such day")?)
    .bind(next.context("no such day")?)
    .fetch_all(db)
    .await?;
    rows.iter().map(|payload| captured(payload)).collect()
}

fn captured(payload: &str) -> anyhow::Result<Captured> {
    let Event { event_type, data } = serde_json::from_str(payload)?;
    let payment_id: PaymentId = data.payment_id.parse()?;
    let (kind, amount) = if event_type == "payment.captured" {
        (Kind::Capture, data.captured_amount)
    } else {
        let refunded = data.refund_amount.context("a refund without an amount")?;
        (Kind::Refund, refunded)
    };
    Ok(Captured {
        key: TransactionKey {
            payment_id,
            seq: data.seq,
        },
        kind,
        amount,
        currency: data.currency,
    })
}
