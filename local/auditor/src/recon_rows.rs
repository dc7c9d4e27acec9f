//! `recon_row`: what came of each row of a file of transactions follows from the row and from the
//! transaction that it is.

use chrono::NaiveDate;
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use crate::{
    Check,
    recon_files::{File, Files},
    snapshot::{CHUNK_ROWS, Snapshot},
};

/// A row with the transaction that it is.
#[derive(FromRow)]
struct Row {
    file_no: u32,
    line: u32,
    kind: Option<String>,
    done: Option<bool>,
    amount: Option<u64>,
    currency: Option<String>,
    traded_on: Option<NaiveDate>,
    faulty: bool,
    payment_id: Option<Uuid>,
    result: Option<String>,
    our_kind: Option<String>,
    our_amount: Option<u64>,
    our_currency: Option<String>,
    sold_on: Option<NaiveDate>,
    /// Transactions that it could be, when it is none.
    candidates: i64,
    /// Those of them that were there before the file came: of later ones nobody has it matched again.
    earlier: i64,
    /// Whether its key is of one that the file should have and that is no row.
    unclaimed: bool,
    /// An operator decided about it: what comes later changes nothing.
    decided: bool,
}

/// Both sides of a row that is a transaction.
struct Sides<'a> {
    kinds: (&'a str, &'a str),
    amounts: (u64, u64),
    currencies: (&'a str, &'a str),
    days: (NaiveDate, NaiveDate),
    done: bool,
}

/// Rows with what they are; `candidates`, `earlier` and `unclaimed` are of those that are nothing.
fn select() -> String {
    let candidates = of_candidates("1");
    let earlier = of_candidates("c.occurred_at < f.uploaded_at");
    format!(
        "SELECT r.file_no, r.line, r.kind, r.done, r.amount, r.currency, r.traded_on,
                r.fault IS NOT NULL AS faulty, r.payment_id, r.result, t.kind AS our_kind,
                t.amount AS our_amount, t.currency AS our_currency, t.sold_on,
                {candidates} AS candidates, {earlier} AS earlier,
                r.payment_id IS NULL AND EXISTS
                  (SELECT 1 FROM recon_transaction c
                    WHERE c.payment_id = r.key_payment AND c.seq = r.key_seq
                      AND c.occurred_at < f.uploaded_at AND c.standing IS NULL
                      AND c.sold_on BETWEEN f.first_day AND f.last_day AND NOT EXISTS
                        (SELECT 1 FROM recon_row x
                          WHERE x.payment_id = c.payment_id AND x.seq = c.seq)) AS unclaimed,
                r.standing IS NOT NULL AS decided
           FROM recon_row r JOIN recon_file f ON f.file_no = r.file_no
           LEFT JOIN recon_transaction t ON t.payment_id = r.payment_id AND t.seq = r.seq
          WHERE ((r.file_no = ? AND r.line > ?) OR r.file_no > ?)
            AND (r.fault IS NOT NULL OR r.kind IN ('CAPTURE', 'REFUND'))
          ORDER BY r.file_no, r.line LIMIT ?"
    )
}

/// Counts those that a row could be and that are so: of the payment that it names, and of its kind; or,
/// when it names none, with its approval number, kind and amount, and within a day, which every profile
/// allows.
fn of_candidates(so: &str) -> String {
    format!(
        "IF(r.payment_id IS NOT NULL OR r.fault IS NOT NULL, 0,
            IF(COALESCE(r.named_payment, r.key_payment) IS NOT NULL,
               (SELECT COUNT(*) FROM recon_transaction c
                 WHERE c.payment_id = COALESCE(r.named_payment, r.key_payment)
                   AND c.kind = r.kind AND {so}),
               (SELECT COUNT(*) FROM recon_transaction c
                 WHERE c.approval_number = r.approval_number AND c.kind = r.kind
                   AND c.amount = r.amount AND c.currency = r.currency
                   AND ABS(DATEDIFF(c.sold_on, r.traded_on)) <= 1 AND {so})))"
    )
}

/// Judges every row anew.
pub(crate) async fn compare(
    snapshot: &mut Snapshot,
    check: &mut Check,
    files: &Files,
) -> anyhow::Result<()> {
    let select = select();
    let mut after = (0_u32, 0_u32);
    loop {
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(select.as_str()))
            .bind(after.0)
            .bind(after.1)
            .bind(after.0)
            .bind(CHUNK_ROWS)
            .fetch_all(&mut snapshot.db)
            .await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = (last.file_no, last.line);
        for row in &rows {
            check.count("rows");
            // A row without its file is told with the files.
            let file = files.get(row.file_no);
            let why = file.and_then(|file| objection(row, file, files.busy));
            if let Some(why) = why {
                let result = row.result.as_deref().unwrap_or("nothing");
                check.violated(format!(
                    "line {} of file {} is {result}: {why}",
                    row.line, row.file_no
                ));
            }
        }
    }
}

/// What contradicts the result of a row.
fn objection(row: &Row, file: &File, busy: bool) -> Option<String> {
    let result = row.result.as_deref();
    if file.superseded_by.is_some() || (busy && result == Some("SUPERSEDED")) {
        let gone = result == Some("SUPERSEDED") && row.payment_id.is_none();
        return (!gone).then(|| "a later file has the place of this one".to_owned());
    }
    if row.faulty {
        let right = result == Some("ROW_INVALID") && row.payment_id.is_none();
        return (!right).then(|| "it cannot be read".to_owned());
    }
    let Some(result) = result else {
        return (!file.due()).then(|| "the file is matched".to_owned());
    };
    if row.payment_id.is_none() {
        let settled = row.decided || file.due();
        return (!settled).then(|| alone(result, row)).flatten();
    }
    let Some(asked) = row.sides().and_then(|sides| judged(&sides, file)) else {
        return Some("the transaction that it is, or a side of it, is not there".to_owned());
    };
    // Found just now, it is judged in a moment.
    let unjudged = ["MISSING_INTERNAL", "DUPLICATE_EXTERNAL", "AMBIGUOUS"].contains(&result);
    (asked != result && !(unjudged && file.due())).then(|| format!("it should be {asked}"))
}

/// What contradicts the result of a row that is no transaction.
fn alone(result: &str, row: &Row) -> Option<String> {
    if row.unclaimed {
        return Some("the transaction that it names is no row".to_owned());
    }
    let right = match result {
        "MISSING_INTERNAL" => row.earlier == 0,
        "DUPLICATE_EXTERNAL" => row.candidates >= 1,
        "AMBIGUOUS" => row.candidates >= 2,
        _ => false,
    };
    (!right).then(|| format!("it could be {} transactions and is none", row.candidates))
}

/// What must come of both sides.
fn judged(sides: &Sides<'_>, file: &File) -> Option<&'static str> {
    let (amount_max, days_max) = file.tolerance()?;
    let (ours, theirs) = sides.amounts;
    let days = (sides.days.0 - sides.days.1).num_days().unsigned_abs();
    Some(if sides.currencies.0 != sides.currencies.1 {
        "CURRENCY_MISMATCH"
    } else if sides.kinds.0 != sides.kinds.1 || !sides.done {
        "STATUS_MISMATCH"
    } else if ours.abs_diff(theirs) > amount_max {
        "AMOUNT_MISMATCH"
    } else if days > days_max {
        "DATE_MISMATCH"
    } else if ours == theirs {
        "MATCHED"
    } else {
        "MATCHED_TOLERANCE"
    })
}

impl Row {
    fn sides(&self) -> Option<Sides<'_>> {
        Some(Sides {
            kinds: (self.our_kind.as_deref()?, self.kind.as_deref()?),
            amounts: (self.our_amount?, self.amount?),
            currencies: (self.our_currency.as_deref()?, self.currency.as_deref()?),
            days: (self.sold_on?, self.traded_on?),
            done: self.done?,
        })
    }
}
