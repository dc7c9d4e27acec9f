use ledger::{EntryError, Journal, posting};
use money::Money;
use serde_json::{Value, json};

use crate::Payment;

/// `source` of the events a payment tells.
pub const EVENT_SOURCE: &str = "/payfn/payment";

/// One allowed change: the payment after it, and what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As it stands now; its `version` numbers this change.
    pub payment: Payment,
    /// What happened.
    pub step: Step,
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Funds are held.
    Authorized,
    /// Funds are taken.
    Captured {
        /// The part of the authorization not taken.
        released: Money,
    },
    /// The hold was released.
    Voided,
    /// Funds are given back.
    Refunded {
        /// This refund alone.
        amount: Money,
        /// The capture it reverses.
        captured_seq: u32,
    },
    /// The hold lapsed.
    Expired,
}

impl Change {
    /// The journal this change posts.
    ///
    /// # Errors
    /// `Zero` when the change moves nothing.
    pub fn journal(&self) -> Result<Journal, EntryError> {
        let payment = &self.payment;
        let entries = match self.step {
            Step::Authorized => posting::authorize(payment.amount),
            Step::Captured { .. } => posting::capture(payment.amount, payment.captured),
            Step::Voided | Step::Expired => posting::release(payment.amount),
            Step::Refunded {
                amount,
                captured_seq,
            } => posting::refund(amount, captured_seq),
        }?;
        Ok(Journal {
            subject_id: payment.id.uuid(),
            seq: payment.version,
            merchant_id: payment.merchant_id.as_str().to_owned(),
            entries,
            posted_at: payment.updated_at.utc(),
        })
    }

    /// Type and topic of the event.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self.step {
            Step::Authorized => "payment.authorized",
            Step::Captured { .. } => "payment.captured",
            Step::Voided => "payment.voided",
            Step::Refunded { .. } => "payment.refunded",
            Step::Expired => "payment.expired",
        }
    }

    /// `data` of the event: amounts in minor units, no personal data and no free text.
    #[must_use]
    pub fn event_data(&self) -> Value {
        let payment = &self.payment;
        let mut data = json!({
            "paymentId": payment.id,
            "merchantId": payment.merchant_id,
            "orderId": payment.order_id,
            "status": payment.status,
            "amount": payment.amount.minor(),
            "currency": payment.amount.currency(),
            "capturedAmount": payment.captured.minor(),
            "refundedAmount": payment.refunded.minor(),
            "seq": payment.version,
        });
        match self.step {
            Step::Captured { released } => data["releasedAmount"] = released.minor().into(),
            Step::Refunded { amount, .. } => data["refundAmount"] = amount.minor().into(),
            Step::Authorized | Step::Voided | Step::Expired => {}
        }
        data
    }
}
