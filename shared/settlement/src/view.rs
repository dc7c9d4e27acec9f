use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::{Batch, SettlementId};

/// A settlement as clients and other services see it. Amounts are in the currency's minor unit.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettlementView {
    /// Names it.
    #[schema(value_type = String)]
    settlement_id: SettlementId,
    /// Whose payments.
    merchant_id: String,
    /// ISO 4217 code.
    currency: String,
    /// `DAILY`, `WEEKLY` or `MONTHLY`.
    cycle: &'static str,
    /// The first day of the period, in Asia/Seoul.
    from: NaiveDate,
    /// The last day, which its payments count as sold on.
    to: NaiveDate,
    /// When the merchant has the money: a business day.
    paid_out_date: NaiveDate,
    /// Captures and refunds.
    item_count: u32,
    /// Captured.
    captured_amount: u64,
    /// Refunded.
    refunded_amount: u64,
    /// Fees of captures, without tax.
    supply_amount: u64,
    /// Value-added tax of those.
    vat: u64,
    /// Fees given back with refunds, without tax.
    reversed_supply_amount: u64,
    /// Value-added tax of those.
    reversed_vat: u64,
    /// Owed by the merchant from the settlement before.
    carried_in: u64,
    /// Paid out: captures and fees given back, without refunds, fees and what was carried in.
    pay_out_amount: u64,
    /// Owed by the merchant, and taken off the next settlement.
    carried_out: u64,
    /// When it was closed.
    #[serde(serialize_with = "milliseconds")]
    closed_at: DateTime<Utc>,
}

impl From<&Batch> for SettlementView {
    fn from(batch: &Batch) -> Self {
        let totals = &batch.totals;
        Self {
            settlement_id: batch.id,
            merchant_id: batch.book.merchant_id.clone(),
            currency: batch.book.currency.code().to_owned(),
            cycle: batch.cycle.name(),
            from: batch.period.from,
            to: batch.period.to,
            paid_out_date: batch.paid_out_on,
            item_count: batch.item_count,
            captured_amount: totals.captured.minor(),
            refunded_amount: totals.refunded.minor(),
            supply_amount: totals.supply.minor(),
            vat: totals.vat.minor(),
            reversed_supply_amount: totals.reversed_supply.minor(),
            reversed_vat: totals.reversed_vat.minor(),
            carried_in: batch.carried_in.minor(),
            pay_out_amount: batch.closing.payout.minor(),
            carried_out: batch.closing.carried.minor(),
            closed_at: batch.updated_at,
        }
    }
}

fn milliseconds<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
