use chrono::{DateTime, Utc};
use idempotency::{Claim, Reply, Stored, table as idem_table};
use sqlx::{Connection, Executor, MySqlConnection, mysql::MySqlConnectOptions};

use crate::error::SettleError;

/// How long a statement may run, in seconds: one looks at a whole day of a merchant.
const STATEMENT_TIMEOUT_S: u32 = 30;
/// How long is waited for whoever settles, in seconds; below the function's timeout.
const TURN_WITHIN_S: u32 = 25;

/// A session of the settlement database that settles alone. What it holds belongs to it: when it
/// dies or is cut off, so does the right to write, and whoever comes next goes on where it stopped.
pub(crate) struct Session(MySqlConnection);

impl Session {
    pub(crate) async fn open(database: &MySqlConnectOptions) -> sqlx::Result<Self> {
        let mut db = MySqlConnection::connect_with(database).await?;
        db::set_up(&mut db).await?;
        let bound = format!("SET SESSION max_statement_time = {STATEMENT_TIMEOUT_S}");
        db.execute(sqlx::AssertSqlSafe(bound)).await?;
        Ok(Self(db))
    }

    pub(crate) fn db(&mut self) -> &mut MySqlConnection {
        &mut self.0
    }

    /// Takes an idempotency key for as long as the session lives; `false` when another one has it.
    pub(crate) async fn take_key(&mut self, claim: &Claim) -> sqlx::Result<bool> {
        let taken: Option<i64> = sqlx::query_scalar(
            "SELECT GET_LOCK(CONCAT('settle.', SHA1(CONCAT_WS('/', DATABASE(), ?, ?))), 0)",
        )
        .bind(&claim.merchant_id)
        .bind(claim.key.as_str())
        .fetch_one(&mut self.0)
        .await?;
        Ok(taken == Some(1))
    }

    /// Waits until nobody else settles.
    pub(crate) async fn take_turn(&mut self) -> Result<(), SettleError> {
        let taken: Option<i64> =
            sqlx::query_scalar("SELECT GET_LOCK(CONCAT(DATABASE(), '.settle'), ?)")
                .bind(TURN_WITHIN_S)
                .fetch_one(&mut self.0)
                .await?;
        (taken == Some(1)).then_some(()).ok_or(SettleError::Busy)
    }

    /// The reply that the claim's key has already.
    pub(crate) async fn stored(&mut self, claim: &Claim) -> sqlx::Result<Option<Stored>> {
        let mut tx = self.0.begin().await?;
        let stored = idem_table::repeat(&mut tx, claim).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Keeps the reply under the claim's key.
    pub(crate) async fn store(
        &mut self,
        claim: &Claim,
        reply: &Reply,
        now: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        idem_table::claim(&mut self.0, &[(claim, Some(reply))], now).await
    }

    /// Ends the session, and with it what it holds.
    pub(crate) async fn end(self) {
        if let Err(error) = self.0.close().await {
            tracing::warn!(error = %error, "the session did not end in order");
        }
    }
}
