use chrono::NaiveDate;
use payment::PaymentId;
use serde::Serialize;
use settlement::item_table::Row;
use utoipa::ToSchema;

/// A line of a settlement. A refund's amounts are negative, so that every column adds up.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemView {
    /// Names it; `after` of the next page.
    item_id: String,
    /// Its payment.
    #[schema(value_type = String)]
    payment_id: PaymentId,
    /// The event of the payment that it settles.
    seq: u32,
    /// `CAPTURE` or `REFUND`.
    kind: String,
    /// The day that it counts to, in Asia/Seoul.
    sold_date: NaiveDate,
    /// Captured, or given back.
    amount: i64,
    /// The rate of the fee in 1/10,000, in force when the payment was captured.
    fee_basis_points: u16,
    /// The fee with its tax.
    fee: i64,
    /// The fee without its tax.
    supply_amount: i64,
    /// The fee's value-added tax.
    vat: i64,
    /// What it adds to the payout.
    pay_out_amount: i64,
}

impl From<Row> for ItemView {
    fn from(row: Row) -> Self {
        let (amount, supply, vat) = row.signed();
        let payment_id = PaymentId::from(row.payment_id);
        Self {
            item_id: format!("{payment_id}.{}.{}", row.seq, row.revision),
            payment_id,
            seq: row.seq,
            kind: row.kind,
            sold_date: row.sold_on,
            amount,
            fee_basis_points: row.fee_bp,
            fee: supply + vat,
            supply_amount: supply,
            vat,
            pay_out_amount: amount - supply - vat,
        }
    }
}
