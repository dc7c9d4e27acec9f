use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use outbox::{Event, Request, event_table};
use serde_json::json;
use settlement::{
    Batch, Book, Contracts, Line, SettlementView, Span, Totals, batch_table, close, contract_table,
    item_table, source_table, start_of,
};
use sqlx::{Connection, MySqlConnection};
use uuid::Uuid;

use crate::{adjust::Adjustments, error::SettleError};

/// Lines written in one transaction; below what a prepared statement's 65,535 parameters allow.
const CHUNK_ROWS: u32 = 2_000;
/// `source` of the events a settlement tells.
const EVENT_SOURCE: &str = "/payfn/settlement";
const EVENT_TYPE: &str = "settlement.closed";

/// Who closes, and until when.
pub(crate) struct Closing<'a> {
    /// Closed are the periods whose last day is from this one…
    pub(crate) from: NaiveDate,
    /// …to this one.
    pub(crate) to: NaiveDate,
    /// What happens from now on waits for a later settlement.
    pub(crate) now: DateTime<Utc>,
    /// W3C trace context.
    pub(crate) traceparent: &'a str,
    /// The request; `None` for a schedule.
    pub(crate) request: Option<&'a Request>,
}

impl Closing<'_> {
    /// Until when what happened counts: to the end of the last day, or to now.
    pub(crate) fn before(&self) -> DateTime<Utc> {
        let end = self.to.succ_opt().and_then(start_of);
        end.map_or(self.now, |end| end.min(self.now))
    }

    /// Closes what is due of every book that `wanted` names. One that was left open is finished
    /// first: batches of a book follow each other, because each carries into the next.
    pub(crate) async fn close(
        &self,
        db: &mut MySqlConnection,
        mut wanted: impl FnMut(&Book) -> bool,
    ) -> Result<usize, SettleError> {
        let books = source_table::books(db).await?;
        let mut closed = 0;
        for book in books.iter().filter(|book| wanted(book)) {
            closed += self.close_book(db, book).await?;
        }
        Ok(closed)
    }

    async fn close_book(
        &self,
        db: &mut MySqlConnection,
        book: &Book,
    ) -> Result<usize, SettleError> {
        let contracts = contract_table::of_merchant(db, &book.merchant_id).await?;
        let mut closed = 0;
        if let Some(open) = batch_table::open_of(db, book).await? {
            self.finish(db, &contracts, open).await?;
            closed += 1;
        }
        let mut last = batch_table::last_closed(db, book).await?;
        for (period, contract) in contracts.due(self.from, self.to)? {
            let from = last.as_ref().map_or_else(first_day, |last| last.period.to);
            let span = self.span(from, period.to);
            // The day of the last batch was perhaps not over when that was closed; its rest is
            // settled with the next one.
            if from >= period.to || !is_needed(db, &contracts, book, span, last.as_ref()).await? {
                continue;
            }
            let paid_out_on = period.paid_out(contract.payout_days)?;
            let batch = Batch::opened(
                book.clone(),
                contract,
                period,
                paid_out_on,
                contracts.revisions(),
                self.now,
            );
            batch_table::insert(db, &batch).await?;
            last = Some(self.finish(db, &contracts, batch).await?);
            closed += 1;
        }
        Ok(closed)
    }

    fn span(&self, from: NaiveDate, to: NaiveDate) -> Span {
        Span {
            from,
            to,
            before: self.before(),
        }
    }

    /// Gathers what an open batch lacks, and closes it.
    async fn finish(
        &self,
        db: &mut MySqlConnection,
        contracts: &Contracts,
        batch: Batch,
    ) -> Result<Batch, SettleError> {
        let last = batch_table::last_closed(db, &batch.book).await?;
        let from = last.as_ref().map_or_else(first_day, |last| last.period.to);
        let span = self.span(from, batch.period.to);
        if let Some(first) = source_table::first_unsettled_day(db, &batch.book, span).await? {
            let days = first.iter_days().take_while(|day| *day <= batch.period.to);
            for day in days {
                gather(db, contracts, &batch, day, span.before).await?;
            }
        }
        if let Some(last) = last
            && let Some(mut adjustments) = Adjustments::since(contracts, &batch.book, &last)
        {
            loop {
                let lines = adjustments.next(db).await?;
                if lines.is_empty() {
                    break;
                }
                add(db, &batch, &lines).await?;
            }
        }
        self.make_final(db, &batch).await
    }

    /// The batch becomes final with what it carries and the event that tells it, in one transaction.
    async fn make_final(
        &self,
        db: &mut MySqlConnection,
        batch: &Batch,
    ) -> Result<Batch, SettleError> {
        let mut tx = db.begin().await?;
        let mut batch = batch_table::lock(&mut tx, batch.id).await?;
        if let Some(last) = batch_table::last_closed(&mut tx, &batch.book).await? {
            batch.carried_in = last.closing.carried;
        }
        batch.closing = close(batch.totals, batch.carried_in)?;
        batch.closed = true;
        batch.updated_at = Utc::now();
        batch_table::close(&mut tx, &batch).await?;
        event_table::append(&mut tx, &[self.event(&batch)]).await?;
        tx.commit().await?;
        metrics::counter!("settlements_closed_total").increment(1);
        metrics::counter!("settlement_items_total").increment(batch.item_count.into());
        tracing::info!(
            settlement.id = %batch.id,
            merchant.id = batch.book.merchant_id,
            settlement.items = batch.item_count,
            "closed"
        );
        Ok(batch)
    }

    fn event(&self, batch: &Batch) -> Event {
        let mut data = json!(SettlementView::from(batch));
        data["seq"] = 1.into();
        Event {
            event_id: Uuid::now_v7(),
            aggregate_type: "settlement",
            aggregate_id: batch.id.to_string(),
            seq: 1,
            event_type: EVENT_TYPE,
            source: EVENT_SOURCE,
            data,
            traceparent: self.traceparent.to_owned(),
            request: self.request.cloned(),
            time: batch.updated_at,
        }
    }
}

/// Whether there is anything to settle: something that no batch has, or that one has at another rate.
async fn is_needed(
    db: &mut MySqlConnection,
    contracts: &Contracts,
    book: &Book,
    span: Span,
    last: Option<&Batch>,
) -> Result<bool, SettleError> {
    let unsettled = source_table::first_unsettled_day(db, book, span).await?;
    if unsettled.is_some() {
        return Ok(true);
    }
    match last.and_then(|last| Adjustments::since(contracts, book, last)) {
        Some(mut adjustments) => Ok(!adjustments.next(db).await?.is_empty()),
        None => Ok(false),
    }
}

/// Adds what is not settled of a day to a batch, chunk by chunk.
async fn gather(
    db: &mut MySqlConnection,
    contracts: &Contracts,
    batch: &Batch,
    day: NaiveDate,
    before: DateTime<Utc>,
) -> Result<(), SettleError> {
    let mut from = Uuid::nil();
    loop {
        let sources =
            source_table::unsettled(db, &batch.book, day, before, from, CHUNK_ROWS).await?;
        let Some(last) = sources.last() else {
            return Ok(());
        };
        from = last.payment_id;
        let mut lines: Vec<Line> = Vec::with_capacity(sources.len());
        for source in sources {
            lines.push(source.at(contracts.in_force(source.captured_on)?.rate)?);
        }
        add(db, batch, &lines).await?;
    }
}

/// Adds lines to a batch together with the sums that they add, so that whoever goes on after a crash
/// finds both or neither.
async fn add(db: &mut MySqlConnection, batch: &Batch, lines: &[Line]) -> Result<(), SettleError> {
    let mut totals = Totals::none(batch.carried_in);
    for line in lines {
        totals = totals.with(line.item)?;
    }
    let mut tx = db.begin().await?;
    batch_table::add(&mut tx, batch.id, lines.len(), totals).await?;
    item_table::insert(&mut tx, batch.id, lines).await?;
    Ok(tx.commit().await?)
}

/// No payment is older.
fn first_day() -> NaiveDate {
    DateTime::UNIX_EPOCH.date_naive()
}

/// The merchants of differences.
pub(crate) fn merchants(differences: &[settlement::control::Difference]) -> HashSet<String> {
    let ids = differences.iter().map(|it| it.merchant_id.clone());
    ids.collect()
}
