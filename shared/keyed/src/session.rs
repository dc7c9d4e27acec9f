use idempotency::{Claim, Stored, table as idem_table};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, mysql::MySqlConnectOptions};

/// How long a statement may run, in seconds: these look at more than one payment.
const STATEMENT_TIMEOUT_S: u32 = 30;
/// How long is waited for the one whose turn it is, in seconds; below a function's timeout.
const TURN_WITHIN_S: u32 = 25;

/// A database session of its own for one invocation of a function.
pub struct Session {
    db: MySqlConnection,
    name: &'static str,
}

impl Session {
    /// One of the function `name`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn open(database: &MySqlConnectOptions, name: &'static str) -> sqlx::Result<Self> {
        let mut db = MySqlConnection::connect_with(database).await?;
        db::set_up(&mut db).await?;
        let bound = format!("SET SESSION max_statement_time = {STATEMENT_TIMEOUT_S}");
        db.execute(AssertSqlSafe(bound)).await?;
        Ok(Self { db, name })
    }

    /// Its connection.
    pub fn db(&mut self) -> &mut MySqlConnection {
        &mut self.db
    }

    /// Waits until no other session of the function has the turn, and keeps it as long as this one
    /// lives; `false` when it took too long.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn take_turn(&mut self) -> sqlx::Result<bool> {
        let taken: Option<i64> =
            sqlx::query_scalar("SELECT GET_LOCK(CONCAT(DATABASE(), '.', ?), ?)")
                .bind(self.name)
                .bind(TURN_WITHIN_S)
                .fetch_one(&mut self.db)
                .await?;
        Ok(taken == Some(1))
    }

    /// Takes an idempotency key for as long as the session lives; `false` when another one has it.
    pub(crate) async fn take_key(&mut self, claim: &Claim) -> sqlx::Result<bool> {
        let taken: Option<i64> = sqlx::query_scalar(
            "SELECT GET_LOCK(CONCAT('key.', SHA1(CONCAT_WS('/', DATABASE(), ?, ?))), 0)",
        )
        .bind(&claim.merchant_id)
        .bind(claim.key.as_str())
        .fetch_one(&mut self.db)
        .await?;
        Ok(taken == Some(1))
    }

    /// The reply that the claim's key has already.
    pub(crate) async fn stored(&mut self, claim: &Claim) -> sqlx::Result<Option<Stored>> {
        let mut tx = self.db.begin().await?;
        let stored = idem_table::repeat(&mut tx, claim).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Ends the session, and with it what it holds.
    pub async fn end(self) {
        if let Err(error) = self.db.close().await {
            tracing::warn!(error = %error, "the session did not end in order");
        }
    }
}
