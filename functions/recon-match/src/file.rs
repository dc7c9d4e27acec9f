use std::collections::HashMap;

use chrono::Utc;
use recon::{
    Cause, Days, ItemId, MatchResult, Operator, StatementFile, case_table, file_table,
    match_table::{self, Lines, Missing},
    row_table,
};
use sqlx::{Connection, MySqlConnection};
use telemetry::TraceContext;
use uuid::Uuid;

use crate::{FUNCTION, told};

/// Lines looked at in one statement.
const CHUNK_LINES: u32 = 10_000;
/// Most refunds of one amount that a payment has; of more, the rest is left over.
const ROUNDS_MAX: usize = 64;
/// Decided items of a superseded file looked up in one statement.
const ITEMS_MAX: u32 = 500;
/// Transactions noted as missing in one transaction of the database.
const MISSING_ROWS: u32 = 2_000;

/// Holds a file against our transactions. What is decided stays; doing it again, wherever it was cut
/// off, changes nothing.
pub(crate) async fn matched(db: &mut MySqlConnection, file: &StatementFile) -> sqlx::Result<()> {
    supersede(db, file).await?;
    let chunks = || chunks(file.row_count);
    for lines in chunks() {
        match_table::pair_by_key(db, file, lines).await?;
    }
    for lines in chunks() {
        let mut rounds = 0;
        while match_table::pair_by_payment(db, file.no, lines).await? > 0 && rounds < ROUNDS_MAX {
            rounds += 1;
        }
    }
    for lines in chunks() {
        match_table::pair_by_payment_alone(db, file.no, lines).await?;
    }
    for lines in chunks() {
        match_table::pair_by_approval(db, file, lines).await?;
    }
    match_table::free_decided(db, file.no).await?;
    for lines in chunks() {
        judge(db, file, lines).await?;
    }
    match_table::find_missing(db).await?;
    if let Some(days) = file.days {
        note_missing(db, file, days).await?;
    }
    file_table::finish_match(db, file, Utc::now()).await?;
    tracing::info!(recon.file = %file.id, recon.rows = file.row_count, "matched");
    Ok(())
}

/// Takes the place of earlier files that speak for the same days: an acquirer sends a file again when it
/// was wrong.
async fn supersede(db: &mut MySqlConnection, file: &StatementFile) -> sqlx::Result<()> {
    while let Some(old) = file_table::superseded(db, file).await? {
        take_back(db, &old, file).await?;
        for lines in chunks(old.row_count) {
            row_table::supersede(db, old.no, lines).await?;
        }
        let mut tx = db.begin().await?;
        file_table::supersede(&mut tx, &old, file).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Takes back what was decided about a file that a later one takes the place of.
async fn take_back(
    db: &mut MySqlConnection,
    old: &StatementFile,
    new: &StatementFile,
) -> sqlx::Result<()> {
    let cause = Cause {
        by: Operator {
            key_id: FUNCTION.to_owned(),
            holder: FUNCTION.to_owned(),
        },
        reason: format!("the file {} speaks for the same days", new.id),
        traceparent: TraceContext::root().traceparent(),
        request: None,
        now: Utc::now(),
    };
    loop {
        let items = case_table::decided_in(db, old.no, ITEMS_MAX).await?;
        if items.is_empty() {
            return Ok(());
        }
        for item_id in items {
            let mut tx = db.begin().await?;
            recon::take_back(&mut tx, item_id, &cause).await?;
            tx.commit().await?;
        }
    }
}

/// The lines of a file's rows: the header is line 1.
fn chunks(row_count: u32) -> impl Iterator<Item = Lines> {
    let last = row_count.saturating_add(1);
    let starts = (2..=last).step_by(CHUNK_LINES as usize);
    starts.map(move |from| Lines {
        from,
        to: last.min(from.saturating_add(CHUNK_LINES - 1)),
    })
}

/// Says what came of the rows of these lines, and tells which are new among those that do not match.
async fn judge(db: &mut MySqlConnection, file: &StatementFile, lines: Lines) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    let before = match_table::unmatched(&mut tx, file.no, lines).await?;
    let first = file.matched == 0;
    let before: HashMap<u32, String> = before
        .into_iter()
        .filter(|(_, result)| !first || result != MatchResult::RowInvalid.name())
        .collect();
    match_table::judge(&mut tx, file, lines).await?;
    let after = match_table::unmatched(&mut tx, file.no, lines).await?;
    let new: Vec<(ItemId, String)> = after
        .into_iter()
        .filter(|(line, result)| before.get(line) != Some(result))
        .map(|(line, result)| {
            let file_no = file.no;
            (ItemId::Row { file_no, line }, result)
        })
        .collect();
    told::unmatched(&mut tx, file, &new).await?;
    tx.commit().await
}

/// Notes and tells what the file should have and does not.
async fn note_missing(
    db: &mut MySqlConnection,
    file: &StatementFile,
    days: Days,
) -> sqlx::Result<()> {
    let mut after = Missing {
        payment_id: Uuid::nil(),
        seq: 0,
    };
    loop {
        let mut tx = db.begin().await?;
        let missing = match_table::note_missing(&mut tx, file, days, after, MISSING_ROWS).await?;
        let result = MatchResult::MissingExternal.name();
        let items: Vec<(ItemId, String)> = missing
            .iter()
            .map(|it| (ItemId::of(it.payment_id, it.seq), result.to_owned()))
            .collect();
        told::unmatched(&mut tx, file, &items).await?;
        tx.commit().await?;
        let Some(last) = missing.last() else {
            return Ok(());
        };
        after = *last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_every_line_once() {
        for row_count in [1, 9_999, 10_000, 10_001, 25_000] {
            let mut next = 2;
            for lines in chunks(row_count) {
                assert_eq!(lines.from, next);
                assert!(lines.to >= lines.from && lines.to - lines.from < CHUNK_LINES);
                next = lines.to + 1;
            }
            assert_eq!(next, row_count + 2);
        }
        assert_eq!(chunks(0).count(), 0);
    }
}
