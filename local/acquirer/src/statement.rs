use std::{fmt::Write as _, str::FromStr};

use anyhow::ensure;
use chrono::{NaiveDate, TimeDelta};
use encoding_rs::EUC_KR;
use fastrand::Rng;
use payment::PaymentId;
use recon::{MatchResult, TransactionKey, approval_number};
use serde::{Deserialize, Serialize};
use source::Kind;
use uuid::Uuid;

use crate::{Captured, Fault, Faults};

/// How far a wrong day is off; further than any profile tolerates.
const DAYS_OFF: TimeDelta = TimeDelta::days(3);
/// Most that a wrong amount is too high.
const AMOUNT_OFF_MAX: u64 = 1_000;

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Plain English names, in UTF-8.
    Generic,
    /// As an export of Toss Payments, in CP949.
    Toss,
}

/// A day's file, and what should be found in it.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The file.
    pub bytes: Vec<u8>,
    /// What should be found.
    pub key: AnswerKey,
}

/// What should be found in a file; everything else matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerKey {
    /// The day of the file.
    pub date: NaiveDate,
    /// How many rows it has.
    pub rows: usize,
    /// The faults.
    pub expected: Vec<Expected>,
}

/// A fault: of a line, or of a transaction that has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// What should be said.
    pub result: String,
    /// The record of the file, the header being the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The transaction that is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_key: Option<String>,
}

#[derive(Clone)]
struct Row {
    key: TransactionKey,
    kind: Kind,
    amount: String,
    currency: String,
    day: NaiveDate,
    done: bool,
    fault: Option<Fault>,
}

impl FromStr for Layout {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "generic" => Ok(Self::Generic),
            "toss" => Ok(Self::Toss),
            _ => anyhow::bail!("there is no profile {name:?}: generic or toss"),
        }
    }
}

impl Statement {
    /// Writes the file of a day.
    ///
    /// # Errors
    /// When there is less than the faults need.
    pub fn write(
        day: NaiveDate,
        captured: &[Captured],
        faults: &Faults,
        layout: Layout,
    ) -> anyhow::Result<Self> {
        let mut rng = Rng::with_seed(faults.seed);
        let rows: Vec<Row> = captured.iter().map(|it| Row::of(it, day)).collect();
        let (rows, left_out) = spoil(rows, day, faults, &mut rng)?;
        let lines = (2_u32..).zip(&rows);
        let mut expected: Vec<Expected> = lines
            .filter_map(|(line, row)| {
                Some(Expected {
                    result: row.fault?.expected().name().to_owned(),
                    line: Some(line),
                    transaction_key: None,
                })
            })
            .collect();
        expected.extend(left_out.iter().map(|row| Expected {
            result: MatchResult::MissingExternal.name().to_owned(),
            line: None,
            transaction_key: Some(row.key.to_string()),
        }));
        let key = AnswerKey {
            date: day,
            rows: rows.len(),
            expected,
        };
        let bytes = layout.bytes(&rows);
        Ok(Self { bytes, key })
    }
}

/// The rows of the file and those that are left out.
fn spoil(
    mut rows: Vec<Row>,
    day: NaiveDate,
    faults: &Faults,
    rng: &mut Rng,
) -> anyhow::Result<(Vec<Row>, Vec<Row>)> {
    let of_rows = [
        Fault::MissingExternal,
        Fault::Amount,
        Fault::Duplicate,
        Fault::Status,
        Fault::Date,
    ];
    let needed: usize = of_rows.iter().map(|fault| faults.count(*fault)).sum();
    ensure!(
        needed <= rows.len(),
        "{day} has {} captures and refunds, the faults need {needed}",
        rows.len()
    );
    let chosen = rng.choose_multiple(0..rows.len(), needed);
    let mut chosen = chosen.into_iter();
    let mut twice = Vec::new();
    for fault in of_rows {
        for index in chosen.by_ref().take(faults.count(fault)) {
            if let Some(row) = rows.get_mut(index) {
                twice.extend(row.spoil(fault, rng));
            }
        }
    }
    let left_out = |row: &Row| row.fault == Some(Fault::MissingExternal);
    let (left_out, mut rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(left_out);
    rng.shuffle(&mut rows);
    rows.extend(twice);
    rows.extend((0..faults.count(Fault::MissingInternal)).map(|_| Row::unknown(day, rng)));
    rows.extend((0..faults.count(Fault::Invalid)).map(|_| Row::invalid(day, rng)));
    Ok((rows, left_out))
}

impl Row {
    fn of(captured: &Captured, day: NaiveDate) -> Self {
        Self {
            key: captured.key,
            kind: captured.kind,
            amount: captured.amount.to_string(),
            currency: captured.currency.clone(),
            day,
            done: true,
            fault: None,
        }
    }

    /// One that nobody captured.
    fn unknown(day: NaiveDate, rng: &mut Rng) -> Self {
        let payment_id = PaymentId::from(Uuid::from_u128(rng.u128(..)));
        Self {
            key: TransactionKey { payment_id, seq: 2 },
            kind: Kind::Capture,
            amount: rng.u64(1..100_000).to_string(),
            currency: "KRW".to_owned(),
            day,
            done: true,
            fault: Some(Fault::MissingInternal),
        }
    }

    fn invalid(day: NaiveDate, rng: &mut Rng) -> Self {
        Self {
            amount: "1e9".to_owned(),
            fault: Some(Fault::Invalid),
            ..Self::unknown(day, rng)
        }
    }

    /// Makes it wrong; the copy of a row that comes twice.
    fn spoil(&mut self, fault: Fault, rng: &mut Rng) -> Option<Self> {
        if fault == Fault::Duplicate {
            return Some(Self {
                fault: Some(fault),
                ..self.clone()
            });
        }
        self.fault = Some(fault);
        match fault {
            Fault::Amount => {
                let amount: u64 = self.amount.parse().unwrap_or_default();
                let wrong = amount.saturating_add(rng.u64(1..=AMOUNT_OFF_MAX));
                self.amount = wrong.to_string();
            }
            Fault::Status => self.done = false,
            Fault::Date => self.day -= DAYS_OFF,
            _ => {}
        }
        None
    }
}

impl Layout {
    fn bytes(self, rows: &[Row]) -> Vec<u8> {
        let mut text = String::from(match self {
            Self::Generic => {
                "transaction_key,payment_id,approval_number,type,amount,currency,date,status\n"
            }
            Self::Toss => "거래키,결제키,승인번호,구분,금액,통화,거래일시,상태\n",
        });
        for row in rows {
            // Writing to a String cannot fail.
            let _written = self.line(&mut text, row);
        }
        match self {
            Self::Generic => text.into_bytes(),
            Self::Toss => EUC_KR.encode(&text).0.into_owned(),
        }
    }

    fn line(self, text: &mut String, row: &Row) -> std::fmt::Result {
        let payment_id = row.key.payment_id;
        let approval = approval_number(payment_id.uuid());
        let (amount, currency, day) = (&row.amount, &row.currency, row.day);
        let [kind, status] = self.words(row);
        write!(text, "{},{payment_id},{approval},{kind},", row.key)?;
        match self {
            Self::Generic => writeln!(text, "{amount},{currency},{day},{status}"),
            Self::Toss => writeln!(text, "{amount},{currency},{day} 12:00:00,{status}"),
        }
    }

    fn words(self, row: &Row) -> [&'static str; 2] {
        let words = match self {
            Self::Generic => ["CAPTURE", "REFUND", "DONE", "CANCELED"],
            Self::Toss => ["승인", "취소", "완료", "실패"],
        };
        let kind = usize::from(row.kind == Kind::Refund);
        let status = 3 - usize::from(row.done);
        [words[kind], words[status]]
    }
}

#[cfg(test)]
mod tests {
    use recon::csv::Csv;

    use super::*;

    fn captured(count: usize) -> Vec<Captured> {
        let one = |_| Captured {
            key: TransactionKey {
                payment_id: PaymentId::generate(),
                seq: 2,
            },
            kind: Kind::Capture,
            amount: 1_000,
            currency: "KRW".to_owned(),
        };
        (0..count).map(one).collect()
    }

    const ALL: &str = "seed=7,missing_external=3,missing_internal=2,amount=2,duplicate=1,\
                       status=1,date=1,invalid=1";

    #[test]
    fn file_has_every_fault_that_was_asked_for_and_reads_in_both_layouts() {
        let day = "2026-03-31".parse().unwrap();
        let captured = captured(20);
        for layout in [Layout::Generic, Layout::Toss] {
            let statement =
                Statement::write(day, &captured, &ALL.parse().unwrap(), layout).unwrap();
            assert_eq!(statement.key.expected.len(), 11);
            assert_eq!(statement.key.rows, 20 - 3 + 2 + 1 + 1);
            let csv = Csv::of(statement.bytes.into()).unwrap();
            assert_eq!(csv.rows as usize, statement.key.rows);
            let invalid = csv
                .rows()
                .unwrap()
                .filter(|row| row.as_ref().unwrap().1.is_err());
            assert_eq!(invalid.count(), 1);
        }
    }

    #[test]
    fn same_seed_writes_the_same() {
        let day = "2026-03-31".parse().unwrap();
        let captured = captured(20);
        let write = |faults: &str| {
            let faults = faults.parse().unwrap();
            Statement::write(day, &captured, &faults, Layout::Generic)
                .unwrap()
                .bytes
        };
        assert_eq!(write(ALL), write(ALL));
        assert_ne!(write(ALL), write(&ALL.replace("seed=7", "seed=8")));
    }

    #[test]
    fn more_faults_than_rows_are_refused() {
        let day = "2026-03-31".parse().unwrap();
        let faults = "amount=2,date=1".parse().unwrap();
        assert!(Statement::write(day, &captured(2), &faults, Layout::Generic).is_err());
    }
}
