use std::num::NonZeroU64;

use money::{Currency, Money};

use crate::{Change, Details, MerchantId, OrderId, PaymentId, Status, Step, Timestamp};

/// How long an authorization can be captured, in days.
pub const AUTHORIZATION_DAYS: u32 = 7;

/// What a merchant asks to be held.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// Who signed the request.
    pub merchant_id: MerchantId,
    /// One payment per (merchant, order).
    pub order_id: OrderId,
    /// Above zero.
    pub amount: Money,
    /// Passed through.
    pub details: Details,
}

/// How much of a payment a command is about; the whole of what is left when it names no amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// In minor units.
    pub amount: Option<NonZeroU64>,
    /// Must be the payment's, when named.
    pub currency: Option<Currency>,
}

/// A payment as it stands after `version` changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its name.
    pub id: PaymentId,
    /// Whose payment it is.
    pub merchant_id: MerchantId,
    /// The merchant's reference.
    pub order_id: OrderId,
    /// Where it stands.
    pub status: Status,
    /// What was authorized.
    pub amount: Money,
    /// Taken so far, at most `amount`.
    pub captured: Money,
    /// Given back so far, at most `captured`.
    pub refunded: Money,
    /// The change that captured; its journal is what refunds reverse.
    pub captured_seq: Option<u32>,
    /// Passed through.
    pub details: Details,
    /// When it was authorized.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the authorization lapses.
    pub expires_at: Timestamp,
    /// Changes so far, from 1.
    pub version: u32,
}

/// Why the payment's state does not allow a command. Nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only an authorization that has not lapsed can be captured.
    #[error("a payment in {0} cannot be captured")]
    NotCapturable(Status),
    /// The authorization lapsed; the schedule has not marked it yet.
    #[error("the authorization has expired and cannot be captured")]
    Lapsed,
    /// Only an authorization can be voided.
    #[error("a payment in {0} cannot be voided")]
    NotVoidable(Status),
    /// Only captured funds can be refunded.
    #[error("a payment in {0} cannot be refunded")]
    NotRefundable(Status),
    /// A capture takes at most what was authorized.
    #[error("{asked} is more than the {authorized} authorized")]
    AboveAuthorized {
        /// Minor units asked for.
        asked: u64,
        /// Minor units authorized.
        authorized: u64,
    },
    /// Refunds give back at most what was captured.
    #[error("{asked} is more than the {left} captured and not yet refunded")]
    AboveCaptured {
        /// Minor units asked for.
        asked: u64,
        /// Minor units captured and not refunded.
        left: u64,
    },
    /// A command names another currency than the payment's.
    #[error("the payment is in {0}")]
    CurrencyMismatch(Currency),
}

impl Payment {
    /// Holds the amount: the first change of a new payment. `id` is given so that running the same
    /// command again makes the same payment.
    #[must_use]
    pub fn authorize(id: PaymentId, asked: Authorization, now: Timestamp) -> Change {
        let payment = Self {
            id,
            merchant_id: asked.merchant_id,
            order_id: asked.order_id,
            status: Status::Requested,
            amount: asked.amount,
            captured: Money::zero(asked.amount.currency()),
            refunded: Money::zero(asked.amount.currency()),
            captured_seq: None,
            details: asked.details,
            created_at: now,
            updated_at: now,
            expires_at: now.plus_days(AUTHORIZATION_DAYS),
            version: 1,
        };
        Change {
            payment,
            step: Step::Authorized,
        }
    }

    /// Takes `portion` of the authorized amount and releases the rest.
    ///
    /// # Errors
    /// `NotCapturable`, `Lapsed`, `CurrencyMismatch`, `AboveAuthorized`.
    pub fn capture(&self, portion: Portion, now: Timestamp) -> Result<Change, Refusal> {
        if self.status != Status::Requested {
            return Err(Refusal::NotCapturable(self.status));
        }
        if now >= self.expires_at {
            return Err(Refusal::Lapsed);
        }
        let above = |asked| Refusal::AboveAuthorized {
            asked,
            authorized: self.amount.minor(),
        };
        let (captured, released) = portion.split(self.amount, above)?;
        let mut payment = self.changed(Status::Completed, now);
        payment.captured = captured;
        payment.captured_seq = Some(payment.version);
        Ok(Change {
            payment,
            step: Step::Captured { released },
        })
    }

    /// Releases the whole hold.
    ///
    /// # Errors
    /// `NotVoidable`.
    pub fn void(&self, now: Timestamp) -> Result<Change, Refusal> {
        if self.status != Status::Requested {
            return Err(Refusal::NotVoidable(self.status));
        }
        Ok(Change {
            payment: self.changed(Status::Voided, now),
            step: Step::Voided,
        })
    }

    /// Gives `portion` of the captured amount back.
    ///
    /// # Errors
    /// `NotRefundable`, `CurrencyMismatch`, `AboveCaptured`.
    pub fn refund(&self, portion: Portion, now: Timestamp) -> Result<Change, Refusal> {
        let (Status::Completed | Status::PartiallyRefunded, Some(captured_seq)) =
            (self.status, self.captured_seq)
        else {
            return Err(Refusal::NotRefundable(self.status));
        };
        let left = self.refundable();
        let above = |asked| Refusal::AboveCaptured {
            asked,
            left: left.minor(),
        };
        let (amount, rest) = portion.split(left, above)?;
        let status = if rest.is_zero() {
            Status::Refunded
        } else {
            Status::PartiallyRefunded
        };
        let mut payment = self.changed(status, now);
        payment.refunded = self
            .refunded
            .checked_add(amount)
            .map_err(|_| above(amount.minor()))?;
        Ok(Change {
            payment,
            step: Step::Refunded {
                amount,
                captured_seq,
            },
        })
    }

    /// Releases the hold of an authorization that has lapsed; `None` when there is nothing to do.
    #[must_use]
    pub fn expire(&self, now: Timestamp) -> Option<Change> {
        let lapsed = self.status == Status::Requested && now >= self.expires_at;
        lapsed.then(|| Change {
            payment: self.changed(Status::Expired, now),
            step: Step::Expired,
        })
    }

    /// What is captured and not yet refunded.
    #[must_use]
    pub fn refundable(&self) -> Money {
        let nothing = Money::zero(self.captured.currency());
        self.captured.checked_sub(self.refunded).unwrap_or(nothing)
    }

    fn changed(&self, status: Status, now: Timestamp) -> Self {
        Self {
            status,
            updated_at: now,
            version: self.version + 1,
            ..self.clone()
        }
    }
}

impl Portion {
    /// Splits `whole` into the portion and the rest.
    fn split(
        self,
        whole: Money,
        above: impl Fn(u64) -> Refusal,
    ) -> Result<(Money, Money), Refusal> {
        if self
            .currency
            .is_some_and(|currency| currency != whole.currency())
        {
            return Err(Refusal::CurrencyMismatch(whole.currency()));
        }
        let asked = self.amount.map_or(whole.minor(), NonZeroU64::get);
        let portion = Money::new(asked, whole.currency()).map_err(|_| above(asked))?;
        let rest = whole.checked_sub(portion).map_err(|_| above(asked))?;
        Ok((portion, rest))
    }
}

#[cfg(test)]
mod tests;
