//! SQL of `payment`.

use chrono::{DateTime, Utc};
use money::Money;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{FromRow, MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::{Details, MerchantId, Payment, PaymentId, Status};

const COLUMNS: &str = "payment_id, merchant_id, order_id, status, amount, currency, \
     captured_amount, refunded_amount, captured_seq, description, customer, metadata, version, \
     created_at, updated_at, expires_at";

/// `captured_seq` of a payment that is not captured; changes are numbered from 1. A NULL would make
/// the row longer when it becomes a value.
const NOT_CAPTURED: u32 = 0;

/// Which payments a list shows; `None` leaves a condition out.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Whose.
    pub merchant_id: Option<MerchantId>,
    /// In which status.
    pub status: Option<Status>,
    /// For which order.
    pub order_id: Option<String>,
    /// Authorized at this moment or later.
    pub from: Option<DateTime<Utc>>,
    /// Authorized before this moment.
    pub before: Option<DateTime<Utc>>,
    /// Older than this payment.
    pub after: Option<PaymentId>,
}

/// Adds new payments in the caller's transaction, in one statement.
///
/// # Errors
/// Those of the database; a second payment of a merchant's order is a duplicate key.
pub async fn insert(tx: &mut MySqlConnection, payments: &[&Payment]) -> sqlx::Result<()> {
    let rows = payments
        .iter()
        .map(|payment| {
            let customer = to_json(payment.details.customer.as_ref())?;
            let metadata = to_json(payment.details.metadata.as_ref())?;
            Ok((payment, customer, metadata))
        })
        .collect::<sqlx::Result<Vec<_>>>()?;
    QueryBuilder::<MySql>::new(format!("INSERT INTO payment ({COLUMNS}) "))
        .push_values(rows, |mut row, (payment, customer, metadata)| {
            row.push_bind(payment.id.uuid())
                .push_bind(payment.merchant_id.as_str())
                .push_bind(payment.order_id.as_str())
                .push_bind(payment.status.name())
                .push_bind(payment.amount.minor())
                .push_bind(payment.amount.currency().code())
                .push_bind(payment.captured.minor())
                .push_bind(payment.refunded.minor())
                .push_bind(payment.captured_seq.unwrap_or(NOT_CAPTURED))
                .push_bind(payment.details.description.as_deref())
                .push_bind(customer)
                .push_bind(metadata)
                .push_bind(payment.version)
                .push_bind(payment.created_at.utc())
                .push_bind(payment.updated_at.utc())
                .push_bind(payment.expires_at.utc());
        })
        .build()
        .execute(tx)
        .await?;
    Ok(())
}

/// Locks payments for the rest of the caller's transaction, in the order of their ids, so that two
/// transactions never wait for each other in a circle. Unknown ids are left out.
///
/// # Errors
/// Those of the database.
pub async fn lock(tx: &mut MySqlConnection, ids: &[PaymentId]) -> sqlx::Result<Vec<Payment>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = select();
    query.push(" WHERE payment_id IN ");
    query.push_tuples(ids, |mut tuple, id| {
        tuple.push_bind(id.uuid());
    });
    query.push(" ORDER BY payment_id FOR UPDATE");
    fetch(query, tx).await
}

/// Writes changed payments, each over the version it was changed from, in one statement; a payment
/// may stand there once. The guards
/// stand here once more, so that even a caller without the row locks could not move money twice.
///
/// # Errors
/// `RowNotFound` when a payment is no longer at its version; those of the database.
pub async fn update(tx: &mut MySqlConnection, changed: &[(&Payment, u32)]) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<MySql>::new("UPDATE payment p JOIN (");
    let mut rows = query.separated(" UNION ALL ");
    for (payment, from_version) in changed {
        // A bound string without a length would put the derived table on the disk.
        rows.push("SELECT CAST(")
            .push_bind_unseparated(payment.id.uuid())
            .push_unseparated(" AS BINARY(16)) AS payment_id, ")
            .push_bind_unseparated(*from_version)
            .push_unseparated(" AS from_version, CAST(")
            .push_bind_unseparated(payment.status.name())
            .push_unseparated(" AS CHAR(20)) AS status, ")
            .push_bind_unseparated(payment.captured.minor())
            .push_unseparated(" AS captured_amount, ")
            .push_bind_unseparated(payment.refunded.minor())
            .push_unseparated(" AS refunded_amount, ")
            .push_bind_unseparated(payment.captured_seq.unwrap_or(NOT_CAPTURED))
            .push_unseparated(" AS captured_seq, ")
            .push_bind_unseparated(payment.version)
            .push_unseparated(" AS version, ")
            .push_bind_unseparated(payment.updated_at.utc())
            .push_unseparated(" AS updated_at");
    }
    query.push(
        ") n ON p.payment_id = n.payment_id
            SET p.status = n.status, p.captured_amount = n.captured_amount,
                p.refunded_amount = n.refunded_amount, p.captured_seq = n.captured_seq,
                p.version = n.version, p.updated_at = n.updated_at
          WHERE p.version = n.from_version AND p.amount >= n.captured_amount
            AND p.refunded_amount <= n.refunded_amount",
    );
    let done = query.build().execute(tx).await?;
    if done.rows_affected() == changed.len() as u64 {
        Ok(())
    } else {
        Err(sqlx::Error::RowNotFound)
    }
}

/// One payment as it stands, without a lock.
///
/// # Errors
/// Those of the database.
pub async fn find(db: &mut MySqlConnection, id: PaymentId) -> sqlx::Result<Option<Payment>> {
    let mut query = select();
    query.push(" WHERE payment_id = ").push_bind(id.uuid());
    Ok(fetch(query, db).await?.pop())
}

/// The payment of a merchant's order.
///
/// # Errors
/// Those of the database.
pub async fn id_of_order(
    db: &mut MySqlConnection,
    merchant_id: &str,
    order_id: &str,
) -> sqlx::Result<Option<PaymentId>> {
    let id = sqlx::query_scalar!(
        r#"SELECT payment_id AS "payment_id: Uuid" FROM payment
            WHERE merchant_id = ? AND order_id = ?"#,
        merchant_id,
        order_id
    )
    .fetch_optional(db)
    .await?;
    Ok(id.map(PaymentId::from))
}

/// The newest payments that pass `filter`, newest first, at most `rows_max`.
///
/// # Errors
/// Those of the database.
pub async fn list(
    db: &mut MySqlConnection,
    filter: &Filter,
    rows_max: u32,
) -> sqlx::Result<Vec<Payment>> {
    let mut query = select();
    query.push(" WHERE TRUE");
    if let Some(merchant_id) = &filter.merchant_id {
        query
            .push(" AND merchant_id = ")
            .push_bind(merchant_id.as_str());
    }
    if let Some(status) = filter.status {
        query.push(" AND status = ").push_bind(status.name());
    }
    if let Some(order_id) = &filter.order_id {
        query.push(" AND order_id = ").push_bind(order_id);
    }
    if let Some(from) = filter.from {
        query.push(" AND created_at >= ").push_bind(from);
    }
    if let Some(before) = filter.before {
        query.push(" AND created_at < ").push_bind(before);
    }
    if let Some(after) = filter.after {
        query.push(" AND payment_id < ").push_bind(after.uuid());
    }
    query
        .push(" ORDER BY payment_id DESC LIMIT ")
        .push_bind(rows_max);
    fetch(query, db).await
}

/// Authorizations that lapsed before `now`, at most `rows_max`, without a lock.
///
/// # Errors
/// Those of the database.
pub async fn lapsed(
    db: &mut MySqlConnection,
    now: DateTime<Utc>,
    rows_max: u32,
) -> sqlx::Result<Vec<PaymentId>> {
    let ids = sqlx::query_scalar!(
        r#"SELECT payment_id AS "payment_id: Uuid" FROM payment
            WHERE status = 'REQUESTED' AND expires_at <= ? ORDER BY expires_at LIMIT ?"#,
        now,
        rows_max
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(PaymentId::from).collect())
}

fn select() -> QueryBuilder<MySql> {
    QueryBuilder::new(format!("SELECT {COLUMNS} FROM payment"))
}

async fn fetch(
    mut query: QueryBuilder<MySql>,
    db: &mut MySqlConnection,
) -> sqlx::Result<Vec<Payment>> {
    let rows: Vec<Row> = query.build_query_as().fetch_all(db).await?;
    rows.into_iter().map(Payment::try_from).collect()
}

#[derive(FromRow)]
struct Row {
    payment_id: Uuid,
    merchant_id: String,
    order_id: String,
    status: String,
    amount: u64,
    currency: String,
    captured_amount: u64,
    refunded_amount: u64,
    captured_seq: u32,
    description: Option<String>,
    customer: Option<String>,
    metadata: Option<String>,
    version: u32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl TryFrom<Row> for Payment {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, Self::Error> {
        let currency = row.currency.parse().map_err(decode)?;
        let money = |minor| Money::new(minor, currency).map_err(decode);
        Ok(Self {
            id: row.payment_id.into(),
            merchant_id: row.merchant_id.into(),
            order_id: row.order_id.try_into().map_err(decode)?,
            status: row.status.parse().map_err(decode)?,
            amount: money(row.amount)?,
            captured: money(row.captured_amount)?,
            refunded: money(row.refunded_amount)?,
            captured_seq: (row.captured_seq != NOT_CAPTURED).then_some(row.captured_seq),
            details: Details {
                description: row.description,
                customer: from_json(row.customer.as_deref())?,
                metadata: from_json(row.metadata.as_deref())?,
            },
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
            expires_at: row.expires_at.into(),
            version: row.version,
        })
    }
}

fn to_json<T: Serialize>(value: Option<&T>) -> sqlx::Result<Option<String>> {
    value
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| sqlx::Error::Encode(error.into()))
}

fn from_json<T: DeserializeOwned>(text: Option<&str>) -> sqlx::Result<Option<T>> {
    text.map(serde_json::from_str).transpose().map_err(decode)
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
