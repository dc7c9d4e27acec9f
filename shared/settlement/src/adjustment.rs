use money::{Money, MoneyError};

use crate::{FeeRate, Item, Line, Unsettled};

/// A line of a closed settlement, as it was settled last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjustable {
    /// What it settles.
    pub source: Unsettled,
    /// The rate.
    pub rate: FeeRate,
    /// How often it was taken back and settled again, times two.
    pub revision: u16,
}

impl Adjustable {
    /// Takes the line back at its rate, and settles it at another one. Neither moves its amount again.
    ///
    /// # Errors
    /// Those of settling it; `Overflow` when it was adjusted too often.
    pub fn adjusted(self, rate: FeeRate) -> Result<[Line; 2], MoneyError> {
        let revision = |more| self.revision.checked_add(more).ok_or(MoneyError::Overflow);
        let old = self.source.at(self.rate)?;
        let new = self.source.at(rate)?;
        Ok([
            Line {
                revision: revision(1)?,
                item: opposite(old.item),
                ..old
            },
            Line {
                revision: revision(2)?,
                item: fee_alone(new.item),
                ..new
            },
        ])
    }
}

/// Its fee the other way.
fn opposite(item: Item) -> Item {
    match item {
        Item::Capture { amount, fee } => Item::Refund {
            amount: Money::zero(amount.currency()),
            fee,
        },
        Item::Refund { amount, fee } => Item::Capture {
            amount: Money::zero(amount.currency()),
            fee,
        },
    }
}

fn fee_alone(item: Item) -> Item {
    opposite(opposite(item))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{Kind, Totals, close};

    fn won(minor: u64) -> Money {
        Money::new(minor, "KRW".parse().unwrap()).unwrap()
    }

    fn source(seq: u32, amount: u64, captured: u64, refunded: u64) -> Unsettled {
        let day = "2026-03-02".parse().unwrap();
        Unsettled {
            payment_id: Uuid::nil(),
            seq,
            kind: if seq == 2 {
                Kind::Capture
            } else {
                Kind::Refund
            },
            amount: won(amount),
            captured: won(captured),
            refunded: won(refunded),
            sold_on: day,
            captured_on: day,
        }
    }

    proptest! {
        #[test]
        fn adjusted_lines_come_to_what_the_new_rate_would_have_come_to(
            captured in 1_u64..100_000_000, part in 0_u64..=100, old in 0..=10_000_u16, new in 0..=10_000_u16,
        ) {
            let [old, new] = [old, new].map(|points| FeeRate::new(points).unwrap());
            let refund = captured * part / 100;
            let sources = [source(2, captured, captured, 0), source(3, refund, captured, refund)];
            let sum = |lines: &[Line]| {
                let none = Totals::none(won(0));
                lines.iter().fold(none, |sum, line| sum.with(line.item).unwrap())
            };
            let at = |rate| sources.map(|source| source.at(rate).unwrap());
            let mut lines = at(old).to_vec();
            for source in sources {
                let settled = Adjustable { source, rate: old, revision: 0 };
                let adjusted = settled.adjusted(new).unwrap();
                prop_assert_eq!(adjusted.map(|line| line.revision), [1, 2]);
                lines.extend(adjusted);
            }
            let closing = |lines: &[Line]| close(sum(lines), won(0)).unwrap();
            prop_assert_eq!(closing(&lines), closing(&at(new)));
        }
    }
}
