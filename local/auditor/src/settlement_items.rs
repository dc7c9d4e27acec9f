//! The settlement database: its sources are the payments' captures and refunds, its items are those
//! sources with what is kept of them, and its batches are the sums of their items, each with what
//! the one before carried. The rules are written apart from those that made the rows.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Books, Check, Options,
    moved::{self, Mirror, day},
    settlement_batches,
    snapshot::{CHUNK_ROWS, Snapshot},
    totals::{Side, Totals},
};

/// A capture or refund, and whether it is settled.
struct Source {
    book: (String, String),
    kind: String,
    amount: u64,
    captured: u64,
    refunded: u64,
    sold_on: NaiveDate,
    /// Revision and rate of its newest item.
    settled: Option<(u16, u16)>,
}

type Sources = HashMap<(Uuid, u32), Source>;

/// What the items of a settlement add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) items: u64,
    pub(crate) captured: u64,
    pub(crate) refunded: u64,
    pub(crate) supply: u64,
    pub(crate) vat: u64,
    pub(crate) reversed_supply: u64,
    pub(crate) reversed_vat: u64,
}

/// The last day that is settled of each (merchant, currency).
pub(crate) type LastDays = BTreeMap<(String, String), NaiveDate>;

#[derive(FromRow)]
struct SourceRow {
    payment_id: Uuid,
    seq: u32,
    merchant_id: String,
    kind: String,
    amount: u64,
    currency: String,
    captured_amount: u64,
    refunded_amount: u64,
    sold_on: NaiveDate,
    occurred_at: DateTime<Utc>,
}

#[derive(FromRow)]
struct ItemRow {
    payment_id: Uuid,
    seq: u32,
    revision: u16,
    settlement_id: Uuid,
    kind: String,
    amount: u64,
    fee_bp: u16,
    supply: u64,
    vat: u64,
    sold_on: NaiveDate,
}

/// Holds the snapshot against the events of the payments, which are read after it.
pub(crate) async fn check(
    snapshot: &mut Snapshot,
    totals: &mut Totals,
    books: &Books,
    (url, options): (&str, &Options),
) -> anyhow::Result<Check> {
    let mut check = Check::new("settlement");
    let mut sources = sources(snapshot, &mut check, totals, books).await?;
    let mirror = Mirror {
        table: "settlement_source",
        url,
        taken: snapshot.taken,
    };
    let late = moved::late(books, |key| sources.contains_key(&key));
    moved::all_arrive(&mut check, &mirror, books, late, options, |key| {
        totals.late(Side::Settlement, books, key);
    })
    .await?;
    let sums = items(snapshot, &mut check, &mut sources).await?;
    let last_days = settlement_batches::compare(snapshot, &mut check, sums).await?;
    for ((payment_id, seq), source) in &sources {
        let over = last_days
            .get(&source.book)
            .is_some_and(|last| source.sold_on < *last);
        check.ensure(source.settled.is_some() || !over, || {
            let name = payment::PaymentId::from(*payment_id);
            format!("{name} {seq} of {} is in no settlement", source.sold_on)
        });
    }
    Ok(check)
}

async fn sources(
    snapshot: &mut Snapshot,
    check: &mut Check,
    totals: &mut Totals,
    books: &Books,
) -> anyhow::Result<Sources> {
    let mut sources = Sources::new();
    let mut after = (Uuid::nil(), 0_u32);
    loop {
        let rows: Vec<SourceRow> = sqlx::query_as(
            "SELECT payment_id, seq, merchant_id, kind, amount, currency, captured_amount,
                    refunded_amount, sold_on, occurred_at
               FROM settlement_source
              WHERE (payment_id = ? AND seq > ?) OR payment_id > ?
              ORDER BY payment_id, seq LIMIT ?",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(after.0)
        .bind(CHUNK_ROWS)
        .fetch_all(&mut snapshot.db)
        .await?;
        let Some(last) = rows.last() else { break };
        after = (last.payment_id, last.seq);
        for row in rows {
            check.count("sources");
            compare_source(check, &row, books);
            let book = (row.merchant_id.as_str(), row.currency.as_str(), row.sold_on);
            totals.add(Side::Settlement, book, &row.kind, row.amount);
            sources.insert((row.payment_id, row.seq), row.into());
        }
    }
    Ok(sources)
}

impl From<SourceRow> for Source {
    fn from(row: SourceRow) -> Self {
        Self {
            book: (row.merchant_id, row.currency),
            kind: row.kind,
            amount: row.amount,
            captured: row.captured_amount,
            refunded: row.refunded_amount,
            sold_on: row.sold_on,
            settled: None,
        }
    }
}

/// A source is what its event says, on the day that it was in Korea.
fn compare_source(check: &mut Check, row: &SourceRow, books: &Books) {
    let row_says = (
        row.merchant_id.as_str(),
        row.currency.as_str(),
        row.kind.as_str(),
        row.amount,
        (row.captured_amount, row.refunded_amount),
        row.sold_on,
    );
    let event = moved::of(books, row.payment_id, row.seq);
    let event_says = event.map(|moved| {
        (
            moved.state.merchant_id.as_str(),
            moved.state.currency.as_str(),
            moved.kind,
            moved.amount,
            (moved.state.captured, moved.state.refunded),
            day(row.occurred_at),
        )
    });
    check.ensure(event_says == Some(row_says), || {
        let name = payment::PaymentId::from(row.payment_id);
        format!(
            "{name} {}: source {row_says:?}, its event says {event_says:?}",
            row.seq
        )
    });
}

async fn items(
    snapshot: &mut Snapshot,
    check: &mut Check,
    sources: &mut Sources,
) -> anyhow::Result<HashMap<Uuid, Sums>> {
    let mut sums: HashMap<Uuid, Sums> = HashMap::new();
    let mut after = (Uuid::nil(), 0_u32, 0_u16);
    loop {
        let rows: Vec<ItemRow> = sqlx::query_as(
            "SELECT payment_id, seq, revision, settlement_id, kind, amount, fee_bp, supply, vat,
                    sold_on
               FROM settlement_item
              WHERE (payment_id = ? AND (seq > ? OR (seq = ? AND revision > ?))) OR payment_id > ?
              ORDER BY payment_id, seq, revision LIMIT ?",
        )
        .bind(after.0)
        .bind(after.1)
        .bind(after.1)
        .bind(after.2)
        .bind(after.0)
        .bind(CHUNK_ROWS)
        .fetch_all(&mut snapshot.db)
        .await?;
        let Some(last) = rows.last() else { break };
        after = (last.payment_id, last.seq, last.revision);
        for row in &rows {
            check.count("items");
            compare_item(check, row, sources);
            add(sums.entry(row.settlement_id).or_default(), row);
        }
    }
    Ok(sums)
}

fn compare_item(check: &mut Check, row: &ItemRow, sources: &mut Sources) {
    let source = sources.get_mut(&(row.payment_id, row.seq));
    let asked = source.and_then(|source| {
        let before = source.settled.replace((row.revision, row.fee_bp));
        asked(source, before, row)
    });
    let found = (
        row.kind.clone(),
        row.amount,
        row.sold_on,
        row.supply,
        row.vat,
    );
    check.ensure(asked.as_ref() == Some(&found), || {
        let name = payment::PaymentId::from(row.payment_id);
        format!(
            "{name} {}: item {found:?}, its source asks for {asked:?}",
            row.seq
        )
    });
}

/// What an item must say after the one `before` it: the first settles its source; after that an odd
/// one takes back what the one before came to, without the amount, and an even one settles it anew.
fn asked(
    source: &Source,
    before: Option<(u16, u16)>,
    row: &ItemRow,
) -> Option<(String, u64, NaiveDate, u64, u64)> {
    let follows = before.map_or(Some(0), |(revision, _)| revision.checked_add(1));
    let taken_back = row.revision % 2 == 1;
    if follows != Some(row.revision)
        || taken_back && before.is_none_or(|(_, rate)| rate != row.fee_bp)
    {
        return None;
    }
    let kind = match (source.kind.as_str(), taken_back) {
        (kind, false) => kind,
        ("CAPTURE", true) => "REFUND",
        (_, true) => "CAPTURE",
    };
    let amount = if row.revision == 0 { source.amount } else { 0 };
    let (supply, vat) = kept(source, row.fee_bp);
    Some((kind.to_owned(), amount, source.sold_on, supply, vat))
}

/// Supply and tax that are kept of a capture, or go back with a refund: what was to go back after it
/// without what had gone back before.
fn kept(source: &Source, fee_bp: u16) -> (u64, u64) {
    let fee = rounded(source.captured, fee_bp.into(), 10_000);
    let until = |refunded| split(rounded(fee, refunded, source.captured.into()));
    if source.kind == "CAPTURE" {
        return split(fee);
    }
    let before = until(u128::from(source.refunded.saturating_sub(source.amount)));
    let after = until(source.refunded.into());
    (
        after.0.saturating_sub(before.0),
        after.1.saturating_sub(before.1),
    )
}

/// A fee that has its tax in it: ten parts of eleven are the supply.
fn split(fee: u64) -> (u64, u64) {
    let supply = rounded(fee, 10, 11);
    (supply, fee - supply)
}

/// `amount · part / whole`, halves rounded up.
fn rounded(amount: u64, part: u128, whole: u128) -> u64 {
    let rounded = (2 * u128::from(amount) * part + whole)
        .checked_div(2 * whole)
        .unwrap_or_default();
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

fn add(sums: &mut Sums, row: &ItemRow) {
    sums.items += 1;
    if row.kind == "CAPTURE" {
        sums.captured += row.amount;
        sums.supply += row.supply;
        sums.vat += row.vat;
    } else {
        sums.refunded += row.amount;
        sums.reversed_supply += row.supply;
        sums.reversed_vat += row.vat;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(kind: &str, amount: u64, captured: u64, refunded: u64) -> Source {
        Source {
            book: (String::new(), String::new()),
            kind: kind.to_owned(),
            amount,
            captured,
            refunded,
            sold_on: NaiveDate::MIN,
            settled: None,
        }
    }

    fn item(revision: u16, fee_bp: u16) -> ItemRow {
        ItemRow {
            payment_id: Uuid::nil(),
            seq: 2,
            revision,
            settlement_id: Uuid::nil(),
            kind: String::new(),
            amount: 0,
            fee_bp,
            supply: 0,
            vat: 0,
            sold_on: NaiveDate::MIN,
        }
    }

    #[test]
    fn adjustment_takes_back_what_was_kept_and_keeps_anew() {
        let capture = source("CAPTURE", 64_601, 64_601, 0);
        let says = |before, revision, rate| {
            let asked = asked(&capture, before, &item(revision, rate));
            asked.map(|(kind, amount, _, supply, vat)| (kind, amount, supply + vat))
        };
        let of = |kind: &str, amount, fee| Some((kind.to_owned(), amount, fee));
        assert_eq!(says(None, 0, 231), of("CAPTURE", 64_601, 1_492));
        assert_eq!(says(Some((0, 231)), 1, 231), of("REFUND", 0, 1_492));
        assert_eq!(says(Some((1, 231)), 2, 100), of("CAPTURE", 0, 646));
        for (before, revision, rate) in [
            (None, 1, 231),
            (Some((0, 231)), 1, 100),
            (Some((0, 231)), 2, 231),
            (Some((0, 231)), 0, 231),
        ] {
            assert_eq!(says(before, revision, rate), None);
        }
    }

    #[test]
    fn capture_keeps_what_a_statement_says() {
        let capture = source("CAPTURE", 64_601, 64_601, 0);
        assert_eq!(kept(&capture, 231), (1_356, 136));
    }

    #[test]
    fn refunds_give_back_what_the_capture_kept() {
        let first = kept(&source("REFUND", 5_000, 64_601, 5_000), 231);
        let rest = kept(&source("REFUND", 59_601, 64_601, 64_601), 231);
        assert_eq!((first.0 + rest.0, first.1 + rest.1), (1_356, 136));
    }
}
