//! SQL of `ledger_entry`. The functions' database user may insert and read, nothing else.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::Journal;

/// A stored entry, as it is shown.
#[derive(Clone, Debug)]
pub struct Row {
    /// The journal.
    pub seq: u32,
    /// The account debited.
    pub debit_account: String,
    /// The account credited.
    pub credit_account: String,
    /// In the currency's minor unit.
    pub amount: u64,
    /// ISO 4217 code.
    pub currency: String,
    /// The journal this entry reverses.
    pub reverses_seq: Option<u32>,
    /// When it was posted.
    pub posted_at: DateTime<Utc>,
}

/// Posts journals in the caller's transaction, in one statement.
///
/// # Errors
/// Those of the database; a journal already posted is a duplicate key.
pub async fn insert(tx: &mut MySqlConnection, journals: &[Journal]) -> sqlx::Result<()> {
    let lines = journals.iter().flat_map(|journal| {
        (0_u8..)
            .zip(&journal.entries)
            .map(move |(line, entry)| (journal, line, entry))
    });
    QueryBuilder::<MySql>::new(
        "INSERT INTO ledger_entry (subject_id, seq, line, merchant_id, debit_account, \
         credit_account, amount, currency, reverses_seq, reverses_line, posted_at) ",
    )
    .push_values(lines, |mut row, (journal, line, entry)| {
        row.push_bind(journal.subject_id)
            .push_bind(journal.seq)
            .push_bind(line)
            .push_bind(&journal.merchant_id)
            .push_bind(entry.debit().name())
            .push_bind(entry.credit().name())
            .push_bind(entry.amount().minor())
            .push_bind(entry.amount().currency().code())
            .push_bind(entry.reverses().map(|reversed| reversed.seq))
            .push_bind(entry.reverses().map(|reversed| reversed.line))
            .push_bind(journal.posted_at);
    })
    .build()
    .execute(tx)
    .await?;
    Ok(())
}

/// Every entry of a subject, in the order of posting.
///
/// # Errors
/// Those of the database.
pub async fn of_subject(db: &mut MySqlConnection, subject_id: Uuid) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT seq, debit_account, credit_account, amount, currency, reverses_seq,
                  posted_at AS "posted_at: _"
             FROM ledger_entry WHERE subject_id = ? ORDER BY seq, line"#,
        subject_id
    )
    .fetch_all(db)
    .await
}

/// Captures or refunds of a merchant, added up.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Whose payments.
    pub merchant_id: String,
    /// ISO 4217 code.
    pub currency: String,
    /// The day, in Asia/Seoul.
    pub day: NaiveDate,
    /// Captured; else refunded.
    pub captured: bool,
    /// How often.
    pub count: i64,
    /// In the currency's minor unit.
    pub amount: u64,
}

/// What was captured and refunded from one moment until before another. Korea keeps one offset all
/// year.
///
/// # Errors
/// Those of the database.
pub async fn moved(
    db: &mut MySqlConnection,
    from: DateTime<Utc>,
    before: DateTime<Utc>,
) -> sqlx::Result<Vec<Moved>> {
    sqlx::query_as!(
        Moved,
        r#"SELECT merchant_id, currency, DATE(posted_at + INTERVAL 9 HOUR) AS "day!: NaiveDate",
                  debit_account = 'asset:network-receivable' AS "captured!: bool",
                  COUNT(*) AS "count!: i64", CAST(SUM(amount) AS UNSIGNED) AS "amount!: u64"
             FROM ledger_entry FORCE INDEX (ix_ledger_entry_posted)
            WHERE posted_at >= ? AND posted_at < ?
              AND (debit_account, credit_account) IN
                  (('asset:network-receivable', 'liability:merchant-payable'),
                   ('liability:merchant-payable', 'asset:network-receivable'))
            GROUP BY 1, 2, 3, 4"#,
        from,
        before
    )
    .fetch_all(db)
    .await
}

/// When the first entry from `from` on was posted.
///
/// # Errors
/// Those of the database.
pub async fn first_posted(
    db: &mut MySqlConnection,
    from: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        r#"SELECT MIN(posted_at) AS "at: DateTime<Utc>" FROM ledger_entry WHERE posted_at >= ?"#,
        from
    )
    .fetch_one(db)
    .await
}

/// Posts the journals that are not posted yet; how many. One without entries posts nothing.
///
/// # Errors
/// Those of the database; a journal that another transaction posts at the same moment is a duplicate
/// key.
pub async fn insert_new(tx: &mut MySqlConnection, mut journals: Vec<Journal>) -> sqlx::Result<u64> {
    let name = |journal: &Journal| (journal.subject_id, journal.seq);
    journals.retain(|journal| !journal.entries.is_empty());
    let asked: Vec<(Uuid, u32)> = journals.iter().map(name).collect();
    let mut seen = posted(tx, &asked).await?;
    journals.retain(|journal| seen.insert(name(journal)));
    if !journals.is_empty() {
        insert(tx, &journals).await?;
    }
    Ok(journals.len() as u64)
}

/// Which of these journals are posted, each by its subject and `seq`.
async fn posted(
    tx: &mut MySqlConnection,
    journals: &[(Uuid, u32)],
) -> sqlx::Result<HashSet<(Uuid, u32)>> {
    if journals.is_empty() {
        return Ok(HashSet::new());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT DISTINCT subject_id, seq FROM ledger_entry WHERE (subject_id, seq) IN ",
    );
    query.push_tuples(journals, |mut tuple, (subject, seq)| {
        tuple.push_bind(*subject).push_bind(*seq);
    });
    let found = query.build_query_as().fetch_all(tx).await?;
    Ok(found.into_iter().collect())
}
