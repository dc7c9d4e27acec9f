//! The reconciliation database: our side is the payments' captures and refunds, each is one row of a
//! file at most, and is missing where a file speaks for its day without it. The rules are written
//! apart from those that made the rows.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Books, Check, Options,
    moved::{self, Key, Mirror, day},
    recon_files::Files,
    recon_rows,
    snapshot::{CHUNK_ROWS, Snapshot},
    totals::{Side, Totals},
};

/// Approval numbers are the last digits of a payment's id.
const APPROVAL_NUMBERS: u128 = 100_000_000;

#[derive(FromRow)]
struct Row {
    payment_id: Uuid,
    seq: u32,
    merchant_id: String,
    kind: String,
    amount: u64,
    currency: String,
    approval_number: String,
    sold_on: NaiveDate,
    occurred_at: DateTime<Utc>,
    missing_in: Option<u32>,
    /// Rows of files that it is.
    rows: i64,
}

/// Holds the snapshot against the events of the payments, which are read after it.
pub(crate) async fn check(
    snapshot: &mut Snapshot,
    totals: &mut Totals,
    books: &Books,
    (url, options): (&str, &Options),
) -> anyhow::Result<Check> {
    let mut check = Check::new("recon");
    let files = Files::read(snapshot, &mut check).await?;
    let known = transactions(snapshot, &mut check, totals, (books, &files)).await?;
    let mirror = Mirror {
        table: "recon_transaction",
        url,
        taken: snapshot.taken,
    };
    let late = moved::late(books, |key| known.contains(&key));
    moved::all_arrive(&mut check, &mirror, books, late, options, |key| {
        totals.late(Side::Reconciliation, books, key);
    })
    .await?;
    recon_rows::compare(snapshot, &mut check, &files).await?;
    Ok(check)
}

async fn transactions(
    snapshot: &mut Snapshot,
    check: &mut Check,
    totals: &mut Totals,
    (books, files): (&Books, &Files),
) -> anyhow::Result<HashSet<Key>> {
    let mut known = HashSet::new();
    let mut after: Key = (Uuid::nil(), 0);
    loop {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT t.payment_id, t.seq, t.merchant_id, t.kind, t.amount, t.currency,
                    t.approval_number, t.sold_on, t.occurred_at, t.missing_in,
                    (SELECT COUNT(*) FROM recon_row r
                      WHERE r.payment_id = t.payment_id AND r.seq = t.seq) AS `rows`
               FROM recon_transaction t
              WHERE (t.payment_id = ? AND t.seq > ?) OR t.payment_id > ?
              ORDER BY t.payment_id, t.seq LIMIT ?",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(after.0)
        .bind(CHUNK_ROWS)
        .fetch_all(&mut snapshot.db)
        .await?;
        let Some(last) = rows.last() else {
            return Ok(known);
        };
        after = (last.payment_id, last.seq);
        for row in rows {
            check.count("transactions");
            compare(check, &row, books);
            missing(check, &row, files);
            let book = (row.merchant_id.as_str(), row.currency.as_str(), row.sold_on);
            totals.add(Side::Reconciliation, book, &row.kind, row.amount);
            known.insert((row.payment_id, row.seq));
        }
    }
}

/// A transaction is what its event says, on the day that it was in Korea.
fn compare(check: &mut Check, row: &Row, books: &Books) {
    let row_says = (
        row.merchant_id.as_str(),
        row.currency.as_str(),
        row.kind.as_str(),
        row.amount,
        row.sold_on,
        row.occurred_at,
    );
    let event = moved::of(books, row.payment_id, row.seq);
    let event_says = event.map(|moved| {
        (
            moved.state.merchant_id.as_str(),
            moved.state.currency.as_str(),
            moved.kind,
            moved.amount,
            day(moved.at),
            moved.at,
        )
    });
    check.ensure(event_says == Some(row_says), || {
        format!(
            "{}: transaction {row_says:?}, its event says {event_says:?}",
            name(row)
        )
    });
    let approval = format!("{:08}", row.payment_id.as_u128() % APPROVAL_NUMBERS);
    check.ensure(row.approval_number == approval, || {
        format!(
            "{} is approved as {}, not {approval}",
            name(row),
            row.approval_number
        )
    });
}

/// It is one row at most, and missing exactly where a file speaks for its day and it is none.
fn missing(check: &mut Check, row: &Row, files: &Files) {
    check.ensure(row.rows <= 1, || {
        format!("{} is {} rows", name(row), row.rows)
    });
    let Some(file_no) = row.missing_in else {
        let asked = row.rows == 0 && files.should_have(row.sold_on, row.occurred_at);
        check.ensure(!asked || files.busy, || {
            format!(
                "{} of {} is in no file and is not missing",
                name(row),
                row.sold_on
            )
        });
        return;
    };
    check.count("missing");
    let speaks = files.get(file_no).is_some_and(|file| {
        file.superseded_by.is_none()
            && file.speaks_for(row.sold_on)
            && file.uploaded_at > row.occurred_at
    });
    check.ensure(speaks, || {
        format!(
            "{} is missing in file {file_no}, which need not have it",
            name(row)
        )
    });
    check.ensure(row.rows == 0 || files.busy, || {
        format!("{} is missing in file {file_no} and is a row", name(row))
    });
}

fn name(row: &Row) -> String {
    format!("{} {}", payment::PaymentId::from(row.payment_id), row.seq)
}
