//! What other services may ask about settled payments.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Whose lines are asked for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// The payment.
    pub payment_id: Uuid,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// The lines of closed settlements, by `seq`.
    pub data: Vec<SettledLine>,
}

/// How a capture or refund was settled. A refund's amounts are negative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettledLine {
    /// The event of the payment that it settles.
    pub seq: u32,
    /// The settlement.
    pub settlement_id: String,
    /// With its tax, in the currency's minor unit.
    pub fee: i64,
    /// What it adds to the payout.
    pub pay_out_amount: i64,
    /// When the merchant has the money.
    pub paid_out_date: NaiveDate,
}
