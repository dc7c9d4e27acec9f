//! SQL of `webhook_gone`: the endpoints that answered 410, by merchant and SHA-256 of the URL.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::MySqlConnection;
use url::Url;

/// The SHA-256 of each merchant's URL that answered 410.
///
/// # Errors
/// Those of the database.
pub async fn all(db: &mut MySqlConnection) -> sqlx::Result<HashMap<String, Vec<u8>>> {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT merchant_id, url_sha256 FROM webhook_gone")
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().collect())
}

/// Notes that a merchant's URL is called no more.
///
/// # Errors
/// Those of the database.
pub async fn insert(
    db: &mut MySqlConnection,
    merchant_id: &str,
    url: &Url,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query("REPLACE INTO webhook_gone (merchant_id, url_sha256, gone_at) VALUES (?, ?, ?)")
        .bind(merchant_id)
        .bind(fingerprint(url))
        .bind(now)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets it: the merchant names another URL.
///
/// # Errors
/// Those of the database.
pub async fn delete(db: &mut MySqlConnection, merchant_id: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM webhook_gone WHERE merchant_id = ?")
        .bind(merchant_id)
        .execute(db)
        .await?;
    Ok(())
}

/// What stands for a URL, which may hold a secret of the merchant's.
#[must_use]
pub fn fingerprint(url: &Url) -> Vec<u8> {
    Sha256::digest(url.as_str()).to_vec()
}
