//! `recon_file`: each has the rows that it counts.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Days, NaiveDate, Utc};
use recon::Profile;
use sqlx::FromRow;

use crate::{Check, snapshot::Snapshot};

/// Days that a file speaks for, at most.
const DAYS_MAX: usize = 400;

/// A file, and what its profile tolerates.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct File {
    #[sqlx(rename = "file_no")]
    no: u32,
    profile: String,
    filename: String,
    row_count: u32,
    invalid_rows: u32,
    loaded_rows: u32,
    pub(crate) first_day: Option<NaiveDate>,
    pub(crate) last_day: Option<NaiveDate>,
    asked: u32,
    matched: u32,
    told: u32,
    pub(crate) superseded_by: Option<u32>,
    pub(crate) uploaded_at: DateTime<Utc>,
    events: i64,
    /// Whether it has rows of captures and refunds.
    #[sqlx(skip)]
    transactions: bool,
}

/// Rows of a file: all, those that cannot be read, and those of captures and refunds.
type Rows = (u32, i64, i64, i64);

/// Every file by its number.
pub(crate) struct Files {
    by_no: BTreeMap<u32, File>,
    /// Files that are being matched, or are to be: what lies between them may be half done.
    pub(crate) busy: bool,
    /// When the last file came that is matched and speaks for a day.
    spoken: HashMap<NaiveDate, DateTime<Utc>>,
}

impl File {
    /// Whether it is to be matched.
    pub(crate) fn due(&self) -> bool {
        self.first_day.is_none() || self.asked > self.matched
    }

    fn busy(&self) -> bool {
        self.first_day.is_some() && self.due() && self.superseded_by.is_none()
    }

    pub(crate) fn speaks_for(&self, day: NaiveDate) -> bool {
        self.first_day.is_some_and(|first| first <= day)
            && self.last_day.is_some_and(|last| day <= last)
    }

    /// How far amounts, in the minor unit, and days may be apart.
    pub(crate) fn tolerance(&self) -> Option<(u64, u64)> {
        let tolerance = Profile::named(&self.profile)?.tolerance;
        Some((tolerance.amount.into(), tolerance.days.into()))
    }

    fn compare(&self, check: &mut Check, (_, rows, invalid, _): Rows) {
        let counts = (i64::from(self.loaded_rows), i64::from(self.invalid_rows));
        let whole = self.first_day.is_none() || self.loaded_rows == self.row_count;
        let days = self.first_day.is_some() == self.last_day.is_some();
        let name = &self.filename;
        check.ensure(counts == (rows, invalid) && whole && days, || {
            format!(
                "{name} has {rows} rows, {invalid} of them invalid, and counts {counts:?} of {}",
                self.row_count
            )
        });
        check.ensure(i64::from(self.told) == self.events, || {
            format!(
                "{name} counts {} events, {} are there",
                self.told, self.events
            )
        });
        check.ensure(self.matched <= self.asked, || {
            format!("{name} was matched more often than it was to be")
        });
    }
}

impl Files {
    pub(crate) async fn read(snapshot: &mut Snapshot, check: &mut Check) -> anyhow::Result<Self> {
        let files: Vec<File> = sqlx::query_as(
            "SELECT f.file_no, f.profile, f.filename, f.row_count, f.invalid_rows, f.loaded_rows,
                    f.first_day, f.last_day, f.asked, f.matched, f.told, f.superseded_by,
                    f.uploaded_at,
                    (SELECT COUNT(*) FROM outbox_event e
                      WHERE e.aggregateid = CONCAT('fil_', LOWER(HEX(f.file_id)))) AS events
               FROM recon_file f",
        )
        .fetch_all(&mut snapshot.db)
        .await?;
        let rows: Vec<Rows> = sqlx::query_as(
            "SELECT file_no, COUNT(*), COUNT(fault), COUNT(IF(kind IN ('CAPTURE', 'REFUND'), 1, NULL))
               FROM recon_row GROUP BY file_no",
        )
        .fetch_all(&mut snapshot.db)
        .await?;
        let mut rows: HashMap<u32, Rows> = rows.into_iter().map(|rows| (rows.0, rows)).collect();
        let mut by_no = BTreeMap::new();
        for mut file in files {
            check.count("files");
            let rows = rows.remove(&file.no).unwrap_or_default();
            file.compare(check, rows);
            file.transactions = rows.3 > 0;
            by_no.insert(file.no, file);
        }
        for file_no in rows.keys() {
            check.violated(format!("rows are of file {file_no}, which is not there"));
        }
        let mut files = Self {
            busy: by_no.values().any(File::busy),
            by_no,
            spoken: HashMap::new(),
        };
        files.supersessions(check);
        files.speak();
        Ok(files)
    }

    pub(crate) fn get(&self, file_no: u32) -> Option<&File> {
        self.by_no.get(&file_no)
    }

    /// Whether a file that came after `time` and is matched speaks for the day.
    pub(crate) fn should_have(&self, day: NaiveDate, time: DateTime<Utc>) -> bool {
        self.spoken.get(&day).is_some_and(|came| *came > time)
    }

    /// The one that takes another's place is a later one that speaks for the same days.
    fn supersessions(&self, check: &mut Check) {
        for file in self.by_no.values() {
            let Some(by) = file.superseded_by else {
                continue;
            };
            let days = (file.first_day, file.last_day);
            let same = self
                .get(by)
                .is_some_and(|by| (by.first_day, by.last_day) == days);
            check.ensure(same && by > file.no, || {
                format!(
                    "{} gave way to file {by}, which is of other days",
                    file.filename
                )
            });
        }
    }

    fn speak(&mut self) {
        let matched = self
            .by_no
            .values()
            .filter(|file| file.superseded_by.is_none() && !file.due() && file.transactions);
        for file in matched {
            let first = file.first_day.into_iter();
            let days = first
                .flat_map(|first| (0..).map_while(move |n| first.checked_add_days(Days::new(n))));
            for day in days.take(DAYS_MAX).take_while(|day| file.speaks_for(*day)) {
                let came = self.spoken.entry(day).or_insert(file.uploaded_at);
                *came = file.uploaded_at.max(*came);
            }
        }
    }
}
