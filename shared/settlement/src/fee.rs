//! What an acquirer keeps of a payment, with its value-added tax.

use money::{Money, MoneyError};

/// The whole, in basis points.
const WHOLE: u16 = 10_000;

/// Value-added tax is included in a fee: of 11 parts 10 are the supply, 1 is the tax.
const SUPPLY_PARTS: u128 = 10;
const PARTS: u128 = 11;

/// A share of an amount in basis points (1/10,000), value-added tax included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeRate(u16);

/// A rate above the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fee is at most {WHOLE} basis points")]
pub struct RateError;

/// A fee and its tax; both together are what the merchant pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fee {
    /// Without the tax.
    pub supply: Money,
    /// Value-added tax.
    pub vat: Money,
}

impl FeeRate {
    /// A rate of `basis_points`.
    ///
    /// # Errors
    /// [`RateError`].
    pub fn new(basis_points: u16) -> Result<Self, RateError> {
        (basis_points <= WHOLE)
            .then_some(Self(basis_points))
            .ok_or(RateError)
    }

    /// The number of basis points.
    #[must_use]
    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// The fee of a capture of `amount`, to the nearest minor unit; halves are rounded up.
    ///
    /// # Errors
    /// None for amounts that are [`Money`].
    pub fn fee(self, amount: Money) -> Result<Fee, MoneyError> {
        Fee::including_vat(share(amount, self.0.into(), WHOLE.into())?)
    }
}

impl Fee {
    /// Splits a fee that has its tax in it: `supply = round(fee / 1.1)`.
    ///
    /// # Errors
    /// None for amounts that are [`Money`].
    pub fn including_vat(total: Money) -> Result<Self, MoneyError> {
        let supply = share(total, SUPPLY_PARTS, PARTS)?;
        let vat = total.checked_sub(supply)?;
        Ok(Self { supply, vat })
    }

    /// What the merchant pays.
    ///
    /// # Errors
    /// Those of adding.
    pub fn total(self) -> Result<Money, MoneyError> {
        self.supply.checked_add(self.vat)
    }

    /// What of this fee goes back with a refund, when `captured` was taken, `before` had been given
    /// back, and `after` has been with it. The parts of all refunds add up: a full refund gives exactly
    /// this fee back.
    ///
    /// # Errors
    /// `CurrencyMismatch`; `Negative` if the refunds shrink.
    pub fn reversed(
        self,
        captured: Money,
        before: Money,
        after: Money,
    ) -> Result<Self, MoneyError> {
        let total = self.total()?;
        let until = |refunded: Money| {
            captured.checked_sub(refunded)?;
            Self::including_vat(share(
                total,
                refunded.minor().into(),
                captured.minor().into(),
            )?)
        };
        let (before, after) = (until(before)?, until(after)?);
        Ok(Self {
            supply: after.supply.checked_sub(before.supply)?,
            vat: after.vat.checked_sub(before.vat)?,
        })
    }
}

/// `amount * part / whole` to the nearest minor unit, nothing of nothing; `part` is at most `whole`.
fn share(amount: Money, part: u128, whole: u128) -> Result<Money, MoneyError> {
    let product = u128::from(amount.minor()) * part;
    let rounded = (2 * product + whole).checked_div(2 * whole).unwrap_or(0);
    let minor = u64::try_from(rounded).map_err(|_| MoneyError::Overflow)?;
    Money::new(minor, amount.currency())
}

#[cfg(test)]
mod tests {
    use money::MINOR_MAX;
    use proptest::prelude::*;

    use super::*;

    fn won(minor: u64) -> Money {
        Money::new(minor, "KRW".parse().unwrap()).unwrap()
    }

    #[test]
    fn fees_are_split_as_statements_of_toss_payments_have_them() {
        for (fee, supply, vat) in [(1_492, 1_356, 136), (859_950, 781_773, 78_177)] {
            let split = Fee::including_vat(won(fee)).unwrap();
            assert_eq!((split.supply, split.vat), (won(supply), won(vat)));
        }
        let fee = FeeRate::new(231).unwrap().fee(won(64_601)).unwrap();
        assert_eq!(fee.total(), Ok(won(1_492)));
        assert_eq!(
            won(64_601).checked_sub(fee.total().unwrap()),
            Ok(won(63_109))
        );
    }

    #[test]
    fn rate_is_at_most_the_whole() {
        assert_eq!(FeeRate::new(10_001), Err(RateError));
        let all = FeeRate::new(10_000).unwrap();
        assert_eq!(all.fee(won(MINOR_MAX)).unwrap().total(), Ok(won(MINOR_MAX)));
        assert_eq!(
            FeeRate::new(0).unwrap().fee(won(100)).unwrap().total(),
            Ok(won(0))
        );
    }

    #[test]
    fn more_cannot_go_back_than_was_taken_nor_less_than_before() {
        let fee = Fee::including_vat(won(110)).unwrap();
        assert_eq!(
            fee.reversed(won(100), won(0), won(101)),
            Err(MoneyError::Negative)
        );
        assert_eq!(
            fee.reversed(won(100), won(50), won(10)),
            Err(MoneyError::Negative)
        );
    }

    proptest! {
        #[test]
        fn fee_is_within_half_a_unit_of_the_share(minor in 1..=MINOR_MAX, points in 0..=WHOLE) {
            let fee = FeeRate::new(points).unwrap().fee(won(minor)).unwrap().total().unwrap();
            let exact = u128::from(minor) * u128::from(points);
            let apart = exact.abs_diff(u128::from(fee.minor()) * u128::from(WHOLE));
            prop_assert!(2 * apart <= u128::from(WHOLE));
        }

        #[test]
        fn parts_given_back_add_up_to_the_fee(
            parts in prop::collection::vec(1_u64..1_000_000, 1..20),
            points in 0..=WHOLE,
        ) {
            let captured = won(parts.iter().sum());
            let fee = FeeRate::new(points).unwrap().fee(captured).unwrap();
            let (mut before, mut supply, mut vat) = (won(0), won(0), won(0));
            for part in parts {
                let after = before.checked_add(won(part)).unwrap();
                let back = fee.reversed(captured, before, after).unwrap();
                supply = supply.checked_add(back.supply).unwrap();
                vat = vat.checked_add(back.vat).unwrap();
                before = after;
            }
            prop_assert_eq!(Fee { supply, vat }, fee);
        }
    }
}
