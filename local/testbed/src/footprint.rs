use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use sqlx::{AssertSqlSafe, MySqlPool};

use crate::{Testbed, events};

const WATERMARK_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything the database holds of one payment, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Its row of `payment`.
    pub payment: Vec<String>,
    /// Its rows of `ledger_entry`.
    pub ledger: Vec<String>,
    /// Its rows of `outbox_event`.
    pub outbox: Vec<String>,
}

/// How much the whole system holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Rows of `payment`.
    pub payments: i64,
    /// Rows of `ledger_entry`.
    pub ledger_entries: i64,
    /// Rows of `outbox_event`.
    pub outbox_events: i64,
    /// Messages ever written to the payment topics.
    pub topic_messages: i64,
}

impl Testbed {
    /// What the database holds of a payment.
    pub async fn footprint(&self, payment_id: &str) -> Footprint {
        let uuid = payment_id.trim_start_matches("pay_");
        let database = self.database();
        Footprint {
            payment: rows(
                database,
                "SELECT CONCAT_WS('|', status, amount, captured_amount, refunded_amount, version, \
                 updated_at) FROM payment WHERE payment_id = UNHEX(?)",
                uuid,
            )
            .await,
            ledger: rows(
                database,
                "SELECT CONCAT_WS('|', seq, line, debit_account, credit_account, amount, currency, \
                 COALESCE(reverses_seq, '-'), COALESCE(reverses_line, '-')) \
                 FROM ledger_entry WHERE subject_id = UNHEX(?) ORDER BY seq, line",
                uuid,
            )
            .await,
            outbox: rows(
                database,
                "SELECT CONCAT_WS('|', agg_seq, type, payload) FROM outbox_event \
                 WHERE aggregateid = ? ORDER BY agg_seq",
                payment_id,
            )
            .await,
        }
    }

    /// How much the system holds once nothing is pending any more.
    pub async fn totals(&self) -> Totals {
        self.everything_sent().await;
        Totals {
            payments: self.count("payment").await,
            ledger_entries: self.count("ledger_entry").await,
            outbox_events: self.count("outbox_event").await,
            topic_messages: tokio::task::spawn_blocking(topic_messages)
                .await
                .expect("no panic"),
        }
    }

    /// Rows of a table.
    pub async fn count(&self, table: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}")))
            .fetch_one(self.database())
            .await
            .expect("the table can be counted")
    }
}

async fn rows(database: &MySqlPool, sql: &'static str, id: &str) -> Vec<String> {
    sqlx::query_scalar(sql)
        .bind(id)
        .fetch_all(database)
        .await
        .expect("the rows can be read")
}

fn topic_messages() -> i64 {
    let consumer: BaseConsumer = events::config().create().expect("a consumer");
    let metadata = consumer
        .fetch_metadata(None, WATERMARK_TIMEOUT)
        .expect("metadata");
    metadata
        .topics()
        .iter()
        .filter(|topic| events::TOPICS.contains(&topic.name()))
        .flat_map(|topic| {
            topic
                .partitions()
                .iter()
                .map(|partition| (topic.name(), partition.id()))
        })
        .map(|(topic, partition)| {
            let (_, high) = consumer
                .fetch_watermarks(topic, partition, WATERMARK_TIMEOUT)
                .expect("watermarks");
            high
        })
        .sum()
}
