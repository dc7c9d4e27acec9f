use std::{env, fs, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, Executor, MySqlConnection,
    mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions},
};

/// Connections one function instance opens at most.
pub const CONNECTIONS_MAX: u32 = 16;
/// How long a statement may run, in seconds; above the lock wait, below the function's timeout.
const STATEMENT_TIMEOUT_S: u64 = 3;
/// How long a statement waits for a lock, in seconds.
const LOCK_WAIT_S: u64 = 2;
/// A hasty session's statement does not wait for a lock.
const NO_LOCK_WAIT_S: u64 = 0;
/// How long a request waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection idle for longer is asked whether it lives before it is used: after the database was
/// restarted the whole pool is dead at once, and a request would use its attempts up on it.
const ASKED_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Prepared statements kept per connection: every batch size is a statement of its own.
const STATEMENTS_KEPT_MAX: usize = 256;

/// Why the database cannot be addressed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The variable that names the URL's file is missing.
    #[error("{variable} must name a file that holds the database URL")]
    Variable {
        /// The environment variable.
        variable: &'static str,
    },
    /// The file cannot be read.
    #[error("{variable}: cannot read {path}: {source}")]
    File {
        /// The environment variable.
        variable: &'static str,
        /// What it names.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The file holds no MySQL URL. The URL itself is a secret and not shown.
    #[error("{variable}: the file holds no mysql:// URL")]
    Url {
        /// The environment variable.
        variable: &'static str,
    },
}

/// Reads a database URL from the file that the environment variable `variable` names.
///
/// # Errors
/// [`ConfigError`], naming the variable.
pub fn url_from_file(variable: &'static str) -> Result<MySqlConnectOptions, ConfigError> {
    let path = env::var(variable).map_err(|_| ConfigError::Variable { variable })?;
    let url = fs::read_to_string(&path).map_err(|source| ConfigError::File {
        variable,
        path,
        source,
    })?;
    let options: MySqlConnectOptions = url
        .trim()
        .parse()
        .map_err(|_| ConfigError::Url { variable })?;
    Ok(options.statement_cache_capacity(STATEMENTS_KEPT_MAX))
}

/// A pool that connects when first used, so that a function starts while the database is away.
///
/// Sessions run at READ COMMITTED: the payment row is locked first and every update repeats its
/// guard, and this level takes no gap locks that would let unrelated payments wait.
#[must_use]
pub fn pool(options: MySqlConnectOptions) -> MySqlPool {
    pool_that_waits(options, LOCK_WAIT_S)
}

/// As [`pool`], but a statement that meets another transaction's lock fails at once with
/// [`crate::Failure::LockWait`].
#[must_use]
pub fn hasty_pool(options: MySqlConnectOptions) -> MySqlPool {
    pool_that_waits(options, NO_LOCK_WAIT_S)
}

fn pool_that_waits(options: MySqlConnectOptions, lock_wait_s: u64) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, seen| {
            Box::pin(async move {
                if seen.idle_for >= ASKED_AFTER_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| Box::pin(bound(connection, lock_wait_s)))
        .connect_lazy_with(options)
}

/// Gives a fresh session the isolation and the bounds that every statement relies on.
///
/// # Errors
/// Those of the database.
pub async fn set_up(connection: &mut MySqlConnection) -> sqlx::Result<()> {
    bound(connection, LOCK_WAIT_S).await
}

async fn bound(connection: &mut MySqlConnection, lock_wait_s: u64) -> sqlx::Result<()> {
    connection
        .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .await?;
    let bounds = format!(
        "SET SESSION innodb_lock_wait_timeout = {lock_wait_s}, \
         max_statement_time = {STATEMENT_TIMEOUT_S}"
    );
    connection.execute(AssertSqlSafe(bounds)).await?;
    Ok(())
}
