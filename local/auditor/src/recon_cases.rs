//! `recon_case`: what decisions about reconciliation must have posted. Told apart from the rules that
//! posted it: a decision takes effect at once or when another operator approves it, and until it is
//! taken back.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    fold::Posting,
    ledger::{Asked, Journal},
    snapshot::Snapshot,
};

const RECEIVABLE: &str = "asset:network-receivable";

#[derive(FromRow)]
struct Row {
    case_id: Uuid,
    write_off: bool,
    stake: i64,
    currency: String,
    account_of: String,
    in_effect_at: DateTime<Utc>,
    taken_back_at: Option<DateTime<Utc>>,
}

/// What each decision about money that has taken effect must have posted, by its id.
pub(crate) async fn decided(snapshot: &mut Snapshot) -> anyhow::Result<HashMap<Uuid, Asked>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.case_id, c.action = 'write-off' AS write_off, c.stake, c.currency, c.account_of,
                COALESCE(a.decided_at, c.decided_at) AS in_effect_at, b.decided_at AS taken_back_at
           FROM recon_case c
           LEFT JOIN recon_case a ON a.concerns = c.case_id AND a.action = 'approve'
                AND a.operator <> c.operator
           LEFT JOIN recon_case b ON b.concerns = c.case_id AND b.action = 'reopen'
          WHERE c.action IN ('accept', 'write-off') AND c.stake IS NOT NULL
            AND (NOT c.waits OR a.case_id IS NOT NULL)",
    )
    .fetch_all(&mut snapshot.db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.case_id, row.asked()))
        .collect())
}

impl Row {
    fn asked(self) -> Asked {
        let bearer = if self.write_off {
            "expense:recon-write-off"
        } else {
            "liability:recon-suspense"
        };
        let (debit, credit) = if self.stake > 0 {
            (RECEIVABLE, bearer)
        } else {
            (bearer, RECEIVABLE)
        };
        let journal = |debit: &str, credit: &str, reverses, due| Journal {
            postings: vec![Posting {
                debit: debit.to_owned(),
                credit: credit.to_owned(),
                amount: self.stake.unsigned_abs(),
                reverses,
            }],
            due,
        };
        let taken_back = self.taken_back_at;
        let undone = taken_back.map(|at| journal(credit, debit, Some((1, 0)), at));
        let done = journal(debit, credit, None, self.in_effect_at);
        Asked {
            name: format!("cas_{}", self.case_id.simple()),
            journals: [Some(done), undone].into_iter().flatten().collect(),
            merchant_id: self.account_of,
            currency: self.currency,
        }
    }
}
