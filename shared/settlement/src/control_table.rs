//! SQL of `settlement_control`.

use chrono::NaiveDate;
use sqlx::MySqlConnection;

/// The last day until which the sources were found equal to the payment service's totals.
///
/// # Errors
/// Those of the database.
pub async fn proven_through(db: &mut MySqlConnection) -> sqlx::Result<NaiveDate> {
    sqlx::query_scalar("SELECT proven_through FROM settlement_control")
        .fetch_one(db)
        .await
}

/// Notes that they are equal until `day`, which is over.
///
/// # Errors
/// Those of the database.
pub async fn prove(db: &mut MySqlConnection, day: NaiveDate) -> sqlx::Result<()> {
    sqlx::query("UPDATE settlement_control SET proven_through = GREATEST(proven_through, ?)")
        .bind(day)
        .execute(db)
        .await?;
    Ok(())
}
