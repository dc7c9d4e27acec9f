//! Brings every service's database to the schema of `migrations/`; nothing to do is fine.
//!
//! As a function it answers an invocation; `migrate --once` runs from the command line instead.

use std::env;

use anyhow::Context;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use sqlx::{migrate::Migrator, mysql::MySqlPoolOptions};

static NOTIFY: Migrator = sqlx::migrate!("../../migrations/notify");
static PAYMENT: Migrator = sqlx::migrate!("../../migrations/payment");
static SETTLEMENT: Migrator = sqlx::migrate!("../../migrations/settlement");
static RECON: Migrator = sqlx::migrate!("../../migrations/recon");
static DLQ: Migrator = sqlx::migrate!("../../migrations/dlq");

/// The newest migration of each database.
#[derive(Serialize)]
struct Migrated {
    notify: i64,
    payment: i64,
    settlement: i64,
    recon: i64,
    dlq: i64,
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
    Ok(Migrated {
        notify: bring("notify", "DATABASE_URL_NOTIFY_MIGRATE_FILE", &NOTIFY).await?,
        payment: bring("payment", "DATABASE_URL_PAYMENT_MIGRATE_FILE", &PAYMENT).await?,
        settlement: bring(
            "settlement",
            "DATABASE_URL_SETTLEMENT_MIGRATE_FILE",
            &SETTLEMENT,
        )
        .await?,
        recon: bring("recon", "DATABASE_URL_RECON_MIGRATE_FILE", &RECON).await?,
        dlq: bring("dlq", "DATABASE_URL_DLQ_MIGRATE_FILE", &DLQ).await?,
    })
}

/// Runs what is missing in the database of `service`; the newest migration.
async fn bring(service: &str, url: &'static str, migrator: &Migrator) -> anyhow::Result<i64> {
    let options = db::url_from_file(url)?;
    let pool = MySqlPoolOptions::new().max_connections(1);
    let migrated = async { migrator.run(&pool.connect_with(options).await?).await };
    let database = || format!("{service} database");
    migrated.await.with_context(database)?;
    let newest = migrator.iter().last();
    let newest = newest.with_context(|| format!("migrations/{service} is empty"))?;
    tracing::info!(db.name = service, db.version = newest.version, "migrated");
    Ok(newest.version)
}
