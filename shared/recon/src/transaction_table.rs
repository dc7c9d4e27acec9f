//! SQL of `recon_transaction`.

use source::Source;
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::approval_number;

/// The table.
pub const TABLE: &str = "recon_transaction";

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
