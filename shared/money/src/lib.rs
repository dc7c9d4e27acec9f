//! Money: an integer in the currency's minor unit, with its currency and checked arithmetic.

mod currency;

pub use currency::{Currency, UnknownCurrency};

/// Largest amount, in minor units: every integer up to it is exact in JSON numbers of any
/// language (2^53 − 1) and sums of a thousand of them fit the database's signed 64 bits.
pub const MINOR_MAX: u64 = 9_007_199_254_740_991;

/// A sum in the currency's minor unit (won for KRW, cents for USD); never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor: u64,
    currency: Currency,
}

/// Why two sums cannot be combined, or an amount is not a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The sums are in two currencies.
    #[error("{left} and {right} cannot be combined")]
    CurrencyMismatch {
        /// Currency of the left-hand sum.
        left: Currency,
        /// Currency of the right-hand sum.
        right: Currency,
    },
    /// The result is above [`MINOR_MAX`].
    #[error("the amount is above {MINOR_MAX} minor units")]
    Overflow,
    /// The result is below zero.
    #[error("the amount is below zero")]
    Negative,
}

impl Money {
    /// A sum of `minor` minor units.
    ///
    /// # Errors
    /// `Overflow` above [`MINOR_MAX`].
    pub fn new(minor: u64, currency: Currency) -> Result<Self, MoneyError> {
        match minor {
            0..=MINOR_MAX => Ok(Self { minor, currency }),
            _ => Err(MoneyError::Overflow),
        }
    }

    /// Nothing, in `currency`.
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// The integer, in minor units.
    #[must_use]
    pub fn minor(self) -> u64 {
        self.minor
    }

    /// The currency.
    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// `self + other`.
    ///
    /// # Errors
    /// `CurrencyMismatch`, or `Overflow` above [`MINOR_MAX`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let minor = self
            .minor
            .checked_add(other.minor)
            .ok_or(MoneyError::Overflow)?;
        Self::new(minor, self.currency)
    }

    /// `self − other`.
    ///
    /// # Errors
    /// `CurrencyMismatch`, or `Negative` when `other` is the larger.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let minor = self
            .minor
            .checked_sub(other.minor)
            .ok_or(MoneyError::Negative)?;
        Ok(Self { minor, ..self })
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            return Ok(());
        }
        Err(MoneyError::CurrencyMismatch {
            left: self.currency,
            right: other.currency,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn krw(minor: u64) -> Money {
        Money::new(minor, "KRW".parse().unwrap()).unwrap()
    }

    #[test]
    fn sums_in_two_currencies_do_not_combine() {
        let usd = Money::new(1, "USD".parse().unwrap()).unwrap();
        assert!(matches!(
            krw(1).checked_add(usd),
            Err(MoneyError::CurrencyMismatch { .. })
        ));
        assert!(matches!(
            krw(1).checked_sub(usd),
            Err(MoneyError::CurrencyMismatch { .. })
        ));
    }

    #[test]
    fn the_largest_amount_is_exact_and_one_more_is_refused() {
        assert_eq!(krw(MINOR_MAX).minor(), MINOR_MAX);
        assert_eq!(
            krw(MINOR_MAX).checked_add(krw(1)),
            Err(MoneyError::Overflow)
        );
        assert_eq!(krw(0).checked_sub(krw(1)), Err(MoneyError::Negative));
    }

    proptest! {
        #[test]
        fn what_is_added_can_be_taken_away(left in 0..=MINOR_MAX, right in 0..=MINOR_MAX) {
            let (left, right) = (krw(left), krw(right));
            match left.checked_add(right) {
                Ok(sum) => {
                    prop_assert_eq!(sum.checked_sub(right), Ok(left));
                    prop_assert_eq!(right.checked_add(left), Ok(sum));
                }
                Err(error) => {
                    prop_assert_eq!(error, MoneyError::Overflow);
                    prop_assert!(left.minor() + right.minor() > MINOR_MAX);
                }
            }
        }

        #[test]
        fn subtraction_never_goes_below_zero(left in 0..=MINOR_MAX, right in 0..=MINOR_MAX) {
            prop_assert_eq!(krw(left).checked_sub(krw(right)).is_ok(), left >= right);
        }
    }
}
