//! Control totals: what a service says moved on each day, to be held against what another knows.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::Kind;

/// Which totals are asked for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// The first day, in Asia/Seoul.
    pub from: NaiveDate,
    /// What happened before this moment.
    pub before: DateTime<Utc>,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Said {
    /// A merchant's day may have several entries of a kind.
    pub data: Vec<DayTotal>,
}

/// What moved of a merchant on a day, in Asia/Seoul.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DayTotal {
    /// Whose payments.
    pub merchant_id: String,
    /// ISO 4217 code.
    pub currency: String,
    /// The day.
    pub day: NaiveDate,
    /// Captures or refunds.
    pub kind: Kind,
    /// How many.
    pub count: u64,
    /// All of them, in the currency's minor unit.
    pub amount: u64,
}

/// The totals of a merchant's day and kind, as the one service has them and as the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose payments.
    pub merchant_id: String,
    currency: String,
    day: NaiveDate,
    kind: Kind,
    said: (u64, u64),
    known: (u64, u64),
}

type Sums<'a> = BTreeMap<(&'a str, &'a str, NaiveDate, Kind), (u64, u64)>;

/// Where what is `known` differs from what is `said`; entries of the same day and kind are added up.
#[must_use]
pub fn differences(said: &[DayTotal], known: &[DayTotal]) -> Vec<Difference> {
    let (said, known) = (sums(said), sums(known));
    let mut keys: Vec<_> = said.keys().chain(known.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let at = |sums: &Sums<'_>, key| sums.get(key).copied().unwrap_or_default();
    keys.into_iter()
        .filter(|key| at(&said, key) != at(&known, key))
        .map(|key| Difference {
            merchant_id: key.0.to_owned(),
            currency: key.1.to_owned(),
            day: key.2,
            kind: key.3,
            said: at(&said, key),
            known: at(&known, key),
        })
        .collect()
}

fn sums(totals: &[DayTotal]) -> Sums<'_> {
    let mut sums = Sums::new();
    for total in totals {
        let key = (
            total.merchant_id.as_str(),
            total.currency.as_str(),
            total.day,
            total.kind,
        );
        let (count, amount) = sums.entry(key).or_default();
        *count = count.saturating_add(total.count);
        *amount = amount.saturating_add(total.amount);
    }
    sums
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (said, known) = (self.said, self.known);
        write!(
            formatter,
            "{} {} of {}: {} of {} {} were made, {} of {} have arrived",
            self.merchant_id,
            self.kind.name(),
            self.day,
            said.0,
            said.1,
            self.currency,
            known.0,
            known.1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(merchant_id: &str, kind: Kind, count: u64, amount: u64) -> DayTotal {
        DayTotal {
            merchant_id: merchant_id.to_owned(),
            currency: "KRW".to_owned(),
            day: "2026-03-01".parse().unwrap(),
            kind,
            count,
            amount,
        }
    }

    #[test]
    fn equal_totals_have_no_difference_however_they_are_cut() {
        let said = [
            total("a", Kind::Capture, 2, 30),
            total("a", Kind::Refund, 1, 5),
            total("a", Kind::Capture, 1, 70),
        ];
        let known = [
            total("a", Kind::Refund, 1, 5),
            total("a", Kind::Capture, 3, 100),
        ];
        assert_eq!(differences(&said, &known), []);
    }

    #[test]
    fn missing_surplus_and_other_amounts_are_told() {
        let said = [
            total("a", Kind::Capture, 2, 30),
            total("b", Kind::Capture, 1, 10),
        ];
        let known = [
            total("a", Kind::Capture, 2, 29),
            total("c", Kind::Refund, 1, 7),
        ];
        let told: Vec<String> = differences(&said, &known)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "a CAPTURE of 2026-03-01: 2 of 30 KRW were made, 2 of 29 have arrived",
                "b CAPTURE of 2026-03-01: 1 of 10 KRW were made, 0 of 0 have arrived",
                "c REFUND of 2026-03-01: 0 of 0 KRW were made, 1 of 7 have arrived",
            ]
        );
    }
}
