use chrono::Utc;
use consumer::{Answer, Batch, Record};
use signature::KeyRing;
use sqlx::MySqlPool;
use webhook::{New, delivery_table};

use crate::event::webhook;

/// Notes the webhook of every event of a batch, each once. What holds no such event is sent again, and
/// so becomes a dead letter.
pub(crate) async fn run(pool: &MySqlPool, keys: &KeyRing, batch: Batch) -> sqlx::Result<Answer> {
    let mut answer = Answer::default();
    let mut new: Vec<New> = Vec::new();
    for record in batch.records() {
        match webhook(record, keys) {
            Ok(webhook) => new.push(webhook),
            Err(error) => {
                refuse(record, &error.to_string());
                answer.fail(record);
            }
        }
    }
    metrics::counter!("webhook_events_total").increment(new.len() as u64);
    db::session(pool, |db| {
        Box::pin(async move { delivery_table::insert(db, &new, Utc::now()).await })
    })
    .await?;
    Ok(answer)
}

fn refuse(record: &Record, why: &str) {
    let topic = record.topic().to_owned();
    metrics::counter!("webhook_events_refused_total", "topic" => topic).increment(1);
    tracing::warn!(
        messaging.destination = record.topic(),
        error = why,
        "refused"
    );
}
