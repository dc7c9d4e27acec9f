//! SQL of the tables `lambda_host`, `lambda_lease` and `lambda_schedule`.

use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Connection, Executor, MySqlConnection};
use uuid::Uuid;

/// Readers wait for nobody; writers not longer than they are waited for. The server ends a session
/// whose runtime is cut off.
const SETTINGS: [&str; 2] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 1, wait_timeout = 60",
];

const TABLES: [&str; 3] = [
    // The runtimes there are, each with whom it counts, and when it has said so last.
    "CREATE TABLE IF NOT EXISTS lambda_host (
       runtime BINARY(16) PRIMARY KEY,
       host VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
       weight INT UNSIGNED NOT NULL,
       members TEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
       seen DATETIME(3) NOT NULL
     ) ENGINE = InnoDB",
    // Which runtime calls a function by its schedules and continuously; none that has given it back.
    "CREATE TABLE IF NOT EXISTS lambda_lease (
       function VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,
       epoch BIGINT UNSIGNED NOT NULL,
       runtime BINARY(16) NULL,
       host VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
     ) ENGINE = InnoDB",
    // When a schedule was due last, in milliseconds of Unix time. A schedule is known by a digest.
    "CREATE TABLE IF NOT EXISTS lambda_schedule (
       function VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
       schedule BINARY(32) NOT NULL,
       due BIGINT NOT NULL,
       PRIMARY KEY (function, schedule)
     ) ENGINE = InnoDB",
];

/// A connection to the cluster's database.
pub(super) struct Session(MySqlConnection);

/// A row of `lambda_host`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct HostRow {
    pub(super) runtime: Uuid,
    pub(super) host: String,
    pub(super) weight: u32,
    pub(super) members: String,
    /// Milliseconds since it was written, by the database's clock.
    pub(super) silent_ms: i64,
}

/// A row of `lambda_lease`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct LeaseRow {
    pub(super) function: String,
    pub(super) epoch: u64,
    pub(super) runtime: Option<Uuid>,
    pub(super) host: String,
}

impl HostRow {
    /// How long nothing has come from it.
    pub(super) fn silent(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.silent_ms).unwrap_or(0))
    }
}

/// A schedule of a function, as the table knows it.
#[derive(Debug, Clone)]
pub(super) struct ScheduleKey {
    pub(super) function: String,
    /// What tells it from the function's others.
    pub(super) text: String,
}

impl Session {
    /// Connects, and makes the tables that are not there.
    ///
    /// # Errors
    /// Those of the database, as of all that follow.
    pub(super) async fn open(options: &MySqlConnectOptions) -> sqlx::Result<Self> {
        let mut connection = MySqlConnection::connect_with(options).await?;
        for statement in SETTINGS.into_iter().chain(TABLES) {
            connection.execute(statement).await?;
        }
        Ok(Self(connection))
    }

    /// All hosts.
    pub(super) async fn hosts(&mut self) -> sqlx::Result<Vec<HostRow>> {
        let rows = sqlx::query_as(
            "SELECT runtime, host, weight, members,
                    TIMESTAMPDIFF(MICROSECOND, seen, UTC_TIMESTAMP(3)) DIV 1000 AS silent_ms
               FROM lambda_host",
        );
        rows.fetch_all(&mut self.0).await
    }

    /// All leases.
    pub(super) async fn leases(&mut self) -> sqlx::Result<Vec<LeaseRow>> {
        let rows = sqlx::query_as("SELECT function, epoch, runtime, host FROM lambda_lease");
        rows.fetch_all(&mut self.0).await
    }

    /// A runtime is there, and counts `members`.
    pub(super) async fn renew(
        &mut self,
        runtime: Uuid,
        host: &str,
        weight: u32,
        members: &str,
    ) -> sqlx::Result<()> {
        let row = sqlx::query(
            "INSERT INTO lambda_host (runtime, host, weight, members, seen)
             VALUES (?, ?, ?, ?, UTC_TIMESTAMP(3))
             ON DUPLICATE KEY UPDATE members = VALUES(members), seen = VALUES(seen)",
        );
        let row = row.bind(runtime).bind(host).bind(weight).bind(members);
        row.execute(&mut self.0).await?;
        Ok(())
    }

    /// A runtime is there no more.
    pub(super) async fn forget(&mut self, runtime: Uuid) -> sqlx::Result<()> {
        let row = sqlx::query("DELETE FROM lambda_host WHERE runtime = ?").bind(runtime);
        row.execute(&mut self.0).await?;
        Ok(())
    }

    /// Takes a lease whose epoch was `epoch`, or that was not there; its epoch now, unless another
    /// runtime was faster.
    pub(super) async fn take(
        &mut self,
        function: &str,
        epoch: Option<u64>,
        runtime: Uuid,
        host: &str,
    ) -> sqlx::Result<Option<u64>> {
        let Some(epoch) = epoch else {
            let row = sqlx::query("INSERT IGNORE INTO lambda_lease VALUES (?, 1, ?, ?)");
            let row = row.bind(function).bind(runtime).bind(host);
            let taken = row.execute(&mut self.0).await?.rows_affected() == 1;
            return Ok(taken.then_some(1));
        };
        let row = sqlx::query(
            "UPDATE lambda_lease SET epoch = epoch + 1, runtime = ?, host = ?
              WHERE function = ? AND epoch = ?",
        );
        let row = row.bind(runtime).bind(host).bind(function).bind(epoch);
        let taken = row.execute(&mut self.0).await?.rows_affected() == 1;
        Ok(taken.then_some(epoch + 1))
    }

    /// Gives a lease back: whoever takes it next knows that nothing runs under it any more.
    pub(super) async fn give_back(&mut self, function: &str, epoch: u64) -> sqlx::Result<()> {
        let row =
            sqlx::query("UPDATE lambda_lease SET runtime = NULL WHERE function = ? AND epoch = ?");
        row.bind(function).bind(epoch).execute(&mut self.0).await?;
        Ok(())
    }

    /// When a schedule was due last; from now on it is known, as due at `now`.
    pub(super) async fn last_due(&mut self, key: &ScheduleKey, now: i64) -> sqlx::Result<i64> {
        let row =
            sqlx::query("INSERT IGNORE INTO lambda_schedule VALUES (?, UNHEX(SHA2(?, 256)), ?)");
        let row = row.bind(&key.function).bind(&key.text).bind(now);
        row.execute(&mut self.0).await?;
        let due = sqlx::query_scalar(
            "SELECT due FROM lambda_schedule
              WHERE function = ? AND schedule = UNHEX(SHA2(?, 256))",
        );
        let due = due.bind(&key.function).bind(&key.text);
        due.fetch_one(&mut self.0).await
    }

    /// Notes that a schedule which was due `from` is due `to`, for a runtime whose lease has this
    /// epoch. False if it has lost the lease, or another time is noted. May be said again.
    pub(super) async fn note_due(
        &mut self,
        key: &ScheduleKey,
        epoch: u64,
        from: i64,
        to: i64,
    ) -> sqlx::Result<bool> {
        let row = sqlx::query(
            "UPDATE lambda_schedule JOIN lambda_lease USING (function) SET due = ?
              WHERE function = ? AND schedule = UNHEX(SHA2(?, 256)) AND due IN (?, ?) AND epoch = ?",
        );
        let row = row.bind(to).bind(&key.function).bind(&key.text);
        let row = row.bind(from).bind(to).bind(epoch);
        Ok(row.execute(&mut self.0).await?.rows_affected() == 1)
    }
}
