use consumer::{Answer, Batch};
use settlement::source_table;
use source::Told;
use sqlx::{MySqlConnection, MySqlPool};

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
    let told = Told::by(&batch);
    let (new, answer) = told.unknown_to(db, source_table::TABLE).await?;
    source_table::insert(db, &new).await?;
    Ok((new.len() as u64, answer))
}
