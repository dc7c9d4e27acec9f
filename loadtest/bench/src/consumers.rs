//! `bench consumers`: how fast the services that follow payments take their events.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use chrono::{SecondsFormat, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use serde::Serialize;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    connection::fresh_id,
    journal::Journal,
    processes::{CpuOfEach, Processes},
    target::variable,
};

const TOPIC: &str = "payment.captured";
/// Who follows payments, and where it notes them.
const CONSUMERS: [(&str, &str); 2] = [
    ("settlement-ingest", "settlement.settlement_source"),
    ("recon-ingest", "recon.recon_transaction"),
];
/// Events on their way to the broker at once.
const SENDING_MAX: usize = 2_000;
/// How often is looked how far they are, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_mins(5);
/// Of one capture, in won.
const AMOUNT: u64 = 1_000;

#[derive(Serialize)]
struct Consumers {
    events: u64,
    /// Until the last of the events was sent.
    sent_seconds: f64,
    each: Vec<Consumer>,
    cpu_ms_per_event: CpuOfEach,
}

#[derive(Serialize)]
struct Consumer {
    function: &'static str,
    /// From the first event sent to the last one noted.
    seconds: f64,
    events_per_second: f64,
}

/// Tells captures of payments that nobody made: the books do not hold afterwards. All consumers of
/// the topic are at work at once.
pub(crate) async fn measure(events: u64, journal: &Journal) -> anyhow::Result<()> {
    let mut db = MySqlConnection::connect(&variable("DATABASE_URL_ADMIN")?).await?;
    let processes = Processes::of_stack().await?;
    let mut missing: Vec<(usize, u64)> = Vec::new();
    for (index, (_, table)) in CONSUMERS.iter().enumerate() {
        missing.push((index, count(&mut db, table).await? + events));
    }
    let cpu = processes.cpu();
    let began = Instant::now();
    let sending = tokio::spawn(send(events));
    let mut each = Vec::new();
    while !missing.is_empty() {
        ensure!(began.elapsed() < PATIENCE, "the events did not arrive");
        sleep(LOOK_EVERY).await;
        let mut still = Vec::new();
        for (index, wanted) in missing {
            let (function, table) = CONSUMERS[index];
            if count(&mut db, table).await? < wanted {
                still.push((index, wanted));
                continue;
            }
            let seconds = began.elapsed().as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "a figure")]
            let events_per_second = events as f64 / seconds;
            each.push(Consumer {
                function,
                seconds,
                events_per_second,
            });
        }
        missing = still;
    }
    journal.tell(&Consumers {
        events,
        sent_seconds: sending.await??.as_secs_f64(),
        each,
        cpu_ms_per_event: processes.cpu().of_each(&cpu, events),
    })
}

async fn count(db: &mut MySqlConnection, table: &str) -> anyhow::Result<u64> {
    let query = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    let count: i64 = sqlx::query_scalar(query).fetch_one(db).await?;
    Ok(u64::try_from(count)?)
}

/// Sends an event each of as many payments; how long it took.
async fn send(events: u64) -> anyhow::Result<Duration> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", variable("KAFKA_BROKERS")?)
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("partitioner", "murmur2_random")
        .create()
        .context("no producer")?;
    let merchant = format!("m-{}", fresh_id());
    let began = Instant::now();
    let sent = stream::iter(0..events).map(|_| {
        let (key, value) = captured(&merchant);
        let producer = producer.clone();
        async move {
            let record = FutureRecord::to(TOPIC).key(&key).payload(&value);
            let sent = producer.send(record, PATIENCE).await;
            sent.map_err(|(error, _)| error)
        }
    });
    let mut sent = sent.buffered(SENDING_MAX);
    while sent.try_next().await?.is_some() {}
    Ok(began.elapsed())
}

/// Key and value of the event.
fn captured(merchant: &str) -> (String, String) {
    let payment_id = format!("pay_{}", Uuid::now_v7().simple());
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let event = json!({
        "specversion": "1.0", "id": Uuid::now_v7(), "source": "/payfn/payment", "type": TOPIC,
        "subject": payment_id, "time": now,
        "data": {
            "paymentId": payment_id, "merchantId": merchant, "orderId": fresh_id(),
            "status": "COMPLETED", "amount": AMOUNT, "currency": "KRW", "capturedAmount": AMOUNT,
            "refundedAmount": 0, "createdAt": now, "updatedAt": now, "version": 2, "seq": 2,
        },
    });
    (payment_id, event.to_string())
}

impl fmt::Display for Consumers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            sent_seconds,
            each,
            cpu_ms_per_event,
        } = self;
        writeln!(
            formatter,
            "sent       {events} events in {sent_seconds:.2} s"
        )?;
        for it in each {
            writeln!(
                formatter,
                "{:18} {:.0} events/s, {:.2} s",
                it.function, it.events_per_second, it.seconds
            )?;
        }
        writeln!(formatter, "CPU        {cpu_ms_per_event} per event")
    }
}
