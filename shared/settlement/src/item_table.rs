//! SQL of `settlement_item`: insert-only.

use chrono::NaiveDate;
use sqlx::{FromRow, MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::{Item, Kind, Line, SettlementId, settled::SettledLine};

/// A stored line, as it is shown.
#[derive(Clone, Debug, FromRow)]
pub struct Row {
    /// Its payment.
    pub payment_id: Uuid,
    /// Which capture or refund of the payment.
    pub seq: u32,
    /// 0 for that itself.
    pub revision: u16,
    /// `CAPTURE` or `REFUND`.
    pub kind: String,
    /// In the currency's minor unit.
    pub amount: u64,
    /// The rate of the fee in 1/10,000.
    pub fee_bp: u16,
    /// The fee without tax: kept of a capture, given back with a refund.
    pub supply: u64,
    /// Its tax.
    pub vat: u64,
    /// The day that it counts to.
    pub sold_on: NaiveDate,
}

impl Row {
    /// Amount, supply and tax as they add to a payout: negative for a refund.
    #[must_use]
    pub fn signed(&self) -> (i64, i64, i64) {
        let sign = if self.kind == Kind::Refund.name() {
            -1
        } else {
            1
        };
        // Amounts are far below what a signed integer holds; the largest stands for one that is not.
        let signed = |minor: u64| sign * i64::try_from(minor).unwrap_or(i64::MAX);
        (signed(self.amount), signed(self.supply), signed(self.vat))
    }
}

/// Adds lines to a settlement in one statement, in the caller's transaction.
///
/// # Errors
/// Those of the database; what is settled already is a duplicate key.
pub async fn insert(
    tx: &mut MySqlConnection,
    id: SettlementId,
    lines: &[Line],
) -> sqlx::Result<()> {
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO settlement_item (payment_id, seq, revision, settlement_id, kind, amount, \
             fee_bp, supply, vat, sold_on) ",
    );
    query.push_values(lines, |mut row, line| {
        let (kind, amount, fee) = match line.item {
            Item::Capture { amount, fee } => (Kind::Capture, amount, fee),
            Item::Refund { amount, fee } => (Kind::Refund, amount, fee),
        };
        row.push_bind(line.source.payment_id)
            .push_bind(line.source.seq)
            .push_bind(line.revision)
            .push_bind(id.uuid())
            .push_bind(kind.name())
            .push_bind(amount.minor())
            .push_bind(line.rate.basis_points())
            .push_bind(fee.supply.minor())
            .push_bind(fee.vat.minor())
            .push_bind(line.source.sold_on);
    });
    query.build().execute(tx).await?;
    Ok(())
}

/// The place of a line within its settlement.
pub type Place = (Uuid, u32, u16);

/// The lines of a settlement after a place, by payment and number, at most `rows_max`.
///
/// # Errors
/// Those of the database.
pub async fn of_batch(
    db: &mut MySqlConnection,
    id: SettlementId,
    after: Place,
    rows_max: u32,
) -> sqlx::Result<Vec<Row>> {
    let (payment_id, seq, revision) = after;
    sqlx::query_as(
        "SELECT payment_id, seq, revision, kind, amount, fee_bp, supply, vat, sold_on
           FROM settlement_item
          WHERE settlement_id = ? AND payment_id >= ?
            AND (payment_id > ? OR seq > ? OR (seq = ? AND revision > ?))
          ORDER BY payment_id, seq, revision LIMIT ?",
    )
    .bind(id.uuid())
    .bind(payment_id)
    .bind(payment_id)
    .bind(seq)
    .bind(seq)
    .bind(revision)
    .bind(rows_max)
    .fetch_all(db)
    .await
}

#[derive(FromRow)]
struct SettledRow {
    settlement_id: Uuid,
    paid_out_on: NaiveDate,
    #[sqlx(flatten)]
    item: Row,
}

/// The lines of a payment in closed settlements.
///
/// # Errors
/// Those of the database.
pub async fn of_payment(
    db: &mut MySqlConnection,
    payment_id: Uuid,
) -> sqlx::Result<Vec<SettledLine>> {
    let rows: Vec<SettledRow> = sqlx::query_as(
        "SELECT b.settlement_id, b.paid_out_on, i.payment_id, i.seq, i.revision, i.kind, i.amount,
                i.fee_bp, i.supply, i.vat, i.sold_on
           FROM settlement_item i JOIN settlement_batch b ON b.settlement_id = i.settlement_id
          WHERE i.payment_id = ? AND b.status = 'CLOSED' ORDER BY i.seq, i.revision",
    )
    .bind(payment_id)
    .fetch_all(db)
    .await?;
    let line = |row: SettledRow| {
        let (amount, supply, vat) = row.item.signed();
        SettledLine {
            seq: row.item.seq,
            settlement_id: SettlementId::from(row.settlement_id).to_string(),
            fee: supply + vat,
            pay_out_amount: amount - supply - vat,
            paid_out_date: row.paid_out_on,
        }
    };
    Ok(rows.into_iter().map(line).collect())
}
