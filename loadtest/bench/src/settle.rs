//! `bench settle`: how long a settlement takes, control totals included.

use std::fmt;

use anyhow::{Context, ensure};
use chrono::{Days, NaiveDate, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

use crate::{
    connection::{Connection as Client, Service, fresh_id},
    journal::Journal,
    processes::{CpuOfEach, Processes},
    target::variable,
};

/// Between two sizes, so that each is alone on its day.
const DAYS_APART: u64 = 1;
/// Of one capture, in won.
const AMOUNT: u64 = 1_000;

#[derive(Serialize)]
struct Settle {
    items: u64,
    seconds: f64,
    microseconds_per_item: f64,
    cpu_ms_per_item: CpuOfEach,
}

/// Settles as many captures as each size says, of a merchant and day of its own. The captures are
/// written to the ledger and to the settlement database alone: the books do not hold afterwards.
pub(crate) async fn measure(
    service: &Service,
    sizes: &[u64],
    journal: &Journal,
) -> anyhow::Result<()> {
    let mut db = MySqlConnection::connect(&variable("DATABASE_URL_ADMIN")?).await?;
    let processes = Processes::of_stack().await?;
    let mut day = Utc::now().date_naive();
    for items in sizes.iter().copied() {
        day = day.checked_sub_days(Days::new(DAYS_APART)).context("day")?;
        let merchant = format!("m-{}", fresh_id());
        fill(&mut db, &merchant, day, items).await?;
        let body = json!({ "from": day, "to": day, "merchantId": merchant });
        let before = processes.cpu();
        let began = std::time::Instant::now();
        let mut client = Client::new(service.clone());
        let answer = client.post("/settlements", body.to_string().into()).await?;
        let seconds = began.elapsed().as_secs_f64();
        let answered: Value = serde_json::from_slice(&answer.body)?;
        let settled = &answered["data"][0];
        ensure!(settled["itemCount"] == items, "{answered}");
        #[expect(clippy::cast_precision_loss, reason = "a figure")]
        let microseconds_per_item = seconds * 1e6 / items as f64;
        journal.tell(&Settle {
            items,
            seconds,
            microseconds_per_item,
            cpu_ms_per_item: processes.cpu().of_each(&before, items),
        })?;
    }
    Ok(())
}

/// Captures of a day, spread over it, by payments whose ids follow each other as real ones do. The days
/// before count as proven.
async fn fill(
    db: &mut MySqlConnection,
    merchant: &str,
    day: NaiveDate,
    items: u64,
) -> anyhow::Result<()> {
    let first = fastrand::u32(..);
    let id = format!("UNHEX(CONCAT(LPAD(HEX({first} + seq), 12, '0'), LEFT(MD5(seq), 20)))");
    let at = format!("'{day}' + INTERVAL (seq * 50000 DIV {items}) SECOND");
    let entry = |seq: u32, line: u32, debit: &str, credit: &str| {
        format!(
            "INSERT INTO payment.ledger_entry
                 (subject_id, seq, line, merchant_id, debit_account, credit_account, amount,
                  currency, posted_at)
             SELECT {id}, {seq}, {line}, '{merchant}', '{debit}', '{credit}', {AMOUNT}, 'KRW', {at}
               FROM seq_1_to_{items};"
        )
    };
    let sql = [
        format!(
            "UPDATE settlement.settlement_control SET proven_through = '{day}' - INTERVAL 1 DAY;"
        ),
        entry(1, 0, "memo:hold", "memo:hold-contra"),
        entry(2, 0, "memo:hold-contra", "memo:hold"),
        entry(2, 1, "asset:network-receivable", "liability:merchant-payable"),
        format!(
            "INSERT INTO settlement.settlement_source
                 (payment_id, seq, event_id, merchant_id, kind, amount, currency, captured_amount,
                  refunded_amount, sold_on, occurred_at)
             SELECT {id}, 2, {id}, '{merchant}', 'CAPTURE', {AMOUNT}, 'KRW', {AMOUNT}, 0, '{day}', {at}
               FROM seq_1_to_{items};"
        ),
    ];
    let sql = AssertSqlSafe(sql.concat());
    sqlx::raw_sql(sql).execute(db).await?;
    Ok(())
}

impl fmt::Display for Settle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            items,
            seconds,
            microseconds_per_item,
            cpu_ms_per_item,
        } = self;
        writeln!(
            formatter,
            "settle     {items} items in {seconds:.2} s, {microseconds_per_item:.1} µs each"
        )?;
        writeln!(formatter, "CPU        {cpu_ms_per_item} per item")
    }
}
