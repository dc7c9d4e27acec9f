//! SQL of `merchant_contract`.

use chrono::NaiveDate;
use sqlx::{FromRow, MySqlConnection};

use crate::{Contract, Contracts, Cycle, FeeRate};

/// Whose contract is that of every merchant without one of its own.
const EVERYONE: &str = "*";

#[derive(FromRow)]
struct Row {
    merchant_id: String,
    revision: u16,
    effective_from: NaiveDate,
    fee_bp: u16,
    cycle: String,
    payout_days: u8,
}

/// What was agreed with a merchant.
///
/// # Errors
/// Those of the database.
pub async fn of_merchant(db: &mut MySqlConnection, merchant_id: &str) -> sqlx::Result<Contracts> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT merchant_id, revision, effective_from, fee_bp, cycle, payout_days
           FROM merchant_contract WHERE merchant_id IN (?, ?)",
    )
    .bind(merchant_id)
    .bind(EVERYONE)
    .fetch_all(db)
    .await?;
    let mut contracts = Contracts::default();
    for row in rows {
        let decode = |cause: &dyn std::error::Error| sqlx::Error::Decode(cause.to_string().into());
        let contract = Contract {
            effective_from: row.effective_from,
            revision: row.revision,
            rate: FeeRate::new(row.fee_bp).map_err(|error| decode(&error))?,
            cycle: row.cycle.parse::<Cycle>().map_err(|error| decode(&error))?,
            payout_days: row.payout_days.into(),
        };
        if row.merchant_id == EVERYONE {
            contracts.standard.push(contract);
        } else {
            contracts.own.push(contract);
        }
    }
    Ok(contracts)
}
