//! SQL of `recon_row`, as a file fills it.

use chrono::NaiveDate;
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::{Days, Fault, MatchResult, TheirRow, match_table::Lines};

/// A row of a file with its number.
pub type NumberedRow = (u32, Result<TheirRow, Fault>);

/// Adds rows in one statement.
///
/// # Errors
/// Those of the database.
pub async fn insert(
    db: &mut MySqlConnection,
    file_no: u32,
    rows: &[NumberedRow],
) -> sqlx::Result<()> {
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO recon_row (file_no, line, key_payment, key_seq, named_payment, reference, \
             approval_number, kind, done, amount, currency, traded_on, fault, result) ",
    );
    query.push_values(rows, |mut tuple, (line, row)| {
        let read = row.as_ref().ok();
        let fault = row.as_ref().err();
        let key = read.and_then(|row| row.key);
        tuple
            .push_bind(file_no)
            .push_bind(line)
            .push_bind(key.map(|key| key.payment_id.uuid()))
            .push_bind(key.map(|key| key.seq))
            .push_bind(read.and_then(|row| row.payment_id))
            .push_bind(read.and_then(|row| row.reference.as_deref()))
            .push_bind(read.and_then(|row| row.approval_number.as_deref()))
            .push_bind(read.map(|row| row.kind.name()))
            .push_bind(read.map(|row| row.done))
            .push_bind(read.map(|row| row.amount.minor()))
            .push_bind(read.map(|row| row.amount.currency().code()))
            .push_bind(read.map(|row| row.traded_on))
            .push_bind(fault.map(|Fault(why)| why))
            .push_bind(fault.map(|_| MatchResult::RowInvalid.name()));
    });
    query.build().execute(db).await?;
    Ok(())
}

/// Takes lines of a file out of what is matched, except those that are decided about.
///
/// # Errors
/// Those of the database.
pub async fn supersede(db: &mut MySqlConnection, file_no: u32, lines: Lines) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE recon_row SET payment_id = NULL, seq = NULL, result = 'SUPERSEDED'
          WHERE file_no = ? AND line BETWEEN ? AND ? AND standing IS NULL",
    )
    .bind(file_no)
    .bind(lines.from)
    .bind(lines.to)
    .execute(db)
    .await?;
    Ok(())
}

/// The day that most rows of a file have; `None` when no row can be read.
///
/// # Errors
/// Those of the database.
pub async fn commonest_day(db: &mut MySqlConnection, file_no: u32) -> sqlx::Result<Option<Days>> {
    let day: Option<NaiveDate> = sqlx::query_scalar(
        "SELECT traded_on FROM recon_row WHERE file_no = ? AND traded_on IS NOT NULL
          GROUP BY traded_on ORDER BY COUNT(*) DESC, traded_on LIMIT 1",
    )
    .bind(file_no)
    .fetch_optional(db)
    .await?;
    Ok(day.map(|day| Days { from: day, to: day }))
}
