//! Sound books pass, and a row changed by hand in any table or topic is found. The books are copies
//! of a few real payments, in a database and topics of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tampering_of;

use std::env;

use auditor::{Options, Report, Sources, audit};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use testbed::{Testbed, WAIT_MAX, fresh, until};

use crate::tampering_of::TAMPERINGS;

const TABLES: [&str; 6] = [
    "payment",
    "ledger_entry",
    "outbox_event",
    "outbox_pending",
    "outbox_delivery",
    "idem_response_cache",
];
/// Databases that stand beside, what stands for them before a table's name, and their tables.
const BESIDE: [(&str, &str, &[&str]); 3] = [
    (
        "settlement",
        "S.",
        &[
            "settlement_source",
            "settlement_batch",
            "settlement_item",
            "outbox_event",
            "outbox_pending",
            "outbox_delivery",
        ],
    ),
    (
        "recon",
        "R.",
        &[
            "recon_transaction",
            "recon_row",
            "recon_file",
            "recon_case",
            "outbox_event",
            "outbox_pending",
            "outbox_delivery",
        ],
    ),
    ("dlq", "D.", &["dlq_decision"]),
];
const TOPICS: [&str; 5] = [
    "payment.authorized",
    "payment.captured",
    "payment.refunded",
    "payment.voided",
    "payment.expired",
];
/// Those of the databases beside.
const TOPICS_BESIDE: [&str; 3] = [
    "settlement.closed",
    "recon.file-uploaded",
    "recon.unmatched",
];
/// Has one letter, which was purged.
const LETTERS: &str = "payment.captured.settlement-ingest.dlq";

/// A settlement of all payments: three captures of 10,000 at 2.31 %, of which 4,000 and 10,000 went
/// back. Figures are worked out by hand.
const SETTLE: &str = include_str!("tampering_of/settle.sql");

/// A file of the day: it has the three captures, the refund of 4,000 as one of 4,001, and not the
/// other; then a row that nobody knows, one that cannot be read, and a capture once more.
const RECONCILE: &str = include_str!("tampering_of/reconcile.sql");

/// Decisions: a row of 700 that is accepted, once a second operator approves it, and a transaction of
/// 300 that is missing, written off and taken back. One more waits, and has posted nothing.
const DECIDE: &str = include_str!("tampering_of/decide.sql");

/// How many captures and refunds of the payments are known for settlement and reconciliation.
async fn known_copies(bed: &Testbed, payments: &[String]) -> i64 {
    let ids = format!("'{}'", payments.join("','"));
    let of_payments = format!("CONCAT('pay_', LOWER(HEX(payment_id))) IN ({ids})");
    let sql = format!(
        "SELECT (SELECT COUNT(*) FROM settlement.settlement_source WHERE {of_payments})
              + (SELECT COUNT(*) FROM recon.recon_transaction WHERE {of_payments})"
    );
    let count = sqlx::query_scalar(AssertSqlSafe(sql));
    count.fetch_one(bed.database()).await.unwrap()
}

/// A record as it was written: key, topic, value, and its place in time.
#[derive(Clone)]
struct Written {
    topic: String,
    key: String,
    value: String,
}

/// Books of their own.
struct Books {
    database: String,
    merchant: String,
    payments: Vec<String>,
    db: MySqlConnection,
}

#[tokio::test]
async fn every_tampering_is_found_by_the_check_that_looks_there() {
    let mut books = Books::copy().await;
    let records = books.records().await;
    let prefix = books.publish(&records).await;
    let report = books.audit(&prefix).await;
    assert!(report.holds(), "{report}");

    for (check, statement) in TAMPERINGS {
        let sql = books.named(statement);
        let done = books.db.execute(AssertSqlSafe(sql)).await.unwrap();
        assert!(done.rows_affected() > 0, "changes nothing: {statement}");
        let report = books.audit(&prefix).await;
        assert!(violated(&report).contains(&check), "{statement}\n{report}");
        books.fill().await;
        books.deliver(&records).await;
    }

    let mut twice = records.clone();
    twice.push(records[0].clone());
    let prefix = books.publish(&twice).await;
    let report = books.audit(&prefix).await;
    assert!(report.holds(), "an event may be there twice: {report}");

    let mut missing = records.clone();
    missing.pop();
    let mut altered = records.clone();
    altered[0].value = altered[0].value.replace("10000", "10001");
    let mut turned = records.clone();
    turned.swap(0, 1);
    let mut added = records.clone();
    added[0].key = "pay_00000000000000000000000000000000".to_owned();
    added.extend(records.clone());
    for tampered in [missing, altered, turned, added] {
        let prefix = books.publish(&tampered).await;
        books.deliver(&records).await;
        let report = books.audit(&prefix).await;
        assert_eq!(violated(&report), ["topics"], "{report}");
    }
    books.remove().await;
}

fn violated(report: &Report) -> Vec<&'static str> {
    let violated = report.checks.iter().filter(|check| check.violations > 0);
    violated.map(|check| check.name).collect()
}

impl Books {
    /// Copies some payments, whose events are all on the topics, from the stack under test.
    async fn copy() -> Self {
        let bed = Testbed::new().await;
        let mut payments = Vec::new();
        for refund in [4_000, 10_000] {
            let payment = bed.refunded(10_000, refund).await;
            bed.events(&payment, 3).await;
            payments.push(payment);
        }
        for payment in [bed.captured(10_000).await, bed.authorized(10_000).await] {
            bed.events(&payment, 1).await;
            payments.push(payment);
        }
        bed.events(&payments[2], 2).await;
        until("every capture and refund is known", async || {
            known_copies(&bed, &payments).await == 10
        })
        .await;
        let url = env::var("DATABASE_URL_ADMIN").unwrap();
        let database = fresh("audit").replace('-', "_");
        let mut db = MySqlConnection::connect(&url).await.unwrap();
        let create = format!("CREATE DATABASE {database}; USE {database}");
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut db)
            .await
            .unwrap();
        for table in TABLES {
            let create = format!("CREATE TABLE {table} LIKE payment.{table}");
            db.execute(AssertSqlSafe(create)).await.unwrap();
        }
        for (service, _, tables) in BESIDE {
            let create = format!("CREATE DATABASE {database}_{service}");
            db.execute(AssertSqlSafe(create)).await.unwrap();
            for table in tables {
                let create =
                    format!("CREATE TABLE {database}_{service}.{table} LIKE {service}.{table}");
                db.execute(AssertSqlSafe(create)).await.unwrap();
            }
        }
        let merchant = "m-demo".to_owned();
        let mut books = Self {
            database,
            merchant,
            payments,
            db,
        };
        books.fill().await;
        books
    }

    /// Puts the rows as the stack has them.
    async fn fill(&mut self) {
        let ids = format!("'{}'", self.payments.join("','"));
        let uuids = "CONCAT('pay_', LOWER(HEX(payment_id)))";
        let events = format!("SELECT id FROM payment.outbox_event WHERE aggregateid IN ({ids})");
        let keys = format!(
            "SELECT JSON_VALUE(request, '$.idempotencyKey') FROM payment.outbox_event WHERE aggregateid IN ({ids})"
        );
        let merchant = &self.merchant;
        for (table, rows) in [
            ("payment", format!("{uuids} IN ({ids})")),
            (
                "ledger_entry",
                format!("CONCAT('pay_', LOWER(HEX(subject_id))) IN ({ids})"),
            ),
            ("outbox_event", format!("aggregateid IN ({ids})")),
            ("outbox_pending", format!("id IN ({events})")),
            ("outbox_delivery", format!("id IN ({events})")),
            (
                "idem_response_cache",
                format!("merchant_id = '{merchant}' AND idem_key IN ({keys})"),
            ),
        ] {
            let refill = format!(
                "TRUNCATE {table}; INSERT INTO {table} SELECT * FROM payment.{table} WHERE {rows}"
            );
            sqlx::raw_sql(AssertSqlSafe(refill))
                .execute(&mut self.db)
                .await
                .unwrap();
        }
        self.fill_beside().await;
    }

    /// A statement with the names of the databases beside.
    fn named(&self, statement: &str) -> String {
        let beside = BESIDE.into_iter();
        beside.fold(statement.to_owned(), |named, (service, short, _)| {
            named.replace(short, &format!("{}_{service}.", self.database))
        })
    }

    /// Puts one settlement of all the payments, with what it posted and told, and one file.
    async fn fill_beside(&mut self) {
        let ids = format!("'{}'", self.payments.join("','"));
        let tables = BESIDE
            .iter()
            .flat_map(|(_, short, tables)| tables.iter().map(move |table| (short, table)));
        let empty: Vec<String> = tables
            .map(|(short, table)| format!("DELETE FROM {short}{table};"))
            .collect();
        let fill = format!("{SETTLE}{RECONCILE}{DECIDE}").replace("IDS", &ids);
        let sql = format!("{}{fill}", empty.concat());
        let sql = format!("{}USE {}", self.named(&sql), self.database);
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.db)
            .await
            .unwrap();
    }

    /// What the services beside told.
    async fn told_beside(&mut self) -> Vec<Written> {
        let sql = self.named(
            "SELECT type, aggregateid, payload FROM S.outbox_event
             UNION ALL SELECT type, aggregateid, payload FROM R.outbox_event",
        );
        let rows: Vec<(String, String, String)> = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_all(&mut self.db)
            .await
            .unwrap();
        let written = rows.into_iter();
        written
            .map(|(topic, key, value)| Written { topic, key, value })
            .collect()
    }

    /// The records that belong to the rows, in order.
    async fn records(&mut self) -> Vec<Written> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT type, aggregateid, payload FROM outbox_event ORDER BY aggregateid, agg_seq",
        )
        .fetch_all(&mut self.db)
        .await
        .unwrap();
        let written = rows.into_iter();
        written
            .map(|(topic, key, value)| Written { topic, key, value })
            .collect()
    }

    /// Writes records to topics of their own, a second apart, notes where they are and gives the
    /// topics' prefix.
    async fn publish(&mut self, records: &[Written]) -> String {
        let prefix = format!("{}.", fresh("audit"));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", env::var("KAFKA_BROKERS").unwrap());
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let names: Vec<String> = TOPICS
            .into_iter()
            .chain(TOPICS_BESIDE)
            .chain([LETTERS])
            .map(|topic| format!("{prefix}{topic}"))
            .collect();
        let topics = names.iter().map(|name| {
            NewTopic::new(name, 1, TopicReplication::Fixed(1))
                .set("message.timestamp.type", "CreateTime")
                // The records are years old.
                .set("retention.ms", "-1")
        });
        let topics: Vec<NewTopic<'_>> = topics.collect();
        let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
        for created in admin.create_topics(&topics, &options).await.unwrap() {
            created.unwrap();
        }
        let producer: FutureProducer = config.create().unwrap();
        let mut records_beside = self.told_beside().await;
        records_beside.push(Written {
            topic: LETTERS.to_owned(),
            key: "k".to_owned(),
            value: "no event".to_owned(),
        });
        for (second, record) in (1_i64..).zip(records.iter().chain(&records_beside)) {
            let topic = format!("{prefix}{}", record.topic);
            let header = |key| Header {
                key,
                value: Some("x"),
            };
            let headers = OwnedHeaders::new()
                .insert(header("ce_id"))
                .insert(header("traceparent"))
                .insert(header("kafka_dlt-original-topic"))
                .insert(header("kafka_dlt-original-offset"));
            let written = FutureRecord::to(&topic)
                .key(&record.key)
                .payload(&record.value)
                .timestamp(1_700_000_000_000 + second * 1_000)
                .headers(headers);
            producer.send(written, WAIT_MAX).await.unwrap();
        }
        self.deliver(records).await;
        prefix
    }

    /// Notes the place that each record has when the records are written in order.
    async fn deliver(&mut self, records: &[Written]) {
        for topic in TOPICS {
            let on_it = records.iter().filter(|record| record.topic == topic);
            for (offset, record) in (0_i64..).zip(on_it) {
                sqlx::query(
                    "UPDATE outbox_delivery d JOIN outbox_event e ON e.id = d.id \
                        SET d.kafka_partition = 0, d.kafka_offset = ? WHERE e.payload = ?",
                )
                .bind(offset)
                .bind(&record.value)
                .execute(&mut self.db)
                .await
                .unwrap();
            }
        }
    }

    async fn audit(&self, topic_prefix: &str) -> Report {
        let url = env::var("DATABASE_URL_ADMIN").unwrap();
        let beside =
            |service: &str| url.replace("/payment", &format!("/{}_{service}", self.database));
        let sources = Sources {
            database_url: url.replace("/payment", &format!("/{}", self.database)),
            settlement_database_url: beside("settlement"),
            recon_database_url: beside("recon"),
            dlq_database_url: beside("dlq"),
            brokers: env::var("KAFKA_BROKERS").unwrap(),
        };
        let options = Options {
            topic_prefix: topic_prefix.to_owned(),
            ..Options::default()
        };
        audit(&sources, &options).await.unwrap()
    }

    async fn remove(mut self) {
        let beside = BESIDE.map(|(service, ..)| format!("{}_{service}", self.database));
        for database in beside.into_iter().chain([self.database.clone()]) {
            let drop = format!("DROP DATABASE {database}");
            self.db.execute(AssertSqlSafe(drop)).await.unwrap();
        }
    }
}
