//! Control totals: what merchants took and gave back on each day in Korea is the same for payments,
//! settlement and reconciliation.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use crate::{
    Books, Check,
    moved::{self, Key, Moved},
};

/// Who adds up, besides the payments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Settlement,
    Reconciliation,
}

/// How many and how much, of captures and of refunds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    captures: (u64, u128),
    refunds: (u64, u128),
}

/// Merchant, currency and day.
type Day = (String, String, NaiveDate);

/// Per merchant and day, what each side adds up to, together with what reached it late.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    days: BTreeMap<Day, [Sum; 2]>,
}

impl Sum {
    fn add(&mut self, kind: &str, amount: u64) {
        let sum = if kind == "CAPTURE" {
            &mut self.captures
        } else {
            &mut self.refunds
        };
        sum.0 += 1;
        sum.1 += u128::from(amount);
    }
}

impl Totals {
    /// A capture or refund that a side has.
    pub(crate) fn add(
        &mut self,
        side: Side,
        (merchant_id, currency, day): (&str, &str, NaiveDate),
        kind: &str,
        amount: u64,
    ) {
        let day = (merchant_id.to_owned(), currency.to_owned(), day);
        self.days.entry(day).or_default()[side as usize].add(kind, amount);
    }

    /// One that a side may be without for a moment.
    pub(crate) fn late(&mut self, side: Side, books: &Books, (payment_id, seq): Key) {
        if let Some(moved) = moved::of(books, payment_id, seq) {
            let (merchant_id, currency, day) = book(&moved);
            let day = (merchant_id.as_str(), currency.as_str(), day);
            self.add(side, day, moved.kind, moved.amount);
        }
    }

    /// Holds both sides against the events.
    pub(crate) fn check(mut self, books: &Books) -> Check {
        let mut check = Check::new("totals");
        let mut told: BTreeMap<Day, Sum> = BTreeMap::new();
        for (payment_id, seq) in moved::keys(books) {
            if let Some(moved) = moved::of(books, payment_id, seq) {
                check.count(if moved.kind == "CAPTURE" {
                    "captures"
                } else {
                    "refunds"
                });
                let sum = told.entry(book(&moved)).or_default();
                sum.add(moved.kind, moved.amount);
            }
        }
        for (day, told) in told {
            check.count("merchant days");
            let sides = self.days.remove(&day).unwrap_or_default();
            check.ensure(sides == [told, told], || differ(&day, told, sides));
        }
        for (day, sides) in self.days {
            check.violated(differ(&day, Sum::default(), sides));
        }
        check
    }
}

fn book(moved: &Moved<'_>) -> Day {
    let state = moved.state;
    let day = moved::day(moved.at);
    (state.merchant_id.clone(), state.currency.clone(), day)
}

fn differ(
    (merchant_id, currency, day): &Day,
    told: Sum,
    [settled, reconciled]: [Sum; 2],
) -> String {
    format!(
        "{merchant_id} on {day} in {currency}: payments have {told:?}, settlement {settled:?}, \
         reconciliation {reconciled:?}"
    )
}
