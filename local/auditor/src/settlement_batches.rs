//! `settlement_batch`: the sums of its items, what it carries, and the event that tells it.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use settlement::SettlementId;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Check,
    fold::Posting,
    ledger::{Asked, Journal},
    settlement_items::{LastDays, Sums},
    snapshot::Snapshot,
};

#[derive(FromRow)]
struct Row {
    settlement_id: Uuid,
    merchant_id: String,
    currency: String,
    period_to: NaiveDate,
    closed: bool,
    item_count: u32,
    captured: u64,
    refunded: u64,
    supply: u64,
    vat: u64,
    reversed_supply: u64,
    reversed_vat: u64,
    carried_in: u64,
    payout: u64,
    carried_out: u64,
    updated_at: DateTime<Utc>,
}

/// `data` of the event, as far as it is money.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    settlement_id: String,
    merchant_id: String,
    currency: String,
    to: NaiveDate,
    item_count: u32,
    captured_amount: u64,
    refunded_amount: u64,
    supply_amount: u64,
    vat: u64,
    reversed_supply_amount: u64,
    reversed_vat: u64,
    carried_in: u64,
    pay_out_amount: u64,
    carried_out: u64,
    seq: u32,
}

#[derive(FromRow)]
struct EventRow {
    aggregateid: String,
    payload: String,
}

/// Holds every batch against its items, the one before and its event; the last day of each book.
pub(crate) async fn compare(
    snapshot: &mut Snapshot,
    check: &mut Check,
    mut sums: HashMap<Uuid, Sums>,
) -> anyhow::Result<LastDays> {
    let mut last_days = LastDays::new();
    let mut carried: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut events = events(snapshot, check).await?;
    for row in rows(snapshot).await? {
        let name = SettlementId::from(row.settlement_id);
        let items = sums.remove(&row.settlement_id).unwrap_or_default();
        let told = row.sums();
        check.ensure(items == told, || {
            format!("{name} is {told:?}, its items add up to {items:?}")
        });
        let event = events.remove(&name.to_string());
        if !row.closed {
            check.count("open");
            check.ensure(event.is_none(), || format!("{name} is open and was told"));
            continue;
        }
        check.count("settlements");
        let expected = row.data();
        check.ensure(event.as_ref() == Some(&expected), || {
            format!("{name} is {expected:?}, told is {event:?}")
        });
        let book = (row.merchant_id.clone(), row.currency.clone());
        let before = carried
            .insert(book.clone(), row.carried_out)
            .unwrap_or_default();
        check.ensure(row.balances() && before == row.carried_in, || {
            format!("{name} does not balance, or {before} was carried into it")
        });
        last_days.insert(book, row.period_to);
    }
    for (id, sums) in sums {
        check.violated(format!(
            "{} has {sums:?} and no row",
            SettlementId::from(id)
        ));
    }
    for (id, data) in events {
        check.violated(format!("{id} was told as {data:?} and has no row"));
    }
    Ok(last_days)
}

/// What the closed settlements must have posted, by settlement.
pub(crate) async fn settled(snapshot: &mut Snapshot) -> anyhow::Result<HashMap<Uuid, Asked>> {
    let rows = rows(snapshot).await?.into_iter().filter(|row| row.closed);
    Ok(rows.map(|row| (row.settlement_id, row.settled())).collect())
}

async fn rows(snapshot: &mut Snapshot) -> anyhow::Result<Vec<Row>> {
    let rows = sqlx::query_as(
        "SELECT settlement_id, merchant_id, currency, period_to, status = 'CLOSED' AS closed,
                item_count, captured, refunded, supply, vat, reversed_supply, reversed_vat,
                carried_in, payout, carried_out, updated_at
           FROM settlement_batch ORDER BY merchant_id, currency, period_to",
    );
    Ok(rows.fetch_all(&mut snapshot.db).await?)
}

/// Every event by its settlement.
async fn events(
    snapshot: &mut Snapshot,
    check: &mut Check,
) -> anyhow::Result<BTreeMap<String, Data>> {
    #[derive(Deserialize)]
    struct Event {
        data: Data,
    }
    let rows: Vec<EventRow> = sqlx::query_as("SELECT aggregateid, payload FROM outbox_event")
        .fetch_all(&mut snapshot.db)
        .await?;
    let mut events = BTreeMap::new();
    for row in rows {
        check.count("events");
        match serde_json::from_str::<Event>(&row.payload) {
            Ok(Event { data }) => {
                events.insert(row.aggregateid, data);
            }
            Err(error) => check.violated(format!("{}: {error}", row.aggregateid)),
        }
    }
    Ok(events)
}

impl Row {
    fn sums(&self) -> Sums {
        Sums {
            items: self.item_count.into(),
            captured: self.captured,
            refunded: self.refunded,
            supply: self.supply,
            vat: self.vat,
            reversed_supply: self.reversed_supply,
            reversed_vat: self.reversed_vat,
        }
    }

    fn data(&self) -> Data {
        Data {
            settlement_id: SettlementId::from(self.settlement_id).to_string(),
            merchant_id: self.merchant_id.clone(),
            currency: self.currency.clone(),
            to: self.period_to,
            item_count: self.item_count,
            captured_amount: self.captured,
            refunded_amount: self.refunded,
            supply_amount: self.supply,
            vat: self.vat,
            reversed_supply_amount: self.reversed_supply,
            reversed_vat: self.reversed_vat,
            carried_in: self.carried_in,
            pay_out_amount: self.payout,
            carried_out: self.carried_out,
            seq: 1,
        }
    }

    /// The merchant gets what is left, or owes what is missing.
    fn balances(&self) -> bool {
        let sum = |amounts: &[u64]| amounts.iter().copied().map(i128::from).sum::<i128>();
        let due = sum(&[self.captured, self.reversed_supply, self.reversed_vat])
            - sum(&[self.refunded, self.supply, self.vat, self.carried_in]);
        (i128::from(self.payout), i128::from(self.carried_out)) == (due.max(0), (-due).max(0))
    }

    fn settled(self) -> Asked {
        const PAYABLE: &str = "liability:merchant-payable";
        const VAT: &str = "liability:vat-payable";
        let moves = [
            (PAYABLE, "income:fee", self.supply),
            (PAYABLE, VAT, self.vat),
            ("income:fee", PAYABLE, self.reversed_supply),
            (VAT, PAYABLE, self.reversed_vat),
            (PAYABLE, "liability:payout-in-transit", self.payout),
        ];
        let moves = moves.into_iter().filter(|(_, _, amount)| *amount > 0);
        let postings = moves.map(|(debit, credit, amount)| Posting {
            debit: debit.to_owned(),
            credit: credit.to_owned(),
            amount,
            reverses: None,
        });
        Asked {
            name: SettlementId::from(self.settlement_id).to_string(),
            merchant_id: self.merchant_id,
            currency: self.currency,
            journals: vec![Journal {
                postings: postings.collect(),
                due: self.updated_at,
            }],
        }
    }
}
