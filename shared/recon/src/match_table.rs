//! SQL that holds the rows of a file against our transactions, set by set.
//!
//! Which transaction a row is, is asked in this order, and each answer for the whole file before the
//! next is tried: by transaction key, by payment and kind, by approval number, amount and day. The
//! unique key over `(payment_id, seq)` gives a transaction to one row; of several the first has it.

use sqlx::{AssertSqlSafe, FromRow, MySqlConnection};
use uuid::Uuid;

use crate::{Days, StatementFile};

/// Lines of a file, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// The first.
    pub from: u32,
    /// The last.
    pub to: u32,
}

/// Rows `r` of `?1` in lines `?2` to `?3` that can be read and are none of our transactions yet, which
/// nobody has decided about.
const UNPAIRED: &str = "r.file_no = ? AND r.line BETWEEN ? AND ? AND r.fault IS NULL \
     AND r.payment_id IS NULL AND r.standing IS NULL";
/// A transaction `t` that is no row yet, and not decided about as missing.
const FREE: &str = "t.standing IS NULL AND NOT EXISTS (SELECT 1 FROM recon_row x \
     WHERE x.payment_id = t.payment_id AND x.seq = t.seq)";
/// A row's transaction key is not known here.
const KEY_UNKNOWN: &str = "NOT EXISTS (SELECT 1 FROM recon_transaction k \
     WHERE k.payment_id = r.key_payment AND k.seq = r.key_seq)";
/// Transactions `t` that a row without a known key could be…
const SAME_PAYMENT: &str = "t.payment_id = COALESCE(r.named_payment, r.key_payment) \
     AND t.kind = r.kind";
/// …and those that one which names no payment could be.
const SAME_APPROVAL: &str = "COALESCE(r.named_payment, r.key_payment) IS NULL \
     AND t.approval_number = r.approval_number AND t.kind = r.kind AND t.amount = r.amount \
     AND t.currency = r.currency AND ABS(DATEDIFF(t.sold_on, r.traded_on)) <= ?";

/// Finds transactions by their key; how many. Those that match, nearly all, get their result at once:
/// a row is written once and not twice.
///
/// # Errors
/// Those of the database.
pub async fn pair_by_key(
    db: &mut MySqlConnection,
    file: &StatementFile,
    lines: Lines,
) -> sqlx::Result<u64> {
    let query = format!(
        "UPDATE IGNORE recon_row r STRAIGHT_JOIN recon_transaction t \
             ON t.payment_id = r.key_payment AND t.seq = r.key_seq AND t.standing IS NULL \
            SET r.payment_id = t.payment_id, r.seq = t.seq, \
                r.result = IF(r.done AND t.kind = r.kind AND t.amount = r.amount \
                              AND t.currency = r.currency \
                              AND ABS(DATEDIFF(t.sold_on, r.traded_on)) <= ?, 'MATCHED', r.result) \
          WHERE {UNPAIRED}"
    );
    let done = sqlx::query(AssertSqlSafe(query))
        .bind(file.profile.tolerance.days)
        .bind(file.no)
        .bind(lines.from)
        .bind(lines.to)
        .execute(db)
        .await?;
    Ok(done.rows_affected())
}

/// Finds transactions by payment, kind and amount; of several with one amount it is any. How many.
///
/// # Errors
/// Those of the database.
pub async fn pair_by_payment(
    db: &mut MySqlConnection,
    file_no: u32,
    lines: Lines,
) -> sqlx::Result<u64> {
    let same = format!("{SAME_PAYMENT} AND t.amount = r.amount AND t.currency = r.currency");
    pair(db, file_no, lines, &same, None, "1 = 1").await
}

/// Finds transactions by payment and kind where but one is left, whatever its amount. How many.
///
/// # Errors
/// Those of the database.
pub async fn pair_by_payment_alone(
    db: &mut MySqlConnection,
    file_no: u32,
    lines: Lines,
) -> sqlx::Result<u64> {
    pair(db, file_no, lines, SAME_PAYMENT, None, "COUNT(*) = 1").await
}

/// Finds transactions by approval number, amount and day, where but one could be it. How many.
///
/// # Errors
/// Those of the database.
pub async fn pair_by_approval(
    db: &mut MySqlConnection,
    file: &StatementFile,
    lines: Lines,
) -> sqlx::Result<u64> {
    let days = file.profile.tolerance.days;
    pair(
        db,
        file.no,
        lines,
        SAME_APPROVAL,
        Some(days),
        "COUNT(*) = 1",
    )
    .await
}

async fn pair(
    db: &mut MySqlConnection,
    file_no: u32,
    lines: Lines,
    same: &str,
    days: Option<u8>,
    which: &str,
) -> sqlx::Result<u64> {
    let query = format!(
        "UPDATE IGNORE recon_row u JOIN \
             (SELECT r.line, t.payment_id, MIN(t.seq) AS seq \
                FROM recon_row r JOIN recon_transaction t ON {same} \
               WHERE {UNPAIRED} AND {FREE} AND {KEY_UNKNOWN} \
               GROUP BY r.line HAVING {which} AND COUNT(DISTINCT t.payment_id) = 1) found \
             ON found.line = u.line \
            SET u.payment_id = found.payment_id, u.seq = found.seq \
          WHERE u.file_no = ? AND u.payment_id IS NULL AND u.standing IS NULL"
    );
    let mut query = sqlx::query(AssertSqlSafe(query));
    if let Some(days) = days {
        query = query.bind(days);
    }
    let query = query.bind(file_no).bind(lines.from).bind(lines.to);
    Ok(query.bind(file_no).execute(db).await?.rows_affected())
}

/// Frees the transactions that somebody decided about as missing while they were paired with rows of a
/// file.
///
/// # Errors
/// Those of the database.
pub async fn free_decided(db: &mut MySqlConnection, file_no: u32) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE recon_transaction t JOIN recon_row r ON r.payment_id = t.payment_id AND r.seq = t.seq
            SET r.payment_id = NULL, r.seq = NULL, r.result = NULL
          WHERE t.standing IN ('PENDING', 'CLOSED') AND r.file_no = ?",
    )
    .bind(file_no)
    .execute(db)
    .await?;
    Ok(())
}

/// Says of every row that is not final, and not decided about, what came of it.
///
/// # Errors
/// Those of the database.
pub async fn judge(
    db: &mut MySqlConnection,
    file: &StatementFile,
    lines: Lines,
) -> sqlx::Result<()> {
    let query = format!(
        "UPDATE recon_row r LEFT JOIN recon_transaction o \
             ON o.payment_id = r.payment_id AND o.seq = r.seq \
            SET r.result = CASE \
                WHEN o.payment_id IS NULL THEN CASE \
                    WHEN EXISTS (SELECT 1 FROM recon_transaction t \
                                  WHERE ({SAME_PAYMENT} OR {SAME_APPROVAL}) \
                                    AND {FREE} AND {KEY_UNKNOWN}) THEN 'AMBIGUOUS' \
                    WHEN EXISTS (SELECT 1 FROM recon_transaction t \
                                  WHERE {SAME_PAYMENT} OR {SAME_APPROVAL}) \
                        THEN 'DUPLICATE_EXTERNAL' \
                    ELSE 'MISSING_INTERNAL' END \
                WHEN o.currency <> r.currency THEN 'CURRENCY_MISMATCH' \
                WHEN NOT r.done OR o.kind <> r.kind THEN 'STATUS_MISMATCH' \
                WHEN GREATEST(o.amount, r.amount) - LEAST(o.amount, r.amount) > ? \
                    THEN 'AMOUNT_MISMATCH' \
                WHEN ABS(DATEDIFF(o.sold_on, r.traded_on)) > ? THEN 'DATE_MISMATCH' \
                WHEN o.amount <> r.amount THEN 'MATCHED_TOLERANCE' \
                ELSE 'MATCHED' END \
          WHERE r.file_no = ? AND r.line BETWEEN ? AND ? AND r.fault IS NULL \
            AND r.standing IS NULL \
            AND (r.result IS NULL OR r.result IN \
                 ('MISSING_INTERNAL', 'DUPLICATE_EXTERNAL', 'AMBIGUOUS'))"
    );
    let tolerance = file.profile.tolerance;
    sqlx::query(AssertSqlSafe(query))
        .bind(tolerance.days)
        .bind(tolerance.days)
        .bind(tolerance.amount)
        .bind(tolerance.days)
        .bind(file.no)
        .bind(lines.from)
        .bind(lines.to)
        .execute(db)
        .await?;
    Ok(())
}

/// The rows of these lines that do not match, with their results.
///
/// # Errors
/// Those of the database.
pub async fn unmatched(
    db: &mut MySqlConnection,
    file_no: u32,
    lines: Lines,
) -> sqlx::Result<Vec<(u32, String)>> {
    sqlx::query_as(
        "SELECT line, result FROM recon_row
          WHERE file_no = ? AND line BETWEEN ? AND ?
            AND result NOT IN ('MATCHED', 'MATCHED_TOLERANCE')
          ORDER BY line",
    )
    .bind(file_no)
    .bind(lines.from)
    .bind(lines.to)
    .fetch_all(db)
    .await
}

/// What was missing in a file and is a row by now is missing no more; how many.
///
/// # Errors
/// Those of the database.
pub async fn find_missing(db: &mut MySqlConnection) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "UPDATE recon_transaction t JOIN recon_row r ON r.payment_id = t.payment_id AND r.seq = t.seq
            SET t.missing_in = NULL WHERE t.missing_in IS NOT NULL",
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// A transaction of ours that a file should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Missing {
    /// Its payment.
    pub payment_id: Uuid,
    /// The event's `seq`.
    pub seq: u32,
}

/// Transactions of a day that are no row of any file though this one, which came later, speaks for the
/// day; by payment from `after` on, at most `rows_max`. They are noted as missing in it.
///
/// # Errors
/// Those of the database.
pub async fn note_missing(
    tx: &mut MySqlConnection,
    file: &StatementFile,
    days: Days,
    after: Missing,
    rows_max: u32,
) -> sqlx::Result<Vec<Missing>> {
    let query = format!(
        "SELECT t.payment_id, t.seq FROM recon_transaction t \
          WHERE t.sold_on BETWEEN ? AND ? AND t.occurred_at < ? AND t.missing_in IS NULL \
            AND (t.payment_id > ? OR t.payment_id = ? AND t.seq > ?) AND {FREE} \
          ORDER BY t.payment_id, t.seq LIMIT ?"
    );
    let missing: Vec<Missing> = sqlx::query_as(AssertSqlSafe(query))
        .bind(days.from)
        .bind(days.to)
        .bind(file.uploaded_at)
        .bind(after.payment_id)
        .bind(after.payment_id)
        .bind(after.seq)
        .bind(rows_max)
        .fetch_all(&mut *tx)
        .await?;
    if !missing.is_empty() {
        let mut query =
            sqlx::QueryBuilder::<sqlx::MySql>::new("UPDATE recon_transaction SET missing_in = ");
        query.push_bind(file.no);
        query.push(" WHERE (payment_id, seq) IN ");
        query.push_tuples(&missing, |mut tuple, it| {
            tuple.push_bind(it.payment_id).push_bind(it.seq);
        });
        query.build().execute(tx).await?;
    }
    Ok(missing)
}
