use std::{io, pin::Pin, time::Duration};

use sqlx::{Connection, MySqlConnection, MySqlPool};

/// How long work may hold a connection; above a statement's own bound, below the time a caller waits
/// for its reply. Past it the connection is closed, never reused: a statement given up halfway leaves
/// its answer behind for whoever sends the next one.
const WORK_TIMEOUT: Duration = Duration::from_secs(4);

/// Work on a borrowed connection.
pub type Work<'c, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>;

/// Runs `work` in a transaction: commits when it succeeds, rolls back when it fails.
///
/// When the answer to COMMIT is lost, the error is of [`crate::Failure::Lost`] and whether the
/// transaction took place is unknown; only running the same keyed transaction again tells.
///
/// # Errors
/// Those of `work` and of the database.
pub async fn transaction<T, E, F>(pool: &MySqlPool, work: F) -> Result<T, E>
where
    T: Send,
    E: From<sqlx::Error> + Send,
    F: for<'c> FnOnce(&'c mut MySqlConnection) -> Work<'c, T, E> + Send + 'static,
{
    session(pool, |connection| {
        Box::pin(async move {
            let mut tx = connection.begin().await?;
            match work(&mut tx).await {
                Ok(done) => {
                    failpoint::at!("db.worked", sqlx::Error::from);
                    tx.commit().await?;
                    failpoint::at!("db.committed", sqlx::Error::from);
                    Ok(done)
                }
                Err(error) => {
                    if let Err(cause) = tx.rollback().await {
                        tracing::warn!(error = %cause, "rollback failed, the session ends");
                    }
                    Err(error)
                }
            }
        })
    })
    .await
}

/// Runs `work` on a connection of the pool, each statement by itself.
///
/// # Errors
/// Those of `work` and of the database.
pub async fn session<T, E, F>(pool: &MySqlPool, work: F) -> Result<T, E>
where
    E: From<sqlx::Error>,
    F: for<'c> FnOnce(&'c mut MySqlConnection) -> Work<'c, T, E>,
{
    let mut connection = pool.acquire().await?;
    if let Ok(result) = tokio::time::timeout(WORK_TIMEOUT, work(&mut connection)).await {
        return result;
    }
    drop(connection.detach());
    Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()).into())
}
