use std::collections::HashMap;

use consumer::{Answer, Batch, Record};
use uuid::Uuid;

use crate::{Source, SourceError, event::source};

/// What the records of a batch tell.
pub struct Told<'a>(Vec<(&'a Record, Result<Source, SourceError>)>);

impl<'a> Told<'a> {
    /// Reads every record.
    #[must_use]
    pub fn by(batch: &'a Batch) -> Self {
        Self(batch.records().map(|it| (it, source(it))).collect())
    }

    /// The payments they are about.
    #[must_use]
    pub fn payments(&self) -> Vec<Uuid> {
        let sources = self.0.iter().filter_map(|(_, source)| source.as_ref().ok());
        sources.map(|source| source.payment_id).collect()
    }

    /// The sources that are new, given the last `seq` that is known of each payment. What tells of no
    /// capture and no refund, or comes before what it follows, is sent again.
    #[must_use]
    pub fn decide(self, mut known: HashMap<Uuid, u32>) -> (Vec<Source>, Answer) {
        let mut new = Vec::new();
        let mut answer = Answer::default();
        for (record, source) in self.0 {
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
}

fn refuse(record: &Record, why: &str) {
    let topic = record.topic().to_owned();
    metrics::counter!("sources_refused_total", "topic" => topic).increment(1);
    tracing::warn!(
        messaging.destination = record.topic(),
        error = why,
        "refused"
    );
}
