use consumer::{Answer, Batch, Record};
use db::Retry;
use ledger::{Journal, table as ledger_table};
use sqlx::MySqlPool;

use crate::event::journal;

/// Posts the journal of every decision of a batch, each once. What tells of no decision is sent again,
/// and so becomes a dead letter.
pub(crate) async fn run(pool: &MySqlPool, batch: Batch) -> sqlx::Result<Answer> {
    let mut answer = Answer::default();
    let mut journals = Vec::new();
    for record in batch.records() {
        match journal(record) {
            Ok(journal) => journals.push(journal),
            Err(error) => {
                refuse(record, &error.to_string());
                answer.fail(record);
            }
        }
    }
    let posted = post(pool, journals).await?;
    metrics::counter!("recon_journals_posted_total").increment(posted);
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

fn refuse(record: &Record, why: &str) {
    metrics::counter!("recon_journals_refused_total").increment(1);
    tracing::warn!(
        messaging.destination = record.topic(),
        error = why,
        "refused"
    );
}
