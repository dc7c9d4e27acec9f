//! SQL of `recon_case`, and of the items that are decided about.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use crate::{Case, CaseId, ItemId, MatchResult, Operator, Stake, Standing, State, TransactionKey};

#[derive(FromRow)]
struct Columns {
    case_id: Uuid,
    file_no: u32,
    action: String,
    reason: String,
    stake: Option<i64>,
    currency: Option<String>,
    account_of: String,
    waits: bool,
    concerns: Option<Uuid>,
    key_id: String,
    operator: String,
    state_before: String,
    state_after: String,
    decided_at: DateTime<Utc>,
}

impl Columns {
    fn read(self, item_id: ItemId) -> sqlx::Result<Case> {
        let currency = self.currency.as_deref().map(str::parse).transpose();
        let worth = self.stake.zip(currency.map_err(decode)?);
        let read = |text: &str| serde_json::from_str::<State>(text).map_err(decode);
        Ok(Case {
            id: self.case_id.into(),
            item_id,
            file_no: self.file_no,
            action: self.action.parse().map_err(decode)?,
            reason: self.reason,
            stake: worth.and_then(|(minor, currency)| Stake::new(minor, currency)),
            account_of: self.account_of,
            waits: self.waits,
            concerns: self.concerns.map(Into::into),
            by: Operator {
                key_id: self.key_id,
                holder: self.operator,
            },
            before: read(&self.state_before)?,
            after: read(&self.state_after)?,
            decided_at: self.decided_at,
        })
    }
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// Holds an item until the transaction ends; `false` when there is none.
///
/// # Errors
/// Those of the database.
pub async fn lock(tx: &mut MySqlConnection, item_id: ItemId) -> sqlx::Result<bool> {
    let query = match item_id {
        ItemId::Row { file_no, line } => {
            sqlx::query("SELECT 1 FROM recon_row WHERE file_no = ? AND line = ? FOR UPDATE")
                .bind(file_no)
                .bind(line)
        }
        ItemId::Transaction(TransactionKey { payment_id, seq }) => sqlx::query(
            "SELECT 1 FROM recon_transaction
              WHERE payment_id = ? AND seq = ? AND missing_in IS NOT NULL FOR UPDATE",
        )
        .bind(payment_id.uuid())
        .bind(seq),
    };
    Ok(query.fetch_optional(tx).await?.is_some())
}

/// The decisions about an item, in their order.
///
/// # Errors
/// Those of the database.
pub async fn of_item(db: &mut MySqlConnection, item_id: ItemId) -> sqlx::Result<Vec<Case>> {
    let query = match item_id {
        ItemId::Row { file_no, line } => sqlx::query_as::<_, Columns>(
            "SELECT * FROM recon_case WHERE file_no = ? AND line = ? ORDER BY case_no",
        )
        .bind(file_no)
        .bind(line),
        ItemId::Transaction(TransactionKey { payment_id, seq }) => sqlx::query_as(
            "SELECT * FROM recon_case WHERE payment_id = ? AND seq = ? ORDER BY case_no",
        )
        .bind(payment_id.uuid())
        .bind(seq),
    };
    let rows = query.fetch_all(db).await?;
    rows.into_iter().map(|row| row.read(item_id)).collect()
}

/// Adds a decision about an item that the transaction holds.
///
/// # Errors
/// Those of the database.
pub async fn insert(tx: &mut MySqlConnection, case: &Case) -> sqlx::Result<()> {
    let (line, transaction) = match case.item_id {
        ItemId::Row { line, .. } => (Some(line), None),
        ItemId::Transaction(key) => (None, Some(key)),
    };
    let state = |state: &State| {
        serde_json::to_string(state).map_err(|it| sqlx::Error::Encode(Box::new(it)))
    };
    sqlx::query(
        "INSERT INTO recon_case
             (case_id, file_no, line, payment_id, seq, action, reason, stake, currency, account_of,
              waits, concerns, key_id, operator, state_before, state_after, decided_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(case.id.uuid())
    .bind(case.file_no)
    .bind(line)
    .bind(transaction.map(|key| key.payment_id.uuid()))
    .bind(transaction.map(|key| key.seq))
    .bind(case.action.name())
    .bind(&case.reason)
    .bind(case.stake.map(Stake::minor))
    .bind(case.stake.map(|stake| stake.currency().code()))
    .bind(&case.account_of)
    .bind(case.waits)
    .bind(case.concerns.map(CaseId::uuid))
    .bind(&case.by.key_id)
    .bind(&case.by.holder)
    .bind(state(&case.before)?)
    .bind(state(&case.after)?)
    .bind(case.decided_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Says how an item stands; `None` when its result says it.
///
/// # Errors
/// Those of the database.
pub async fn set_standing(
    tx: &mut MySqlConnection,
    item_id: ItemId,
    standing: Option<Standing>,
) -> sqlx::Result<()> {
    let standing = standing.map(Standing::name);
    let query = match item_id {
        ItemId::Row { file_no, line } => {
            sqlx::query("UPDATE recon_row SET standing = ? WHERE file_no = ? AND line = ?")
                .bind(standing)
                .bind(file_no)
                .bind(line)
        }
        ItemId::Transaction(TransactionKey { payment_id, seq }) => sqlx::query(
            "UPDATE recon_transaction SET standing = ? WHERE payment_id = ? AND seq = ?",
        )
        .bind(standing)
        .bind(payment_id.uuid())
        .bind(seq),
    };
    query.execute(tx).await?;
    Ok(())
}

/// Makes a row, which the transaction holds, this transaction of ours or none, and says what came of
/// it.
///
/// # Errors
/// Those of the database; a transaction that is another row is a duplicate key.
pub async fn pair(
    tx: &mut MySqlConnection,
    (file_no, line): (u32, u32),
    transaction: Option<TransactionKey>,
    result: Option<MatchResult>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE recon_row SET payment_id = ?, seq = ?, result = ? WHERE file_no = ? AND line = ?",
    )
    .bind(transaction.map(|key| key.payment_id.uuid()))
    .bind(transaction.map(|key| key.seq))
    .bind(result.map(MatchResult::name))
    .bind(file_no)
    .bind(line)
    .execute(tx)
    .await?;
    Ok(())
}

/// A transaction of ours, which is held until the transaction of the database ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Free {
    /// It is a row, here or elsewhere.
    pub paired: bool,
    /// It is decided about as missing.
    pub decided: bool,
}

/// Whether a transaction may become a row, other than the one it is; `None` when there is none.
///
/// # Errors
/// Those of the database.
pub async fn lock_transaction(
    tx: &mut MySqlConnection,
    key: TransactionKey,
    (file_no, line): (u32, u32),
) -> sqlx::Result<Option<Free>> {
    sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM recon_row r
                         WHERE r.payment_id = t.payment_id AND r.seq = t.seq
                           AND NOT (r.file_no = ? AND r.line = ?)) AS paired,
                t.standing IS NOT NULL AS decided
           FROM recon_transaction t WHERE t.payment_id = ? AND t.seq = ? FOR UPDATE",
    )
    .bind(file_no)
    .bind(line)
    .bind(key.payment_id.uuid())
    .bind(key.seq)
    .fetch_optional(tx)
    .await
}

/// Whether a transaction is a row by now.
///
/// # Errors
/// Those of the database.
pub async fn is_row(db: &mut MySqlConnection, key: TransactionKey) -> sqlx::Result<bool> {
    let row = sqlx::query("SELECT 1 FROM recon_row WHERE payment_id = ? AND seq = ?")
        .bind(key.payment_id.uuid())
        .bind(key.seq)
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}

/// A transaction is missing no more.
///
/// # Errors
/// Those of the database.
pub async fn found(tx: &mut MySqlConnection, key: TransactionKey) -> sqlx::Result<()> {
    sqlx::query("UPDATE recon_transaction SET missing_in = NULL WHERE payment_id = ? AND seq = ?")
        .bind(key.payment_id.uuid())
        .bind(key.seq)
        .execute(tx)
        .await?;
    Ok(())
}

/// Whose payment this is, as far as it is known here.
///
/// # Errors
/// Those of the database.
pub async fn merchant_of(
    db: &mut MySqlConnection,
    payment_id: Uuid,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT merchant_id FROM recon_transaction WHERE payment_id = ? LIMIT 1")
        .bind(payment_id)
        .fetch_optional(db)
        .await
}

/// Items of a file about which something was decided, and which are still in it; at most `items_max`.
///
/// # Errors
/// Those of the database.
pub async fn decided_in(
    db: &mut MySqlConnection,
    file_no: u32,
    items_max: u32,
) -> sqlx::Result<Vec<ItemId>> {
    let rows: Vec<(u32,)> = sqlx::query_as(
        "SELECT DISTINCT c.line FROM recon_case c
           JOIN recon_row r ON r.file_no = c.file_no AND r.line = c.line
          WHERE c.file_no = ? AND (r.result IS NULL OR r.result <> 'SUPERSEDED') LIMIT ?",
    )
    .bind(file_no)
    .bind(items_max)
    .fetch_all(&mut *db)
    .await?;
    let missing: Vec<(Uuid, u32)> = sqlx::query_as(
        "SELECT DISTINCT c.payment_id, c.seq FROM recon_case c
           JOIN recon_transaction t ON t.payment_id = c.payment_id AND t.seq = c.seq
          WHERE c.file_no = ? AND c.line IS NULL AND t.missing_in = c.file_no LIMIT ?",
    )
    .bind(file_no)
    .bind(items_max)
    .fetch_all(db)
    .await?;
    let rows = rows
        .into_iter()
        .map(|(line,)| ItemId::Row { file_no, line });
    let missing = missing
        .into_iter()
        .map(|(payment_id, seq)| ItemId::of(payment_id, seq));
    Ok(rows.chain(missing).collect())
}
