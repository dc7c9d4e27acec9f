use anyhow::Context;
use chrono::{DateTime, Utc};
use sqlx::{Connection, Executor, MySqlConnection};

/// Rows read at once.
pub(crate) const CHUNK_ROWS: u32 = 5_000;

/// One state of the database, whatever is written meanwhile.
pub(crate) struct Snapshot {
    pub(crate) db: MySqlConnection,
    /// When it was taken, by the database's clock.
    pub(crate) taken: DateTime<Utc>,
}

impl Snapshot {
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let mut db = MySqlConnection::connect(url)
            .await
            .context("the database")?;
        db.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
        db.execute("SET SESSION max_statement_time = 0").await?;
        db.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            .await?;
        let taken = sqlx::query_scalar("SELECT UTC_TIMESTAMP(3)")
            .fetch_one(&mut db)
            .await?;
        Ok(Self { db, taken })
    }

    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        self.db.execute("COMMIT").await?;
        Ok(self.db.close().await?)
    }
}
