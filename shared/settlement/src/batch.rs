//! What a settlement of a merchant comes to.

use money::{Money, MoneyError};

use crate::Fee;

/// A line of a settlement: one capture or one refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The merchant gets `amount` without `fee`.
    Capture {
        /// What was captured.
        amount: Money,
        /// What is kept of it.
        fee: Fee,
    },
    /// The merchant gives `amount` back and gets `fee` back.
    Refund {
        /// What was refunded.
        amount: Money,
        /// What was kept of it.
        fee: Fee,
    },
}

/// Sums of a settlement's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Captured.
    pub captured: Money,
    /// Refunded.
    pub refunded: Money,
    /// Fees without tax, of captures.
    pub supply: Money,
    /// Tax of those.
    pub vat: Money,
    /// Fees without tax, given back with refunds.
    pub reversed_supply: Money,
    /// Tax of those.
    pub reversed_vat: Money,
}

/// What happens to a balance at the close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Paid out to the merchant.
    pub payout: Money,
    /// Owed by the merchant, taken off the next settlement.
    pub carried: Money,
}

impl Totals {
    /// No items, in the currency of `zero`.
    #[must_use]
    pub fn none(zero: Money) -> Self {
        let nothing = Money::zero(zero.currency());
        Self {
            captured: nothing,
            refunded: nothing,
            supply: nothing,
            vat: nothing,
            reversed_supply: nothing,
            reversed_vat: nothing,
        }
    }

    /// With another item.
    ///
    /// # Errors
    /// `CurrencyMismatch` or `Overflow`.
    pub fn with(self, item: Item) -> Result<Self, MoneyError> {
        Ok(match item {
            Item::Capture { amount, fee } => Self {
                captured: self.captured.checked_add(amount)?,
                supply: self.supply.checked_add(fee.supply)?,
                vat: self.vat.checked_add(fee.vat)?,
                ..self
            },
            Item::Refund { amount, fee } => Self {
                refunded: self.refunded.checked_add(amount)?,
                reversed_supply: self.reversed_supply.checked_add(fee.supply)?,
                reversed_vat: self.reversed_vat.checked_add(fee.vat)?,
                ..self
            },
        })
    }
}

/// Closes a settlement of these totals, from whose balance `owed` is taken that was carried from the
/// one before.
///
/// # Errors
/// `CurrencyMismatch` or `Overflow`.
pub fn close(totals: Totals, owed: Money) -> Result<Closing, MoneyError> {
    let given = totals.captured.checked_add(totals.reversed_supply)?;
    let given = given.checked_add(totals.reversed_vat)?;
    let taken = totals.refunded.checked_add(totals.supply)?;
    let taken = taken.checked_add(totals.vat)?.checked_add(owed)?;
    let nothing = Money::zero(given.currency());
    Ok(if given.minor() >= taken.minor() {
        Closing {
            payout: given.checked_sub(taken)?,
            carried: nothing,
        }
    } else {
        Closing {
            payout: nothing,
            carried: taken.checked_sub(given)?,
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::FeeRate;

    fn won(minor: u64) -> Money {
        Money::new(minor, "KRW".parse().unwrap()).unwrap()
    }

    fn capture(minor: u64) -> Item {
        let amount = won(minor);
        let fee = FeeRate::new(231).unwrap().fee(amount).unwrap();
        Item::Capture { amount, fee }
    }

    fn totals(items: &[Item]) -> Totals {
        let sum = |sum: Totals, item: &Item| sum.with(*item).unwrap();
        items.iter().fold(Totals::none(won(0)), sum)
    }

    #[test]
    fn capture_is_paid_out_without_its_fee() {
        let closing = close(totals(&[capture(64_601)]), won(0)).unwrap();
        assert_eq!(closing.payout, won(63_109));
        assert_eq!(closing.carried, won(0));
    }

    #[test]
    fn late_refund_is_carried_and_taken_off_the_next_settlement() {
        let Item::Capture { amount, fee } = capture(64_601) else {
            unreachable!("a capture")
        };
        let late = close(totals(&[Item::Refund { amount, fee }]), won(0)).unwrap();
        assert_eq!((late.payout, late.carried), (won(0), won(63_109)));
        let next = close(totals(&[capture(100_000)]), late.carried).unwrap();
        assert_eq!((next.payout, next.carried), (won(97_690 - 63_109), won(0)));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_over_settlements(
            settlements in prop::collection::vec(
                prop::collection::vec((1_u64..1_000_000, any::<bool>()), 0..8),
                1..8,
            ),
        ) {
            let rate = FeeRate::new(231).unwrap();
            let (mut balance, mut paid, mut owed) = (0_i64, 0_i64, won(0));
            for items in settlements {
                let items: Vec<Item> = items
                    .into_iter()
                    .map(|(minor, refunds)| {
                        let amount = won(minor);
                        let fee = rate.fee(amount).unwrap();
                        let net = i64::try_from(minor - fee.total().unwrap().minor()).unwrap();
                        balance += if refunds { -net } else { net };
                        if refunds {
                            Item::Refund { amount, fee }
                        } else {
                            Item::Capture { amount, fee }
                        }
                    })
                    .collect();
                let closing = close(totals(&items), owed).unwrap();
                paid += i64::try_from(closing.payout.minor()).unwrap();
                owed = closing.carried;
            }
            prop_assert_eq!(balance, paid - i64::try_from(owed.minor()).unwrap());
        }
    }
}
