use chrono::NaiveDate;
use money::{Money, MoneyError};
use uuid::Uuid;

use crate::{Fee, FeeRate, Item, Kind};

/// A capture or refund that no settlement holds yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// The payment.
    pub payment_id: Uuid,
    /// Numbers what happened to the payment.
    pub seq: u32,
    /// What moved.
    pub kind: Kind,
    /// How much.
    pub amount: Money,
    /// Captured of the payment in all.
    pub captured: Money,
    /// Given back of the payment, this time included.
    pub refunded: Money,
    /// The day that it counts to.
    pub sold_on: NaiveDate,
    /// The day that the payment's capture counts to, whose contract says what is kept.
    pub captured_on: NaiveDate,
}

/// A line of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it settles.
    pub source: Unsettled,
    /// Of the capture.
    pub rate: FeeRate,
    /// 0 for the capture or refund itself; those after it adjust its fee.
    pub revision: u16,
    /// What it comes to.
    pub item: Item,
}

impl Unsettled {
    /// Settles it at the `rate` of its capture.
    ///
    /// # Errors
    /// Those of adding; `Negative` when more was given back than captured.
    pub fn at(self, rate: FeeRate) -> Result<Line, MoneyError> {
        let fee: Fee = rate.fee(self.captured)?;
        let item = match self.kind {
            Kind::Capture => Item::Capture {
                amount: self.amount,
                fee,
            },
            Kind::Refund => {
                let before = self.refunded.checked_sub(self.amount)?;
                Item::Refund {
                    amount: self.amount,
                    fee: fee.reversed(self.captured, before, self.refunded)?,
                }
            }
        };
        Ok(Line {
            source: self,
            rate,
            revision: 0,
            item,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Totals, close};

    fn won(minor: u64) -> Money {
        Money::new(minor, "KRW".parse().unwrap()).unwrap()
    }

    fn source(kind: Kind, amount: u64, captured: u64, refunded: u64) -> Unsettled {
        let day = "2026-03-02".parse().unwrap();
        Unsettled {
            payment_id: Uuid::nil(),
            seq: 2,
            kind,
            amount: won(amount),
            captured: won(captured),
            refunded: won(refunded),
            sold_on: day,
            captured_on: day,
        }
    }

    proptest! {
        #[test]
        fn payment_given_back_in_parts_costs_the_merchant_nothing(
            parts in prop::collection::vec(1_u64..1_000_000, 1..12),
            points in 0_u16..=10_000,
        ) {
            let rate = FeeRate::new(points).unwrap();
            let captured = parts.iter().sum();
            let mut totals = Totals::none(won(0));
            let mut lines = vec![source(Kind::Capture, captured, captured, 0)];
            let mut refunded = 0;
            for part in parts {
                refunded += part;
                lines.push(source(Kind::Refund, part, captured, refunded));
            }
            for line in lines {
                totals = totals.with(line.at(rate).unwrap().item).unwrap();
            }
            let closing = close(totals, won(0)).unwrap();
            prop_assert_eq!((closing.payout, closing.carried), (won(0), won(0)));
        }
    }
}
