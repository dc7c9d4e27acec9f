//! Brings every service's database to the schema of `migrations/`; nothing to do is fine.
//!
//! As a function it answers an invocation; `migrate --once` runs from the command line instead.

use std::env;

use anyhow::{Context, bail};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use sqlx::{migrate::Migrator, mysql::MySqlPoolOptions};

static PAYMENT: Migrator = sqlx::migrate!("../../migrations/payment");

/// The newest migration of each database.
#[derive(Serialize)]
struct Migrated {
    payment: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => {
            let handler =
                service_fn(|_event: LambdaEvent<Value>| async { Ok::<_, Error>(migrate().await?) });
            lambda_runtime::run_concurrent(handler).await
        }
        ["--once"] => {
            migrate().await?;
            Ok(())
        }
        _ => Err("usage: migrate [--once]".into()),
    }
}

async fn migrate() -> anyhow::Result<Migrated> {
    let options = db::url_from_file("DATABASE_URL_PAYMENT_MIGRATE_FILE")?;
    let pool = MySqlPoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await;
    let pool = pool.context("payment database")?;
    PAYMENT.run(&pool).await.context("payment database")?;
    let Some(newest) = PAYMENT.iter().last() else {
        bail!("migrations/payment is empty")
    };
    tracing::info!(db.name = "payment", db.version = newest.version, "migrated");
    Ok(Migrated {
        payment: newest.version,
    })
}
