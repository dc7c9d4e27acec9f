//! SQL of `settlement_source`.

use chrono::{DateTime, NaiveDate, Utc};
use money::{Currency, Money};
use sqlx::{FromRow, MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::{Adjustable, FeeRate, Kind, Source, Unsettled, control::DayTotal};

/// The table.
pub const TABLE: &str = "settlement_source";

/// Adds sources in one statement, all or none.
///
/// # Errors
/// Those of the database; a source that is there already is a duplicate key.
pub async fn insert(db: &mut MySqlConnection, sources: &[Source]) -> sqlx::Result<()> {
    if sources.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO settlement_source (payment_id, seq, event_id, merchant_id, kind, amount, \
             currency, captured_amount, refunded_amount, sold_on, occurred_at) ",
    );
    query.push_values(sources, |mut row, source| {
        row.push_bind(source.payment_id)
            .push_bind(source.seq)
            .push_bind(source.event_id)
            .push_bind(&source.merchant_id)
            .push_bind(source.kind.name())
            .push_bind(source.amount.minor())
            .push_bind(source.amount.currency().code())
            .push_bind(source.captured.minor())
            .push_bind(source.refunded.minor())
            .push_bind(source.sold_on())
            .push_bind(source.occurred_at);
    });
    query.build().execute(db).await?;
    Ok(())
}

/// The payments of a merchant in one currency, which are settled together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book {
    /// Whose.
    pub merchant_id: String,
    /// In what.
    pub currency: Currency,
}

/// Days, both ends included, and the moment from which on nothing counts.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
    /// What happened before.
    pub before: DateTime<Utc>,
}

/// Of whom sources are known.
///
/// # Errors
/// Those of the database.
pub async fn books(db: &mut MySqlConnection) -> sqlx::Result<Vec<Book>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT merchant_id, currency FROM settlement_source GROUP BY merchant_id, currency",
    )
    .fetch_all(db)
    .await?;
    let book = |(merchant_id, currency)| {
        Ok(Book {
            merchant_id,
            currency: parse_currency(currency)?,
        })
    };
    rows.into_iter().map(book).collect()
}

/// What is known of a book, by day and kind.
///
/// # Errors
/// Those of the database.
pub async fn day_totals(
    db: &mut MySqlConnection,
    book: &Book,
    span: Span,
) -> sqlx::Result<Vec<DayTotal>> {
    let rows: Vec<(NaiveDate, bool, i64, u64)> = sqlx::query_as(
        "SELECT sold_on, kind = 'CAPTURE', COUNT(*), CAST(SUM(amount) AS UNSIGNED)
           FROM settlement_source
          WHERE merchant_id = ? AND currency = ? AND sold_on BETWEEN ? AND ? AND occurred_at < ?
          GROUP BY 1, 2",
    )
    .bind(&book.merchant_id)
    .bind(book.currency.code())
    .bind(span.from)
    .bind(span.to)
    .bind(span.before)
    .fetch_all(db)
    .await?;
    let total = |(day, captured, count, amount): (_, _, i64, _)| DayTotal {
        merchant_id: book.merchant_id.clone(),
        currency: book.currency.code().to_owned(),
        day,
        kind: if captured {
            Kind::Capture
        } else {
            Kind::Refund
        },
        count: count.unsigned_abs(),
        amount,
    };
    Ok(rows.into_iter().map(total).collect())
}

/// The first day of a span on which something is not settled.
///
/// # Errors
/// Those of the database.
pub async fn first_unsettled_day(
    db: &mut MySqlConnection,
    book: &Book,
    span: Span,
) -> sqlx::Result<Option<NaiveDate>> {
    sqlx::query_scalar(
        "SELECT s.sold_on
           FROM settlement_source s
                LEFT JOIN settlement_item i
                  ON i.payment_id = s.payment_id AND i.seq = s.seq AND i.revision = 0
          WHERE s.merchant_id = ? AND s.currency = ? AND s.sold_on BETWEEN ? AND ?
            AND s.occurred_at < ? AND i.payment_id IS NULL
          ORDER BY s.sold_on LIMIT 1",
    )
    .bind(&book.merchant_id)
    .bind(book.currency.code())
    .bind(span.from)
    .bind(span.to)
    .bind(span.before)
    .fetch_optional(db)
    .await
}

#[derive(FromRow)]
struct Row {
    payment_id: Uuid,
    seq: u32,
    captures: bool,
    amount: u64,
    captured_amount: u64,
    refunded_amount: u64,
    captured_on: NaiveDate,
}

/// What is not settled of a day, from the payment `from` on, by payment and number, at most
/// `rows_max`.
///
/// # Errors
/// Those of the database.
pub async fn unsettled(
    db: &mut MySqlConnection,
    book: &Book,
    day: NaiveDate,
    before: DateTime<Utc>,
    from: Uuid,
    rows_max: u32,
) -> sqlx::Result<Vec<Unsettled>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT s.payment_id, s.seq, s.kind = 'CAPTURE' AS captures, s.amount, s.captured_amount,
                s.refunded_amount, c.sold_on AS captured_on
           FROM settlement_source s FORCE INDEX (ix_settlement_source_sold)
                STRAIGHT_JOIN settlement_source c
                  ON c.payment_id = s.payment_id AND c.kind = 'CAPTURE'
                LEFT JOIN settlement_item i
                  ON i.payment_id = s.payment_id AND i.seq = s.seq AND i.revision = 0
          WHERE s.merchant_id = ? AND s.currency = ? AND s.sold_on = ? AND s.payment_id >= ?
            AND s.occurred_at < ? AND i.payment_id IS NULL
          ORDER BY s.payment_id, s.seq LIMIT ?",
    )
    .bind(&book.merchant_id)
    .bind(book.currency.code())
    .bind(day)
    .bind(from)
    .bind(before)
    .bind(rows_max)
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| row.read(book.currency, day))
        .collect()
}

#[derive(FromRow)]
struct SettledRow {
    fee_bp: u16,
    revision: u16,
    #[sqlx(flatten)]
    source: Row,
}

/// What is settled of a day, of captures of the day `first` or later, after a place, by payment and
/// number, at most `rows_max`: each line as it was settled last.
///
/// # Errors
/// Those of the database.
pub async fn settled(
    db: &mut MySqlConnection,
    book: &Book,
    first: NaiveDate,
    day: NaiveDate,
    after: (Uuid, u32),
    rows_max: u32,
) -> sqlx::Result<Vec<Adjustable>> {
    let rows: Vec<SettledRow> = sqlx::query_as(
        "SELECT s.payment_id, s.seq, s.kind = 'CAPTURE' AS captures, s.amount, s.captured_amount,
                s.refunded_amount, c.sold_on AS captured_on, i.fee_bp, i.revision
           FROM settlement_source s FORCE INDEX (ix_settlement_source_sold)
                STRAIGHT_JOIN settlement_source c
                  ON c.payment_id = s.payment_id AND c.kind = 'CAPTURE' AND c.sold_on >= ?
                STRAIGHT_JOIN settlement_item i
                  ON i.payment_id = s.payment_id AND i.seq = s.seq
                 AND i.revision = (SELECT MAX(n.revision) FROM settlement_item n
                                    WHERE n.payment_id = s.payment_id AND n.seq = s.seq)
          WHERE s.merchant_id = ? AND s.currency = ? AND s.sold_on = ?
            AND (s.payment_id > ? OR s.payment_id = ? AND s.seq > ?)
          ORDER BY s.payment_id, s.seq LIMIT ?",
    )
    .bind(first)
    .bind(&book.merchant_id)
    .bind(book.currency.code())
    .bind(day)
    .bind(after.0)
    .bind(after.0)
    .bind(after.1)
    .bind(rows_max)
    .fetch_all(db)
    .await?;
    let line = |row: SettledRow| {
        let rate = FeeRate::new(row.fee_bp);
        Ok(Adjustable {
            rate: rate.map_err(|error| sqlx::Error::Decode(error.into()))?,
            revision: row.revision,
            source: row.source.read(book.currency, day)?,
        })
    };
    rows.into_iter().map(line).collect()
}

impl Row {
    fn read(self, currency: Currency, sold_on: NaiveDate) -> sqlx::Result<Unsettled> {
        let money =
            |minor| Money::new(minor, currency).map_err(|error| sqlx::Error::Decode(error.into()));
        Ok(Unsettled {
            payment_id: self.payment_id,
            seq: self.seq,
            kind: if self.captures {
                Kind::Capture
            } else {
                Kind::Refund
            },
            amount: money(self.amount)?,
            captured: money(self.captured_amount)?,
            refunded: money(self.refunded_amount)?,
            sold_on,
            captured_on: self.captured_on,
        })
    }
}

pub(crate) fn parse_currency(code: String) -> sqlx::Result<Currency> {
    let currency = Currency::try_from(code);
    currency.map_err(|error| sqlx::Error::Decode(error.into()))
}
