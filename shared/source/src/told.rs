use std::collections::HashMap;

use consumer::{Answer, Batch, Record};
use sqlx::{MySql, MySqlConnection, QueryBuilder};
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

    /// The sources that `table` does not have yet; its columns `payment_id` and `seq` say what it has.
    /// What tells of no capture and no refund, or comes before what it follows, is sent again.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unknown_to(
        self,
        db: &mut MySqlConnection,
        table: &'static str,
    ) -> sqlx::Result<(Vec<Source>, Answer)> {
        let known = last_seqs(db, table, &self.payments()).await?;
        Ok(self.decide(known))
    }

    fn payments(&self) -> Vec<Uuid> {
        let sources = self.0.iter().filter_map(|(_, source)| source.as_ref().ok());
        sources.map(|source| source.payment_id).collect()
    }

    /// The sources that are new, given the last `seq` that is known of each payment.
    fn decide(self, mut known: HashMap<Uuid, u32>) -> (Vec<Source>, Answer) {
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

/// The newest `seq` that is known of each of these payments; those of which nothing is known are left
/// out.
async fn last_seqs(
    db: &mut MySqlConnection,
    table: &'static str,
    payments: &[Uuid],
) -> sqlx::Result<HashMap<Uuid, u32>> {
    if payments.is_empty() {
        return Ok(HashMap::new());
    }
    let mut query = QueryBuilder::<MySql>::new(format!(
        "SELECT payment_id, MAX(seq) FROM {table} WHERE payment_id IN "
    ));
    query.push_tuples(payments, |mut tuple, payment| {
        tuple.push_bind(payment);
    });
    query.push(" GROUP BY payment_id");
    let rows: Vec<(Uuid, u32)> = query.build_query_as().fetch_all(db).await?;
    Ok(rows.into_iter().collect())
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
