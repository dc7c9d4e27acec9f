//! SQL that shows both sides of what was reconciled.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{FromRow, MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::{FileId, ItemId, MatchResult, Standing, TransactionKey, verdict::Verdict};

/// Which items are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of the file with this number.
    pub file_no: Option<u32>,
    /// With this result.
    pub result: Option<MatchResult>,
    /// That are to be looked at, or are not.
    pub standing: Option<Standing>,
    /// After this one.
    pub after: Option<ItemId>,
}

/// An item as the database has it: a row with our transaction, if it is one, or a transaction that is
/// missing in a file.
#[derive(Clone, Debug, FromRow)]
pub struct Item {
    /// The file.
    pub file_id: Uuid,
    /// Its number.
    pub file_no: u32,
    /// The row's line; `None` when the file does not have it.
    pub line: Option<u32>,
    /// `PENDING` or `CLOSED` when somebody decided so.
    pub standing: Option<String>,
    /// What came of it; `None` before it is matched.
    pub result: Option<String>,
    /// Why the row cannot be read.
    pub fault: Option<String>,
    /// Payment of their transaction key.
    pub key_payment: Option<Uuid>,
    /// The event's `seq` in it.
    pub key_seq: Option<u32>,
    /// The payment they name.
    pub named_payment: Option<Uuid>,
    /// Their transaction key, when it is none of ours.
    pub reference: Option<String>,
    /// Their approval number.
    pub approval_number: Option<String>,
    /// `CAPTURE` or `REFUND`.
    pub kind: Option<String>,
    /// Whether it took place for them.
    pub done: Option<bool>,
    /// In the currency's minor unit.
    pub amount: Option<u64>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// The day they name.
    pub traded_on: Option<NaiveDate>,
    /// Our payment.
    pub payment_id: Option<Uuid>,
    /// The event's `seq`.
    pub seq: Option<u32>,
    /// Whose payment.
    pub merchant_id: Option<String>,
    /// What moved, for us.
    pub our_kind: Option<String>,
    /// How much, for us.
    pub our_amount: Option<u64>,
    /// In what, for us.
    pub our_currency: Option<String>,
    /// The day, for us.
    pub sold_on: Option<NaiveDate>,
    /// When, for us.
    pub occurred_at: Option<DateTime<Utc>>,
}

const OURS: &str = "t.payment_id, t.seq, t.merchant_id, t.kind AS our_kind, \
     t.amount AS our_amount, t.currency AS our_currency, t.sold_on, t.occurred_at";
const ROWS: &str = "f.file_id, r.file_no, r.line, r.standing, r.result, r.fault, r.key_payment, r.key_seq, \
     r.named_payment, r.reference, r.approval_number, r.kind, r.done, r.amount, r.currency, \
     r.traded_on";
const NO_ROW: &str = "f.file_id, f.file_no, NULL AS line, t.standing, 'MISSING_EXTERNAL' AS result, \
     NULL AS fault, NULL AS key_payment, NULL AS key_seq, NULL AS named_payment, \
     NULL AS reference, NULL AS approval_number, NULL AS kind, NULL AS done, NULL AS amount, \
     NULL AS currency, NULL AS traded_on";

const FROM_ROWS: &str = "FROM recon_row r JOIN recon_file f ON f.file_no = r.file_no \
     LEFT JOIN recon_transaction t ON t.payment_id = r.payment_id AND t.seq = r.seq";
const FROM_MISSING: &str = "FROM recon_transaction t JOIN recon_file f ON f.file_no = t.missing_in";

impl Item {
    /// Names it; `None` when it is neither a row nor a transaction.
    #[must_use]
    pub fn id(&self) -> Option<ItemId> {
        let file_no = self.file_no;
        let row = self.line.map(|line| ItemId::Row { file_no, line });
        row.or_else(|| self.transaction().map(ItemId::Transaction))
    }

    /// Our transaction.
    #[must_use]
    pub fn transaction(&self) -> Option<TransactionKey> {
        let payment_id = self.payment_id?.into();
        let seq = self.seq?;
        Some(TransactionKey { payment_id, seq })
    }

    /// What came of it; `None` before it is matched.
    #[must_use]
    pub fn result(&self) -> Option<MatchResult> {
        self.result.as_deref()?.parse().ok()
    }

    /// Whether something is to be done about it; `None` before it is matched.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let decided = self.standing.as_deref().and_then(|name| name.parse().ok());
        decided.or_else(|| self.result().map(MatchResult::standing))
    }
}

/// One item.
///
/// # Errors
/// Those of the database.
pub async fn find(db: &mut MySqlConnection, id: ItemId) -> sqlx::Result<Option<Item>> {
    let mut query = match id {
        ItemId::Row { file_no, line } => {
            let mut query =
                QueryBuilder::<MySql>::new(format!("SELECT {ROWS}, {OURS} {FROM_ROWS}"));
            query.push(" WHERE r.file_no = ").push_bind(file_no);
            query.push(" AND r.line = ").push_bind(line);
            query
        }
        ItemId::Transaction(TransactionKey { payment_id, seq }) => {
            let mut query = QueryBuilder::new(format!("SELECT {NO_ROW}, {OURS} {FROM_MISSING}"));
            query
                .push(" WHERE t.payment_id = ")
                .push_bind(payment_id.uuid());
            query.push(" AND t.seq = ").push_bind(seq);
            query
        }
    };
    query.build_query_as().fetch_optional(db).await
}

/// Items, the rows of files first, by file and line, then our transactions that are missing in one, by
/// key; at most `rows_max`.
///
/// # Errors
/// Those of the database.
pub async fn list(
    db: &mut MySqlConnection,
    filter: &Filter,
    rows_max: u32,
) -> sqlx::Result<Vec<Item>> {
    let mut items = Vec::new();
    let past_rows = matches!(filter.after, Some(ItemId::Transaction(_)));
    if !past_rows && filter.result != Some(MatchResult::MissingExternal) {
        let mut query = rows(filter, rows_max);
        items = query.build_query_as().fetch_all(&mut *db).await?;
    }
    let left = rows_max.saturating_sub(u32::try_from(items.len()).unwrap_or(rows_max));
    let wanted = filter
        .result
        .is_none_or(|it| it == MatchResult::MissingExternal);
    if left > 0 && wanted {
        let mut query = missing(filter, left);
        items.extend(query.build_query_as::<Item>().fetch_all(db).await?);
    }
    Ok(items)
}

fn rows(filter: &Filter, rows_max: u32) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new(format!("SELECT {ROWS}, {OURS} {FROM_ROWS} WHERE 1 = 1"));
    if let Some(file_no) = filter.file_no {
        query.push(" AND r.file_no = ").push_bind(file_no);
    }
    if let Some(result) = filter.result {
        query.push(" AND r.result = ").push_bind(result.name());
    }
    match filter.standing {
        Some(Standing::Closed) => {
            query.push(" AND (r.result IN ('MATCHED', 'MATCHED_TOLERANCE', 'SUPERSEDED')");
            query.push(" OR r.standing = 'CLOSED')");
        }
        Some(Standing::Open) => {
            query.push(" AND r.result NOT IN ('MATCHED', 'MATCHED_TOLERANCE', 'SUPERSEDED')");
            query.push(" AND r.standing IS NULL");
        }
        Some(Standing::Pending) => {
            query.push(" AND r.standing = 'PENDING'");
        }
        None => {}
    }
    if let Some(ItemId::Row { file_no, line }) = filter.after {
        query.push(" AND (r.file_no > ").push_bind(file_no);
        query.push(" OR r.file_no = ").push_bind(file_no);
        query.push(" AND r.line > ").push_bind(line).push(")");
    }
    query
        .push(" ORDER BY r.file_no, r.line LIMIT ")
        .push_bind(rows_max);
    query
}

fn missing(filter: &Filter, rows_max: u32) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new(format!(
        "SELECT {NO_ROW}, {OURS} {FROM_MISSING} WHERE t.missing_in IS NOT NULL"
    ));
    if let Some(file_no) = filter.file_no {
        query.push(" AND t.missing_in = ").push_bind(file_no);
    }
    match filter.standing {
        Some(Standing::Open) => {
            query.push(" AND t.standing IS NULL");
        }
        Some(decided) => {
            query.push(" AND t.standing = ").push_bind(decided.name());
        }
        None => {}
    }
    if let Some(ItemId::Transaction(TransactionKey { payment_id, seq })) = filter.after {
        query
            .push(" AND (t.payment_id > ")
            .push_bind(payment_id.uuid());
        query
            .push(" OR t.payment_id = ")
            .push_bind(payment_id.uuid());
        query.push(" AND t.seq > ").push_bind(seq).push(")");
    }
    query
        .push(" ORDER BY t.payment_id, t.seq LIMIT ")
        .push_bind(rows_max);
    query
}

/// How many items of a file have which result; those that are not matched yet are left out.
///
/// # Errors
/// Those of the database.
pub async fn counts(
    db: &mut MySqlConnection,
    file_no: u32,
) -> sqlx::Result<Vec<(MatchResult, u64)>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT result, COUNT(*) FROM recon_row
                  WHERE file_no = ? AND result IS NOT NULL GROUP BY result
                 UNION ALL
                 SELECT 'MISSING_EXTERNAL', COUNT(*) FROM recon_transaction WHERE missing_in = ?",
    )
    .bind(file_no)
    .bind(file_no)
    .fetch_all(db)
    .await?;
    let count = |(name, count): (String, i64)| Ok((parse(&name)?, count.unsigned_abs()));
    rows.into_iter().map(count).collect()
}

/// What files say of the captures and refunds of a payment, by `seq`.
///
/// # Errors
/// Those of the database.
pub async fn of_payment(db: &mut MySqlConnection, payment_id: Uuid) -> sqlx::Result<Vec<Verdict>> {
    let rows: Vec<(u32, String, Uuid, Option<u32>)> = sqlx::query_as(
        "SELECT t.seq, COALESCE(r.result, 'MISSING_EXTERNAL'), f.file_id, r.line
           FROM recon_transaction t
           LEFT JOIN recon_row r ON r.payment_id = t.payment_id AND r.seq = t.seq
           JOIN recon_file f ON f.file_no = COALESCE(r.file_no, t.missing_in)
          WHERE t.payment_id = ? AND (r.file_no IS NULL OR r.result IS NOT NULL)
          ORDER BY t.seq",
    )
    .bind(payment_id)
    .fetch_all(db)
    .await?;
    let verdict = |(seq, result, file_id, line): (u32, String, Uuid, Option<u32>)| {
        Ok(Verdict {
            seq,
            result: parse(&result)?,
            file_id: FileId::from(file_id).to_string(),
            line,
        })
    };
    rows.into_iter().map(verdict).collect()
}

fn parse(result: &str) -> sqlx::Result<MatchResult> {
    let result = result.parse();
    result.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
