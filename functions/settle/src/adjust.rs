use chrono::NaiveDate;
use settlement::{Adjustable, Batch, Book, Contracts, Line, source_table};
use sqlx::MySqlConnection;
use uuid::Uuid;

use crate::error::SettleError;

/// Settled lines looked at in one statement; each that is adjusted becomes two.
const CHUNK_ROWS: u32 = 1_000;
/// Before the first line of a day.
const NOTHING: (Uuid, u32) = (Uuid::nil(), 0);

/// What contracts that came after a book's last batch change of what is settled.
pub(crate) struct Adjustments<'a> {
    contracts: &'a Contracts,
    book: &'a Book,
    first: NaiveDate,
    day: NaiveDate,
    last: NaiveDate,
    after: (Uuid, u32),
}

impl<'a> Adjustments<'a> {
    /// `None` when no such contract is for a day that is settled.
    pub(crate) fn since(contracts: &'a Contracts, book: &'a Book, last: &Batch) -> Option<Self> {
        let first = contracts.changed_from(last.contracts)?;
        (first <= last.period.to).then_some(Self {
            contracts,
            book,
            first,
            day: first,
            last: last.period.to,
            after: NOTHING,
        })
    }

    /// The next lines that take back and settle again; empty at the end.
    pub(crate) async fn next(
        &mut self,
        db: &mut MySqlConnection,
    ) -> Result<Vec<Line>, SettleError> {
        while self.day <= self.last {
            let (day, after) = (self.day, self.after);
            let settled =
                source_table::settled(db, self.book, self.first, day, after, CHUNK_ROWS).await?;
            if let Some(end) = settled.last() {
                self.after = (end.source.payment_id, end.source.seq);
            } else {
                let Some(next) = day.succ_opt() else { break };
                (self.day, self.after) = (next, NOTHING);
            }
            let lines = self.lines(settled)?;
            if !lines.is_empty() {
                return Ok(lines);
            }
        }
        Ok(Vec::new())
    }

    fn lines(&self, settled: Vec<Adjustable>) -> Result<Vec<Line>, SettleError> {
        let mut lines = Vec::new();
        for line in settled {
            let rate = self.contracts.in_force(line.source.captured_on)?.rate;
            if rate != line.rate {
                lines.extend(line.adjusted(rate)?);
            }
        }
        Ok(lines)
    }
}
