//! Kafka, `recon.file-uploaded`, and a schedule: holds files that are due against our transactions.

mod file;
mod told;

use chrono::{TimeDelta, Utc};
use idempotency::{REPLY_KEPT_DAYS, table as idem_table};
use keyed::Session;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use recon::file_table;
use serde::{Serialize, de::IgnoredAny};
use sqlx::mysql::MySqlConnectOptions;

const FUNCTION: &str = "recon-match";
/// Most files matched in one run; more are left to the next one.
const FILES_MAX: usize = 100;
/// Replies purged in one run; more are left to the next one.
const PURGE_ROWS_MAX: u32 = 10_000;

/// What a run did. As an answer to Kafka it says that no record failed: what a file lacks is in the
/// database, not in the event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Files matched.
    matched: usize,
    batch_item_failures: [(); 0],
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let database = db::url_from_file("DATABASE_URL_RECON_FILE")?;
    let handler = service_fn(move |_event: LambdaEvent<IgnoredAny>| {
        let database = database.clone();
        async move { Ok::<_, Error>(run(&database).await?) }
    });
    lambda_runtime::run_concurrent(handler).await
}

/// Matches what is due. Another run that is at work matches it as well.
async fn run(database: &MySqlConnectOptions) -> sqlx::Result<Report> {
    let mut session = Session::open(database, FUNCTION).await?;
    let mut matched = 0;
    if session.take_turn().await? {
        while matched < FILES_MAX
            && let Some(file) = file_table::due(session.db()).await?
        {
            file::matched(session.db(), &file).await?;
            matched += 1;
        }
    }
    let old = Utc::now() - TimeDelta::days(REPLY_KEPT_DAYS.into());
    idem_table::purge(session.db(), old, PURGE_ROWS_MAX).await?;
    session.end().await;
    metrics::counter!("recon_matches_total").increment(matched as u64);
    Ok(Report {
        matched,
        batch_item_failures: [],
    })
}
