//! `payment`: each row is what its events fold to.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Books, Check,
    snapshot::{CHUNK_ROWS, Snapshot},
};

#[derive(FromRow)]
struct Row {
    payment_id: Uuid,
    merchant_id: String,
    order_id: String,
    status: String,
    amount: u64,
    currency: String,
    captured_amount: u64,
    refunded_amount: u64,
    captured_seq: Option<u32>,
    version: u32,
}

pub(crate) async fn check(snapshot: &mut Snapshot, books: &Books) -> anyhow::Result<Check> {
    let mut check = Check::new("payments");
    let mut after = Uuid::nil();
    loop {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT payment_id, merchant_id, order_id, status, amount, currency, captured_amount, \
                    refunded_amount, NULLIF(captured_seq, 0) AS captured_seq, version \
               FROM payment WHERE payment_id > ? ORDER BY payment_id LIMIT ?",
        )
        .bind(after)
        .bind(CHUNK_ROWS)
        .fetch_all(&mut snapshot.db)
        .await?;
        let Some(last) = rows.last() else { break };
        after = last.payment_id;
        for row in &rows {
            check.count("payments");
            compare(&mut check, row, books);
        }
    }
    let payments = check.counted.get("payments").copied().unwrap_or_default();
    check.ensure(payments == books.len() as u64, || {
        format!(
            "{} payments have events, {payments} have a row",
            books.len()
        )
    });
    Ok(check)
}

fn compare(check: &mut Check, row: &Row, books: &Books) {
    let name = payment::PaymentId::from(row.payment_id);
    let Some(known) = books.get(&row.payment_id).and_then(|known| known.last()) else {
        check.violated(format!("{name} has no events"));
        return;
    };
    let state = &known.state;
    let row_says = (
        row.merchant_id.as_str(),
        row.order_id.as_str(),
        row.status.as_str(),
        (row.amount, row.captured_amount, row.refunded_amount),
        row.currency.as_str(),
        row.captured_seq,
        row.version,
    );
    let events_say = (
        state.merchant_id.as_str(),
        state.order_id.as_str(),
        state.status,
        (state.amount, state.captured, state.refunded),
        state.currency.as_str(),
        state.captured_seq,
        state.version,
    );
    check.ensure(row_says == events_say, || {
        format!("{name} is {row_says:?}, its events say {events_say:?}")
    });
}
