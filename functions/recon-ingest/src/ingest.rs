use consumer::{Answer, Batch};
use recon::{Days, file_table, transaction_table};
use source::{Source, Told};
use sqlx::{MySqlConnection, MySqlPool};

/// Notes the captures and refunds of a batch, each once, and has the files matched again that should
/// have had them. What tells of no such thing, or comes before what it follows, is sent again. So is a
/// whole batch whose outcome is unknown, or which another instance was just noting.
pub(crate) async fn run(pool: &MySqlPool, batch: Batch) -> sqlx::Result<Answer> {
    let (new, answer) = db::transaction(pool, move |tx| Box::pin(note(tx, batch))).await?;
    metrics::counter!("recon_transactions_total").increment(new);
    Ok(answer)
}

/// How many transactions were new, and what has to be sent again.
async fn note(tx: &mut MySqlConnection, batch: Batch) -> sqlx::Result<(u64, Answer)> {
    let told = Told::by(&batch);
    let (new, answer) = told.unknown_to(tx, transaction_table::TABLE).await?;
    transaction_table::insert(tx, &new).await?;
    let days = || new.iter().map(Source::sold_on);
    let earliest = new.iter().map(|source| source.occurred_at).min();
    if let (Some(from), Some(to), Some(earliest)) = (days().min(), days().max(), earliest) {
        file_table::ask_again(tx, Days { from, to }, earliest).await?;
    }
    Ok((new.len() as u64, answer))
}
