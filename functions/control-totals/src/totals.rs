use chrono::TimeDelta;
use ledger::table::{self as ledger_table, Moved};
use settlement::{
    Kind,
    control::{Asked, DayTotal, Said},
    start_of,
};
use sqlx::MySqlPool;

/// How much time one statement looks at, so that each stays below the bound of a statement.
const SLICE: TimeDelta = TimeDelta::hours(1);

/// The totals from the start of a day on, slice by slice.
pub(crate) async fn run(pool: &MySqlPool, asked: Asked) -> sqlx::Result<Said> {
    let Some(asked_from) = start_of(asked.from) else {
        return Ok(Said { data: Vec::new() });
    };
    let first = db::session(pool, |db| {
        Box::pin(ledger_table::first_posted(db, asked_from))
    });
    let mut from = first.await?.unwrap_or(asked.before);
    let mut data = Vec::new();
    while from < asked.before {
        let before = asked.before.min(from + SLICE);
        let moved = db::session(pool, |db| Box::pin(ledger_table::moved(db, from, before)));
        data.extend(moved.await?.into_iter().map(total));
        from = before;
    }
    Ok(Said { data })
}

fn total(moved: Moved) -> DayTotal {
    DayTotal {
        merchant_id: moved.merchant_id,
        currency: moved.currency,
        day: moved.day,
        kind: if moved.captured {
            Kind::Capture
        } else {
            Kind::Refund
        },
        count: moved.count.unsigned_abs(),
        amount: moved.amount,
    }
}
