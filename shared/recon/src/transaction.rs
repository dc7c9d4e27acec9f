use std::{fmt, str::FromStr};

use payment::PaymentId;
use uuid::Uuid;

use crate::InvalidId;

/// Approval numbers are below this.
const APPROVAL_NUMBERS: u128 = 100_000_000;

/// What we and the acquirer call one capture or refund: its payment and the number of its event, as
/// `pay_…-2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionKey {
    /// The payment.
    pub payment_id: PaymentId,
    /// The event's `seq`.
    pub seq: u32,
}

impl FromStr for TransactionKey {
    type Err = InvalidId;

    /// Accepts only what [`TransactionKey`] displays.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (payment_id, seq) = text.split_once('-').ok_or(InvalidId)?;
        let key = Self {
            payment_id: payment_id.parse().map_err(|_| InvalidId)?,
            seq: seq.parse().map_err(|_| InvalidId)?,
        };
        (key.to_string() == text).then_some(key).ok_or(InvalidId)
    }
}

impl fmt::Display for TransactionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.payment_id, self.seq)
    }
}

/// The approval number that the mock acquirer gives a payment: eight digits made of its id, which tell
/// payments apart most of the time, as those of real ones.
#[must_use]
pub fn approval_number(payment_id: Uuid) -> String {
    format!("{:08}", payment_id.as_u128() % APPROVAL_NUMBERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_reads_as_it_is_written() {
        let key = TransactionKey {
            payment_id: PaymentId::generate(),
            seq: 2,
        };
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in [
            "",
            "pay_1-2",
            &format!("{key}x"),
            &format!("{}-02", key.payment_id),
        ] {
            assert_eq!(text.parse::<TransactionKey>(), Err(InvalidId), "{text}");
        }
    }

    #[test]
    fn approval_number_has_eight_digits() {
        assert_eq!(approval_number(Uuid::from_u128(7)), "00000007");
        assert_eq!(approval_number(Uuid::from_u128(123_456_789)), "23456789");
    }
}
