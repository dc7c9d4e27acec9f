//! Posts in the payment ledger what events of other services tell, each journal once.

use std::fmt::Display;

use consumer::{Answer, Batch, Record};
use db::Retry;
use ledger::{Journal, table as ledger_table};
use sqlx::MySqlPool;

/// Names of the counters of a function.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// Journals that were not posted before.
    pub posted: &'static str,
    /// Records that tell of no journal.
    pub refused: &'static str,
}

/// Posts the journals of a batch that are not posted yet. A record that tells of none is sent again,
/// and so becomes a dead letter.
///
/// # Errors
/// Those of the database.
pub async fn run<E: Display>(
    pool: &MySqlPool,
    batch: &Batch,
    journal: impl Fn(&Record) -> Result<Journal, E>,
    counters: Counters,
) -> sqlx::Result<Answer> {
    let mut answer = Answer::default();
    let mut journals = Vec::new();
    for record in batch.records() {
        match journal(record) {
            Ok(journal) => journals.push(journal),
            Err(error) => {
                metrics::counter!(counters.refused).increment(1);
                tracing::warn!(
                    messaging.destination = record.topic(),
                    error = %error,
                    "refused"
                );
                answer.fail(record);
            }
        }
    }
    let posted = post(pool, journals).await?;
    metrics::counter!(counters.posted).increment(posted);
    Ok(answer)
}

/// How many were not posted before. Of two that post the same at the same moment one fails; its
/// records come again, and are then found posted.
async fn post(pool: &MySqlPool, journals: Vec<Journal>) -> sqlx::Result<u64> {
    let mut retry = Retry::new();
    loop {
        let journals = journals.clone();
        let posted = db::transaction(pool, |tx| Box::pin(ledger_table::insert_new(tx, journals)));
        match posted.await {
            Err(error) if retry.again(&error).await => {}
            result => return result,
        }
    }
}
