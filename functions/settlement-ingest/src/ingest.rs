use std::collections::HashMap;

use consumer::{Answer, Batch, Record};
use settlement::{Source, source_table};
use sqlx::{MySqlConnection, MySqlPool};
use uuid::Uuid;

use crate::event::{SourceError, source};

type Told<'a> = Vec<(&'a Record, Result<Source, SourceError>)>;

/// Notes the captures and refunds of a batch, each once. What tells of no such thing, or comes before
/// what it follows, is sent again. So is a whole batch whose outcome is unknown, or which another
/// instance was just noting: then its sources are known.
pub(crate) async fn run(pool: &MySqlPool, batch: Batch) -> sqlx::Result<Answer> {
    let (new, answer) = db::session(pool, |db| Box::pin(note(db, batch))).await?;
    metrics::counter!("settlement_sources_total").increment(new);
    Ok(answer)
}

/// How many sources were new, and what has to be sent again.
async fn note(db: &mut MySqlConnection, batch: Batch) -> sqlx::Result<(u64, Answer)> {
    let told: Told<'_> = batch.records().map(|it| (it, source(it))).collect();
    let sources = told.iter().filter_map(|(_, source)| source.as_ref().ok());
    let payments: Vec<Uuid> = sources.map(|source| source.payment_id).collect();
    let known = source_table::last_seqs(db, &payments).await?;
    let (new, answer) = decide(told, known);
    source_table::insert(db, &new).await?;
    Ok((new.len() as u64, answer))
}

fn decide(told: Told<'_>, mut known: HashMap<Uuid, u32>) -> (Vec<Source>, Answer) {
    let mut new = Vec::new();
    let mut answer = Answer::default();
    for (record, source) in told {
        match source {
            Ok(source) => {
                let last = known.get(&source.payment_id).copied();
                if source.follows(last) {
                    known.insert(source.payment_id, source.seq);
                    new.push(source);
                } else if last.is_none_or(|last| source.seq > last) {
                    refuse(record, &format!("{} follows {last:?}", source.seq));
                    answer.fail(record);
                }
            }
            Err(error) => {
                refuse(record, &error.to_string());
                answer.fail(record);
            }
        }
    }
    (new, answer)
}

fn refuse(record: &Record, why: &str) {
    let topic = record.topic().to_owned();
    metrics::counter!("settlement_sources_refused_total", "topic" => topic).increment(1);
    tracing::warn!(
        messaging.destination = record.topic(),
        error = why,
        "refused"
    );
}
