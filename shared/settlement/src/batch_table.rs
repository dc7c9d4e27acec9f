//! SQL of `settlement_batch`.

use chrono::{DateTime, NaiveDate, Utc};
use money::{Currency, Money};
use sqlx::{AssertSqlSafe, FromRow, MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::{
    Book, Closing, Contract, Cycle, Period, Revisions, SettlementId, Totals,
    source_table::parse_currency,
};

/// One merchant's settlement of one period, in one currency.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Names it.
    pub id: SettlementId,
    /// Whose payments.
    pub book: Book,
    /// The contract's.
    pub cycle: Cycle,
    /// Its days; older payments that were not settled in their own period count to it, too.
    pub period: Period,
    /// When the merchant has the money.
    pub paid_out_on: NaiveDate,
    /// Whether it is final; until then its items are being gathered.
    pub closed: bool,
    /// How many items it has.
    pub item_count: u32,
    /// Their sums.
    pub totals: Totals,
    /// Owed by the merchant from the batch before.
    pub carried_in: Money,
    /// What came of it.
    pub closing: Closing,
    /// The contracts that there were.
    pub contracts: Revisions,
    /// When it was closed, if it is.
    pub updated_at: DateTime<Utc>,
}

impl Batch {
    /// Without items, open.
    #[must_use]
    pub fn opened(
        book: Book,
        contract: Contract,
        period: Period,
        paid_out_on: NaiveDate,
        contracts: Revisions,
        now: DateTime<Utc>,
    ) -> Self {
        let nothing = Money::zero(book.currency);
        Self {
            id: SettlementId::generate(),
            book,
            cycle: contract.cycle,
            period,
            paid_out_on,
            closed: false,
            item_count: 0,
            totals: Totals::none(nothing),
            carried_in: nothing,
            closing: Closing {
                payout: nothing,
                carried: nothing,
            },
            contracts,
            updated_at: now,
        }
    }
}

/// Which batches are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this merchant alone.
    pub merchant_id: Option<String>,
    /// Whose last day is this or later.
    pub from: Option<NaiveDate>,
    /// Whose last day is this or earlier.
    pub to: Option<NaiveDate>,
    /// Made before this one.
    pub after: Option<SettlementId>,
}

const COLUMNS: &str = "SELECT settlement_id, merchant_id, currency, cycle, period_from, period_to, \
     paid_out_on, status = 'CLOSED' AS closed, item_count, captured, refunded, supply, vat, \
     reversed_supply, reversed_vat, carried_in, payout, carried_out, own_revision, \
     standard_revision, updated_at FROM settlement_batch";

#[derive(FromRow)]
struct Row {
    settlement_id: Uuid,
    merchant_id: String,
    currency: String,
    cycle: String,
    period_from: NaiveDate,
    period_to: NaiveDate,
    paid_out_on: NaiveDate,
    closed: bool,
    item_count: u32,
    captured: u64,
    refunded: u64,
    supply: u64,
    vat: u64,
    reversed_supply: u64,
    reversed_vat: u64,
    carried_in: u64,
    payout: u64,
    carried_out: u64,
    own_revision: u16,
    standard_revision: u16,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn read(self) -> sqlx::Result<Batch> {
        let currency = parse_currency(self.currency)?;
        let money = |minor| money(minor, currency);
        let cycle = self.cycle.parse::<Cycle>();
        Ok(Batch {
            id: self.settlement_id.into(),
            book: Book {
                merchant_id: self.merchant_id,
                currency,
            },
            cycle: cycle.map_err(|error| sqlx::Error::Decode(error.into()))?,
            period: Period {
                from: self.period_from,
                to: self.period_to,
            },
            paid_out_on: self.paid_out_on,
            closed: self.closed,
            item_count: self.item_count,
            totals: Totals {
                captured: money(self.captured)?,
                refunded: money(self.refunded)?,
                supply: money(self.supply)?,
                vat: money(self.vat)?,
                reversed_supply: money(self.reversed_supply)?,
                reversed_vat: money(self.reversed_vat)?,
            },
            carried_in: money(self.carried_in)?,
            closing: Closing {
                payout: money(self.payout)?,
                carried: money(self.carried_out)?,
            },
            contracts: Revisions {
                own: self.own_revision,
                standard: self.standard_revision,
            },
            updated_at: self.updated_at,
        })
    }
}

fn money(minor: u64, currency: Currency) -> sqlx::Result<Money> {
    Money::new(minor, currency).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Adds an open batch without items.
///
/// # Errors
/// Those of the database; a second one of its period is a duplicate key.
pub async fn insert(db: &mut MySqlConnection, batch: &Batch) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO settlement_batch (settlement_id, merchant_id, currency, cycle, period_from, \
             period_to, paid_out_on, own_revision, standard_revision, status, updated_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'OPEN', ?)",
    )
    .bind(batch.id.uuid())
    .bind(&batch.book.merchant_id)
    .bind(batch.book.currency.code())
    .bind(batch.cycle.name())
    .bind(batch.period.from)
    .bind(batch.period.to)
    .bind(batch.paid_out_on)
    .bind(batch.contracts.own)
    .bind(batch.contracts.standard)
    .bind(batch.updated_at)
    .execute(db)
    .await?;
    Ok(())
}

/// Adds what further items come to, in the caller's transaction.
///
/// # Errors
/// Those of the database; `RowNotFound` when the batch is not open.
pub async fn add(
    tx: &mut MySqlConnection,
    id: SettlementId,
    count: usize,
    more: Totals,
) -> sqlx::Result<()> {
    let done = sqlx::query(
        "UPDATE settlement_batch SET item_count = item_count + ?, captured = captured + ?, \
             refunded = refunded + ?, supply = supply + ?, vat = vat + ?, \
             reversed_supply = reversed_supply + ?, reversed_vat = reversed_vat + ? \
          WHERE settlement_id = ? AND status = 'OPEN'",
    )
    .bind(u64::try_from(count).unwrap_or(u64::MAX))
    .bind(more.captured.minor())
    .bind(more.refunded.minor())
    .bind(more.supply.minor())
    .bind(more.vat.minor())
    .bind(more.reversed_supply.minor())
    .bind(more.reversed_vat.minor())
    .bind(id.uuid())
    .execute(tx)
    .await?;
    one(done.rows_affected())
}

/// Locks a batch for the caller's transaction.
///
/// # Errors
/// Those of the database; `RowNotFound` when there is none.
pub async fn lock(tx: &mut MySqlConnection, id: SettlementId) -> sqlx::Result<Batch> {
    let sql = AssertSqlSafe(format!("{COLUMNS} WHERE settlement_id = ? FOR UPDATE"));
    let row: Row = sqlx::query_as(sql).bind(id.uuid()).fetch_one(tx).await?;
    row.read()
}

/// Makes a locked batch final, in the caller's transaction.
///
/// # Errors
/// Those of the database; `RowNotFound` when it is not open.
pub async fn close(tx: &mut MySqlConnection, batch: &Batch) -> sqlx::Result<()> {
    let done = sqlx::query(
        "UPDATE settlement_batch SET status = 'CLOSED', carried_in = ?, payout = ?, \
             carried_out = ?, updated_at = ? \
          WHERE settlement_id = ? AND status = 'OPEN'",
    )
    .bind(batch.carried_in.minor())
    .bind(batch.closing.payout.minor())
    .bind(batch.closing.carried.minor())
    .bind(batch.updated_at)
    .bind(batch.id.uuid())
    .execute(tx)
    .await?;
    one(done.rows_affected())
}

fn one(rows: u64) -> sqlx::Result<()> {
    if rows == 1 {
        Ok(())
    } else {
        Err(sqlx::Error::RowNotFound)
    }
}

/// The batch of a book whose items were not all gathered.
///
/// # Errors
/// Those of the database.
pub async fn open_of(db: &mut MySqlConnection, book: &Book) -> sqlx::Result<Option<Batch>> {
    let sql = format!("{COLUMNS} WHERE merchant_id = ? AND currency = ? AND status = 'OPEN'");
    let row: Option<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(&book.merchant_id)
        .bind(book.currency.code())
        .fetch_optional(db)
        .await?;
    row.map(Row::read).transpose()
}

/// The newest batch of a book that is final.
///
/// # Errors
/// Those of the database.
pub async fn last_closed(db: &mut MySqlConnection, book: &Book) -> sqlx::Result<Option<Batch>> {
    let sql = format!(
        "{COLUMNS} WHERE merchant_id = ? AND currency = ? AND status = 'CLOSED' \
         ORDER BY period_to DESC LIMIT 1"
    );
    let row: Option<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(&book.merchant_id)
        .bind(book.currency.code())
        .fetch_optional(db)
        .await?;
    row.map(Row::read).transpose()
}

/// One batch.
///
/// # Errors
/// Those of the database.
pub async fn find(db: &mut MySqlConnection, id: SettlementId) -> sqlx::Result<Option<Batch>> {
    let sql = AssertSqlSafe(format!("{COLUMNS} WHERE settlement_id = ?"));
    let row: Option<Row> = sqlx::query_as(sql)
        .bind(id.uuid())
        .fetch_optional(db)
        .await?;
    row.map(Row::read).transpose()
}

/// Batches that are final, the newest first, at most `rows_max`.
///
/// # Errors
/// Those of the database.
pub async fn list(
    db: &mut MySqlConnection,
    filter: &Filter,
    rows_max: u32,
) -> sqlx::Result<Vec<Batch>> {
    let mut query = QueryBuilder::<MySql>::new(COLUMNS);
    query.push(" WHERE status = 'CLOSED'");
    if let Some(merchant_id) = &filter.merchant_id {
        query.push(" AND merchant_id = ").push_bind(merchant_id);
    }
    if let Some(from) = filter.from {
        query.push(" AND period_to >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND period_to <= ").push_bind(to);
    }
    if let Some(after) = filter.after {
        query.push(" AND settlement_id < ").push_bind(after.uuid());
    }
    query
        .push(" ORDER BY settlement_id DESC LIMIT ")
        .push_bind(rows_max);
    let rows: Vec<Row> = query.build_query_as().fetch_all(db).await?;
    rows.into_iter().map(Row::read).collect()
}
