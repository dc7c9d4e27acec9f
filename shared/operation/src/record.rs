use std::collections::BTreeMap;

use ledger::{Journal, table as ledger_table};
use outbox::{Event, Request, event_table};
use payment::{Change, EVENT_SOURCE, Payment, PaymentId, table as payment_table};
use sqlx::MySqlConnection;
use uuid::Uuid;

/// A change with what asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The change.
    pub change: &'a Change,
    /// The request; `None` for a schedule.
    pub request: Option<&'a Request>,
    /// W3C trace context.
    pub traceparent: &'a str,
}

/// Writes changes in the caller's transaction: payments, journals, events and their pointers. The
/// caller holds the lock of every existing payment among them.
///
/// # Errors
/// A duplicate key for a second payment of an order, `RowNotFound` when a payment is not at the
/// version its change began from; those of the database.
pub async fn record(tx: &mut MySqlConnection, told: &[Told<'_>]) -> sqlx::Result<()> {
    if told.is_empty() {
        return Ok(());
    }
    let (new, changed): (Vec<&Payment>, Vec<&Payment>) = told
        .iter()
        .map(|told| &told.change.payment)
        .partition(|payment| payment.version == 1);
    if !new.is_empty() {
        payment_table::insert(tx, &new).await?;
    }
    payment_table::update(tx, &last_states(&changed)).await?;
    failpoint::at!("operation.payments-written");
    let journals = told
        .iter()
        .map(|told| told.change.journal())
        .collect::<Result<Vec<Journal>, _>>()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    ledger_table::insert(tx, &journals).await?;
    failpoint::at!("operation.journals-posted");
    let events: Vec<Event> = told.iter().map(event).collect();
    event_table::append(tx, &events).await
}

/// Several changes of one payment are written as its last state over the version the first began
/// from; each has a journal and an event of its own.
fn last_states<'a>(changed: &[&'a Payment]) -> Vec<(&'a Payment, u32)> {
    let mut last: BTreeMap<PaymentId, (&Payment, u32)> = BTreeMap::new();
    for payment in changed {
        last.entry(payment.id)
            .and_modify(|(last, _)| *last = payment)
            .or_insert((payment, payment.version - 1));
    }
    last.into_values().collect()
}

fn event(told: &Told<'_>) -> Event {
    let payment = &told.change.payment;
    Event {
        event_id: Uuid::now_v7(),
        aggregate_type: "payment",
        aggregate_id: payment.id.to_string(),
        seq: payment.version,
        event_type: told.change.event_type(),
        source: EVENT_SOURCE,
        data: told.change.event_data(),
        traceparent: told.traceparent.to_owned(),
        request: told.request.cloned(),
        time: payment.updated_at.utc(),
    }
}
