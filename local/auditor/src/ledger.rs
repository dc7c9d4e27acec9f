//! `ledger_entry`: each event has posted exactly its journal, so has each settlement and each decision
//! about reconciliation, and the accounts say what all of these say.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    Books, Check, Options,
    fold::Posting,
    snapshot::{CHUNK_ROWS, Snapshot},
};

#[derive(FromRow)]
struct Row {
    subject_id: Uuid,
    seq: u32,
    line: u8,
    merchant_id: String,
    debit_account: String,
    credit_account: String,
    amount: u64,
    currency: String,
    reverses_seq: Option<u32>,
    reverses_line: Option<u8>,
}

/// What something that is no payment must have posted: the journals from 1 on.
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) merchant_id: String,
    pub(crate) currency: String,
    pub(crate) journals: Vec<Journal>,
}

/// One of them, and when it was asked for.
pub(crate) struct Journal {
    pub(crate) postings: Vec<Posting>,
    pub(crate) due: DateTime<Utc>,
}

/// Debits minus credits by (account, currency).
type Balances = BTreeMap<(String, String), i128>;

pub(crate) async fn check(
    snapshot: &mut Snapshot,
    books: &Books,
    others: &HashMap<Uuid, Asked>,
    options: &Options,
) -> anyhow::Result<Check> {
    let mut check = Check::new("ledger");
    let mut balances = Balances::new();
    let mut posted: HashSet<(Uuid, u32)> = HashSet::new();
    let mut after = (Uuid::nil(), 0_u32, 0_u8);
    loop {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT subject_id, seq, line, merchant_id, debit_account, credit_account, amount, \
                    currency, reverses_seq, reverses_line \
               FROM ledger_entry \
              WHERE (subject_id = ? AND (seq > ? OR (seq = ? AND line > ?))) OR subject_id > ? \
              ORDER BY subject_id, seq, line LIMIT ?",
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
        after = (last.subject_id, last.seq, last.line);
        for row in &rows {
            check.count("entries");
            post(&mut balances, row);
            if let Some(asked) = others.get(&row.subject_id) {
                posted.insert((row.subject_id, row.seq));
                compare_other(&mut check, row, asked);
            } else {
                compare(&mut check, row, books);
            }
        }
    }
    let old = snapshot.taken - options.pending_within;
    let mut known: Vec<(&Asked, &Journal)> = Vec::new();
    for (id, asked) in others {
        for (seq, journal) in (1..).zip(&asked.journals) {
            if posted.contains(&(*id, seq)) {
                known.push((asked, journal));
            } else if !journal.postings.is_empty() && journal.due < old {
                check.violated(format!("{} has not posted journal {seq}", asked.name));
            }
        }
    }
    let of_payments = books.values().flatten().map(|known| known.postings.len());
    let of_others = known.iter().map(|(_, journal)| journal.postings.len());
    let asked: usize = of_payments.chain(of_others).sum();
    let found = check.counted.get("entries").copied().unwrap_or_default();
    check.ensure(found == asked as u64, || {
        format!("{found} entries, the events, settlements and decisions ask for {asked}")
    });
    compare_balances(&mut check, &balances, books, &known);
    Ok(check)
}

fn post(balances: &mut Balances, row: &Row) {
    let amount = i128::from(row.amount);
    for (account, amount) in [(&row.debit_account, amount), (&row.credit_account, -amount)] {
        *balances
            .entry((account.clone(), row.currency.clone()))
            .or_default() += amount;
    }
}

fn compare(check: &mut Check, row: &Row, books: &Books) {
    let known = books
        .get(&row.subject_id)
        .and_then(|known| known.get((row.seq as usize).checked_sub(1)?));
    let asked = known.and_then(|known| Some((known, known.postings.get(usize::from(row.line))?)));
    let found = Posting {
        debit: row.debit_account.clone(),
        credit: row.credit_account.clone(),
        amount: row.amount,
        reverses: row.reverses_seq.zip(row.reverses_line),
    };
    let right = asked.is_some_and(|(known, posting)| {
        *posting == found
            && known.state.currency == row.currency
            && known.state.merchant_id == row.merchant_id
    });
    check.ensure(right, || {
        let name = payment::PaymentId::from(row.subject_id);
        let asked = asked.map(|(_, posting)| posting);
        format!(
            "{name} journal {} line {}: {found:?}, its event asks for {asked:?}",
            row.seq, row.line
        )
    });
}

fn compare_other(check: &mut Check, row: &Row, other: &Asked) {
    let journal = (row.seq as usize).checked_sub(1);
    let journal = journal.and_then(|index| other.journals.get(index));
    let asked = journal.and_then(|journal| journal.postings.get(usize::from(row.line)));
    let found = Posting {
        debit: row.debit_account.clone(),
        credit: row.credit_account.clone(),
        amount: row.amount,
        reverses: row.reverses_seq.zip(row.reverses_line),
    };
    let right = asked == Some(&found)
        && (&other.currency, &other.merchant_id) == (&row.currency, &row.merchant_id);
    check.ensure(right, || {
        format!(
            "{} journal {} line {}: {found:?} of {}, asked for is {asked:?} of {}",
            other.name, row.seq, row.line, row.merchant_id, other.merchant_id
        )
    });
}

/// What every account holds, once as the accounts have it and once as everything else says.
fn compare_balances(
    check: &mut Check,
    balances: &Balances,
    books: &Books,
    others: &[(&Asked, &Journal)],
) {
    let mut asked = Balances::new();
    for (other, journal) in others {
        for posting in &journal.postings {
            let amount = i128::from(posting.amount);
            for (account, amount) in [(&posting.debit, amount), (&posting.credit, -amount)] {
                let account = (account.clone(), other.currency.clone());
                *asked.entry(account).or_default() += amount;
            }
        }
    }
    for state in books
        .values()
        .filter_map(|known| Some(&known.last()?.state))
    {
        let held = if state.status == "REQUESTED" {
            i128::from(state.amount)
        } else {
            0
        };
        let owed = i128::from(state.captured) - i128::from(state.refunded);
        for (account, amount) in [
            ("memo:hold", held),
            ("memo:hold-contra", -held),
            ("asset:network-receivable", owed),
            ("liability:merchant-payable", -owed),
        ] {
            let account = (account.to_owned(), state.currency.clone());
            *asked.entry(account).or_default() += amount;
        }
    }
    let currencies: BTreeSet<_> = balances.keys().map(|(_, it)| it).collect();
    for currency in currencies {
        check.count("currencies");
        let here = balances.iter().filter(|((_, it), _)| it == currency);
        let sum: i128 = here.map(|(_, amount)| amount).sum();
        check.ensure(sum == 0, || format!("{currency} sums to {sum}"));
    }
    for (account, amount) in &asked {
        let found = balances.get(account).copied().unwrap_or_default();
        check.ensure(found == *amount, || {
            format!(
                "{} {} stands at {found}, everything else says {amount}",
                account.0, account.1
            )
        });
    }
}
