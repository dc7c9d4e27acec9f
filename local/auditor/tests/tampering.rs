//! Sound books pass, and a row changed by hand in any table or topic is found. The books are copies
//! of a few real payments, in a database and topics of their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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

const TABLES: [&str; 6] = [
    "payment",
    "ledger_entry",
    "outbox_event",
    "outbox_pending",
    "outbox_delivery",
    "idem_response_cache",
];
/// Of the settlement database, which stands beside: `S.` before a table's name.
const SETTLEMENT_TABLES: [&str; 5] = [
    "settlement_source",
    "settlement_batch",
    "settlement_item",
    "outbox_event",
    "outbox_delivery",
];
/// Of the reconciliation database, which stands beside: `R.` before the table's name.
const CASES: &str = "recon_case";
const TOPICS: [&str; 5] = [
    "payment.authorized",
    "payment.captured",
    "payment.refunded",
    "payment.voided",
    "payment.expired",
];

/// What is done to a table, and the check that must find it.
const TAMPERINGS: [(&str, &str); 51] = [
    (
        "payments",
        "UPDATE payment SET status = 'REFUNDED' WHERE status = 'COMPLETED'",
    ),
    (
        "payments",
        "UPDATE payment SET refunded_amount = refunded_amount - 1 WHERE refunded_amount > 0",
    ),
    (
        "payments",
        "UPDATE payment SET version = version + 1 LIMIT 1",
    ),
    (
        "payments",
        "UPDATE payment SET order_id = 'another' LIMIT 1",
    ),
    ("payments", "DELETE FROM payment LIMIT 1"),
    (
        "payments",
        "INSERT INTO payment SELECT UNHEX(MD5('x')), merchant_id, 'added', status, amount, currency, captured_amount, refunded_amount, captured_seq, description, customer, metadata, version, created_at, updated_at, expires_at FROM payment LIMIT 1",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET amount = amount + 1 LIMIT 1",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET credit_account = 'memo:hold' WHERE debit_account = 'asset:network-receivable' LIMIT 1",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET reverses_seq = 7 WHERE reverses_seq IS NOT NULL LIMIT 1",
    ),
    ("ledger", "UPDATE ledger_entry SET currency = 'USD' LIMIT 1"),
    ("ledger", "DELETE FROM ledger_entry LIMIT 1"),
    (
        "ledger",
        "INSERT INTO ledger_entry SELECT subject_id, seq, 9, merchant_id, debit_account, credit_account, amount, currency, NULL, NULL, posted_at FROM ledger_entry LIMIT 1",
    ),
    (
        "ledger",
        "DELETE FROM ledger_entry WHERE credit_account = 'liability:payout-in-transit'",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET amount = amount + 1 WHERE credit_account = 'liability:vat-payable'",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET credit_account = 'expense:recon-write-off' WHERE credit_account = 'liability:recon-suspense'",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET reverses_seq = NULL, reverses_line = NULL WHERE credit_account = 'expense:recon-write-off'",
    ),
    (
        "ledger",
        "DELETE FROM ledger_entry WHERE credit_account = 'expense:recon-write-off'",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET merchant_id = 'm-demo' WHERE merchant_id = 'house'",
    ),
    (
        "ledger",
        "UPDATE R.recon_case SET stake = stake + 1 WHERE action = 'accept'",
    ),
    (
        "ledger",
        "DELETE FROM R.recon_case WHERE action = 'approve'",
    ),
    (
        "ledger",
        "UPDATE R.recon_case SET operator = 'a' WHERE action = 'approve'",
    ),
    ("ledger", "DELETE FROM R.recon_case WHERE action = 'reopen'"),
    (
        "ledger",
        "INSERT INTO R.recon_case SELECT 9, UNHEX(MD5('x')), file_no, line, payment_id, seq, action, reason, stake, currency, account_of, FALSE, NULL, key_id, operator, state_before, state_after, decided_at FROM R.recon_case WHERE case_no = 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_source SET amount = amount + 1 LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_source SET sold_on = sold_on - INTERVAL 1 DAY LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_source SET merchant_id = 'm-other' LIMIT 1",
    ),
    ("settlement", "DELETE FROM S.settlement_source LIMIT 1"),
    (
        "settlement",
        "INSERT INTO S.settlement_source SELECT payment_id, seq + 7, event_id, merchant_id, kind, amount, currency, captured_amount, refunded_amount, sold_on, occurred_at FROM S.settlement_source LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_item SET supply = supply + 1 LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_item SET fee_bp = fee_bp + 10 LIMIT 1",
    ),
    ("settlement", "DELETE FROM S.settlement_item LIMIT 1"),
    (
        "settlement",
        "UPDATE S.settlement_batch SET item_count = item_count + 1 LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_batch SET payout = payout + 1, captured = captured + 1 LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_batch SET carried_in = 10, payout = payout - 10 LIMIT 1",
    ),
    ("settlement", "DELETE FROM S.settlement_batch LIMIT 1"),
    ("settlement", "DELETE FROM S.outbox_event LIMIT 1"),
    (
        "settlement",
        "UPDATE S.outbox_event SET payload = REPLACE(payload, '15630', '15631') LIMIT 1",
    ),
    (
        "events",
        "UPDATE outbox_event SET payload = REPLACE(payload, '\"amount\":10000', '\"amount\":10001') WHERE agg_seq = 1 LIMIT 1",
    ),
    (
        "events",
        "UPDATE outbox_event SET agg_seq = 7 WHERE agg_seq = 2 LIMIT 1",
    ),
    (
        "events",
        "UPDATE outbox_event SET type = 'payment.voided' WHERE agg_seq = 2 LIMIT 1",
    ),
    (
        "events",
        "DELETE FROM outbox_event WHERE agg_seq = 1 LIMIT 1",
    ),
    (
        "events",
        "INSERT INTO outbox_event SELECT id + 1000000, event_id, aggregatetype, aggregateid, agg_seq + 1, type, payload, headers, request, created FROM outbox_event WHERE agg_seq = 3 LIMIT 1",
    ),
    (
        "outbox",
        "INSERT INTO outbox_pending SELECT 1, id FROM outbox_delivery LIMIT 1",
    ),
    ("outbox", "INSERT INTO outbox_pending VALUES (1, 999999999)"),
    ("outbox", "DELETE FROM outbox_delivery LIMIT 1"),
    (
        "outbox",
        "INSERT INTO outbox_delivery SELECT 999999999, kafka_partition, kafka_offset, delivered_at FROM outbox_delivery LIMIT 1",
    ),
    (
        "topics",
        "UPDATE outbox_delivery SET kafka_offset = kafka_offset + 1 LIMIT 1",
    ),
    (
        "replies",
        "UPDATE idem_response_cache SET body = REPLACE(body, '10000', '10001') WHERE status = 200 LIMIT 1",
    ),
    (
        "replies",
        "UPDATE idem_response_cache SET body = NULL LIMIT 1",
    ),
    (
        "replies",
        "DELETE FROM idem_response_cache WHERE status = 200 LIMIT 1",
    ),
    (
        "replies",
        "INSERT INTO idem_response_cache SELECT merchant_id, 'added', fingerprint, status, body, created_at, 0, NULL FROM idem_response_cache WHERE status = 200 LIMIT 1",
    ),
];

/// A settlement of all payments: three captures of 10,000 at 2.31 %, of which 4,000 and 10,000 went
/// back. Figures are worked out by hand.
const SETTLE: &str = "
INSERT INTO S.settlement_source SELECT * FROM settlement.settlement_source
 WHERE CONCAT('pay_', LOWER(HEX(payment_id))) IN (IDS);
INSERT INTO S.settlement_batch
  (settlement_id, merchant_id, currency, cycle, period_from, period_to, paid_out_on, status,
   item_count, captured, refunded, supply, vat, reversed_supply, reversed_vat, payout, updated_at)
SELECT UNHEX('01a21ec94ac57622b7f30917b2dc0c48'), 'm-demo', 'KRW', 'DAILY', MAX(sold_on),
       MAX(sold_on), MAX(sold_on), 'CLOSED', 5, 30000, 14000, 630, 63, 294, 29, 15630,
       '2026-11-01 00:00:00'
  FROM S.settlement_source;
INSERT INTO S.settlement_item
SELECT payment_id, seq, 0, UNHEX('01a21ec94ac57622b7f30917b2dc0c48'), kind, amount, 231,
       IF(amount = 4000, 84, 210), IF(amount = 4000, 8, 21), sold_on
  FROM S.settlement_source;
INSERT INTO S.outbox_event
  (event_id, aggregatetype, aggregateid, agg_seq, type, payload, headers, created)
SELECT settlement_id, 'settlement', 'stl_01a21ec94ac57622b7f30917b2dc0c48', 1, 'settlement.closed',
       JSON_OBJECT('data', JSON_OBJECT(
         'settlementId', 'stl_01a21ec94ac57622b7f30917b2dc0c48', 'merchantId', merchant_id,
         'currency', currency, 'to', period_to, 'itemCount', 5, 'capturedAmount', 30000,
         'refundedAmount', 14000, 'supplyAmount', 630, 'vat', 63, 'reversedSupplyAmount', 294,
         'reversedVat', 29, 'carriedIn', 0, 'payOutAmount', 15630, 'carriedOut', 0, 'seq', 1)),
       '{}', updated_at
  FROM S.settlement_batch;
INSERT INTO S.outbox_delivery SELECT id, 0, 0, created FROM S.outbox_event;
INSERT INTO ledger_entry
  (subject_id, seq, line, merchant_id, debit_account, credit_account, amount, currency, posted_at)
SELECT b.settlement_id, 1, line, b.merchant_id, debit, credit, amount, 'KRW', b.updated_at
  FROM S.settlement_batch b JOIN (
       SELECT 0 AS line, 'liability:merchant-payable' AS debit, 'income:fee' AS credit, 630 AS amount
       UNION SELECT 1, 'liability:merchant-payable', 'liability:vat-payable', 63
       UNION SELECT 2, 'income:fee', 'liability:merchant-payable', 294
       UNION SELECT 3, 'liability:vat-payable', 'liability:merchant-payable', 29
       UNION SELECT 4, 'liability:merchant-payable', 'liability:payout-in-transit', 15630) entry;
";

/// Decisions: a row of 700 that is accepted, once a second operator approves it, and a transaction of
/// 300 that is missing, written off and taken back. One more waits, and has posted nothing.
const DECIDE: &str = "
INSERT INTO R.recon_case
  (case_no, case_id, file_no, line, action, reason, stake, currency, account_of, waits, concerns,
   key_id, operator, state_before, state_after, decided_at)
VALUES
  (1, UNHEX('c1'), 1, 2, 'accept', 'r', 700, 'KRW', 'house', TRUE, NULL, 'a', 'a', '{}', '{}', '2026-11-01'),
  (2, UNHEX('c2'), 1, 2, 'approve', 'r', 700, 'KRW', 'house', FALSE, UNHEX('c1'), 'b', 'b', '{}', '{}', '2026-11-01'),
  (3, UNHEX('c3'), 1, 3, 'write-off', 'r', -300, 'KRW', 'm-demo', FALSE, NULL, 'a', 'a', '{}', '{}', '2026-11-01'),
  (4, UNHEX('c4'), 1, 3, 'reopen', 'r', -300, 'KRW', 'm-demo', FALSE, UNHEX('c3'), 'a', 'a', '{}', '{}', '2026-11-01'),
  (5, UNHEX('c5'), 1, 4, 'accept', 'r', 900, 'KRW', 'house', TRUE, NULL, 'a', 'a', '{}', '{}', '2026-11-01');
INSERT INTO ledger_entry
  (subject_id, seq, line, merchant_id, debit_account, credit_account, amount, currency,
   reverses_seq, reverses_line, posted_at)
VALUES
  (UNHEX('c1'), 1, 0, 'house', 'asset:network-receivable', 'liability:recon-suspense', 700, 'KRW', NULL, NULL, '2026-11-01'),
  (UNHEX('c3'), 1, 0, 'm-demo', 'expense:recon-write-off', 'asset:network-receivable', 300, 'KRW', NULL, NULL, '2026-11-01'),
  (UNHEX('c3'), 2, 0, 'm-demo', 'asset:network-receivable', 'expense:recon-write-off', 300, 'KRW', 1, 0, '2026-11-01');
";

/// How many captures and refunds of the payments are known for settlement.
async fn known_sources(bed: &Testbed, payments: &[String]) -> i64 {
    let ids = format!("'{}'", payments.join("','"));
    let sql = format!(
        "SELECT COUNT(*) FROM settlement.settlement_source
          WHERE CONCAT('pay_', LOWER(HEX(payment_id))) IN ({ids})"
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
        let sql = statement
            .replace("S.", &format!("{}.", books.settlement()))
            .replace("R.", &format!("{}.", books.recon()));
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
            known_sources(&bed, &payments).await == 5
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
        let create = format!("CREATE DATABASE {database}_settlement");
        db.execute(AssertSqlSafe(create)).await.unwrap();
        for table in SETTLEMENT_TABLES {
            let create =
                format!("CREATE TABLE {database}_settlement.{table} LIKE settlement.{table}");
            db.execute(AssertSqlSafe(create)).await.unwrap();
        }
        let create = format!(
            "CREATE DATABASE {database}_recon; CREATE TABLE {database}_recon.{CASES} LIKE recon.{CASES}"
        );
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut db)
            .await
            .unwrap();
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
        self.settle().await;
        self.decide().await;
    }

    /// The database of settlements.
    fn settlement(&self) -> String {
        format!("{}_settlement", self.database)
    }

    /// The database of decisions.
    fn recon(&self) -> String {
        format!("{}_recon", self.database)
    }

    /// Puts some decisions, with what they posted.
    async fn decide(&mut self) {
        let recon = self.recon();
        let sql = DECIDE.replace("R.", &format!("{recon}."));
        let mut sql = format!("DELETE FROM {recon}.{CASES};{sql}");
        for case in 1..=5 {
            let digits = format!("c{case}");
            sql = sql.replace(&format!("'{digits}'"), &format!("'{digits:0>32}'"));
        }
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.db)
            .await
            .unwrap();
    }

    /// Puts one settlement of all the payments, with what it posted and told.
    async fn settle(&mut self) {
        let settlement = self.settlement();
        let ids = format!("'{}'", self.payments.join("','"));
        let sql = SETTLE
            .replace("S.", &format!("{settlement}."))
            .replace("IDS", &ids);
        let empty = SETTLEMENT_TABLES.map(|table| format!("DELETE FROM {settlement}.{table};"));
        let sql = format!("{}{sql}USE {}", empty.concat(), self.database);
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.db)
            .await
            .unwrap();
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
            .iter()
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
        for (second, record) in (1_i64..).zip(records) {
            let topic = format!("{prefix}{}", record.topic);
            let header = |key| Header {
                key,
                value: Some("x"),
            };
            let headers = OwnedHeaders::new()
                .insert(header("ce_id"))
                .insert(header("traceparent"));
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
        let sources = Sources {
            database_url: url.replace("/payment", &format!("/{}", self.database)),
            settlement_database_url: url.replace("/payment", &format!("/{}", self.settlement())),
            recon_database_url: url.replace("/payment", &format!("/{}", self.recon())),
            brokers: env::var("KAFKA_BROKERS").unwrap(),
        };
        let options = Options {
            topic_prefix: topic_prefix.to_owned(),
            ..Options::default()
        };
        audit(&sources, &options).await.unwrap()
    }

    async fn remove(mut self) {
        for database in [self.database.clone(), self.settlement(), self.recon()] {
            let drop = format!("DROP DATABASE {database}");
            self.db.execute(AssertSqlSafe(drop)).await.unwrap();
        }
    }
}
