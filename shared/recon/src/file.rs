//! A file of an acquirer.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{FileId, Profile};

/// Most days that a file speaks for.
const DAYS_MAX: TimeDelta = TimeDelta::days(92);

/// Days, both ends included, in Asia/Seoul.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Days {
    /// The first.
    pub from: NaiveDate,
    /// The last.
    pub to: NaiveDate,
}

/// What is known of a file.
#[derive(Clone, Debug)]
pub struct StatementFile {
    /// Its number in the database.
    pub no: u32,
    /// Names it.
    pub id: FileId,
    /// How it is written.
    pub profile: &'static Profile,
    /// As it was first uploaded.
    pub filename: String,
    /// How many rows it has.
    pub row_count: u32,
    /// How many of those cannot be read, so far.
    pub invalid_rows: u32,
    /// How many rows are in the database.
    pub loaded_rows: u32,
    /// The days it speaks for, once it is loaded: what we have of them should be in it.
    pub days: Option<Days>,
    /// Raised by whatever makes it worth to match it again.
    pub asked: u32,
    /// `asked` when the last match that is finished began.
    pub matched: u32,
    /// Whether a later file speaks for the same days.
    pub superseded: bool,
    /// When it came.
    pub uploaded_at: DateTime<Utc>,
    /// When it was last matched.
    pub matched_at: Option<DateTime<Utc>>,
}

impl Days {
    /// The days that a file's name gives, one as `2026-03-31` or `20260331`, or the first and the last.
    #[must_use]
    pub fn named(filename: &str) -> Option<Self> {
        let mut days = (0..filename.len()).filter_map(|start| day_at(filename, start));
        let from = days.next()?;
        let to = days.next().unwrap_or(from);
        let span = to.signed_duration_since(from);
        (TimeDelta::zero()..=DAYS_MAX)
            .contains(&span)
            .then_some(Self { from, to })
    }
}

/// The day that is written from `start` on, and not in the middle of a longer number.
fn day_at(text: &str, start: usize) -> Option<NaiveDate> {
    let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    if start > 0 && digit(start - 1) {
        return None;
    }
    [("%Y-%m-%d", 10), ("%Y%m%d", 8)]
        .into_iter()
        .filter(|(_, length)| !digit(start + length))
        .find_map(|(format, length)| {
            let written = text.get(start..start + length)?;
            NaiveDate::parse_from_str(written, format).ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_gives_a_day_or_the_first_and_the_last() {
        let days = |name| Days::named(name).map(|days| format!("{}..{}", days.from, days.to));
        for (name, expected) in [
            (
                "transactions-2026-03-31.csv",
                Some("2026-03-31..2026-03-31"),
            ),
            ("거래_20260331.csv.gz", Some("2026-03-31..2026-03-31")),
            ("2026-03-01_2026-03-31.csv", Some("2026-03-01..2026-03-31")),
            ("20260301-20260331", Some("2026-03-01..2026-03-31")),
            ("2026-03-31_2026-03-01.csv", None),
            ("2020-01-01_2026-03-01.csv", None),
            ("export.csv", None),
            ("2026-02-30.csv", None),
            ("1202603310.csv", None),
            ("", None),
        ] {
            assert_eq!(days(name).as_deref(), expected, "{name}");
        }
    }
}
