//! SQL of `recon_transaction`.

use std::collections::HashMap;

use source::Source;
use sqlx::{MySql, MySqlConnection, QueryBuilder};
use uuid::Uuid;

use crate::approval_number;

/// The newest `seq` that is known of each of these payments; those of which nothing is known are left
/// out.
///
/// # Errors
/// Those of the database.
pub async fn last_seqs(
    db: &mut MySqlConnection,
    payments: &[Uuid],
) -> sqlx::Result<HashMap<Uuid, u32>> {
    if payments.is_empty() {
        return Ok(HashMap::new());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT payment_id, MAX(seq) FROM recon_transaction WHERE payment_id IN ",
    );
    query.push_tuples(payments, |mut tuple, payment| {
        tuple.push_bind(payment);
    });
    query.push(" GROUP BY payment_id");
    let rows: Vec<(Uuid, u32)> = query.build_query_as().fetch_all(db).await?;
    Ok(rows.into_iter().collect())
}

/// Adds transactions in one statement, all or none.
///
/// # Errors
/// Those of the database; one that is there already is a duplicate key.
pub async fn insert(db: &mut MySqlConnection, sources: &[Source]) -> sqlx::Result<()> {
    if sources.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO recon_transaction (payment_id, seq, event_id, merchant_id, kind, amount, \
             currency, approval_number, sold_on, occurred_at) ",
    );
    query.push_values(sources, |mut row, source| {
        row.push_bind(source.payment_id)
            .push_bind(source.seq)
            .push_bind(source.event_id)
            .push_bind(&source.merchant_id)
            .push_bind(source.kind.name())
            .push_bind(source.amount.minor())
            .push_bind(source.amount.currency().code())
            .push_bind(approval_number(source.payment_id))
            .push_bind(source.sold_on())
            .push_bind(source.occurred_at);
    });
    query.build().execute(db).await?;
    Ok(())
}
