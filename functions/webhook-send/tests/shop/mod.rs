//! Merchants with endpoints, apart from the stack's.

use std::{fs, process::Stdio};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sqlx::FromRow;
use tempfile::TempDir;
use testbed::{Apart, Received, Testbed};
use tokio::{io::AsyncWriteExt, process::Command};
use uuid::Uuid;

/// The service with a key file, and a schedule, of its own.
pub(crate) struct Shop {
    apart: Apart,
    keys: TempDir,
}

/// A webhook and its attempts.
#[derive(Debug, PartialEq, Eq, FromRow)]
pub(crate) struct Row {
    pub(crate) status: String,
    pub(crate) attempts: i64,
    pub(crate) last_status: Option<u16>,
    pub(crate) last_error: Option<String>,
}

impl Row {
    pub(crate) fn is(&self, status: &str, attempts: i64) -> bool {
        self.status == status && self.attempts == attempts
    }
}

impl Shop {
    /// Starts it, `divisor` times as fast, with the endpoints of merchants by key id.
    pub(crate) async fn open(divisor: u32, endpoints: &[(&str, &str)]) -> Self {
        Self::open_with(divisor, endpoints, true).await
    }

    pub(crate) async fn open_with(
        divisor: u32,
        endpoints: &[(&str, &str)],
        private_allowed: bool,
    ) -> Self {
        let keys = TempDir::new().unwrap();
        write_keys(&keys, endpoints);
        let file = keys.path().join("keys.json").display().to_string();
        let functions = ["notify", "webhook-query", "webhook-resend", "webhook-send"];
        let apart = Apart::start_changed("notify", &functions, |all| {
            for (_, function) in all.iter_mut() {
                let function = function.as_table_mut().unwrap();
                function["secrets"]["KEYS_FILE"] = file.clone().into();
                let environment = [
                    ("WEBHOOK_SCHEDULE_DIVISOR", divisor.to_string()),
                    ("WEBHOOK_PRIVATE_ALLOWED", private_allowed.to_string()),
                ];
                let table = environment.map(|(name, value)| (name.to_owned(), value.into()));
                let table: toml::Table = table.into_iter().collect();
                function.insert("environment".to_owned(), table.into());
            }
        })
        .await;
        Self { apart, keys }
    }

    pub(crate) fn bed(&self) -> &Testbed {
        &self.apart.bed
    }

    /// Names other endpoints.
    pub(crate) fn name(&self, endpoints: &[(&str, &str)]) {
        write_keys(&self.keys, endpoints);
    }

    /// Brings events to `notify`, all in one batch.
    pub(crate) async fn tell(&self, events: &[&Value]) {
        let mut records = serde_json::Map::new();
        for (offset, event) in events.iter().enumerate() {
            let topic = event["type"].as_str().unwrap();
            let partition = records.entry(format!("{topic}-0"));
            let partition = partition.or_insert_with(|| json!([])).as_array_mut();
            partition.unwrap().push(json!({
                "topic": topic, "partition": 0, "offset": offset, "timestamp": 0,
                "timestampType": "CREATE_TIME", "key": null,
                "value": BASE64_STANDARD.encode(event.to_string()), "headers": [],
            }));
        }
        let batch = json!({ "eventSource": "aws:SelfManagedKafka", "records": records });
        let answer = self.bed().invoke("notify", &batch).await;
        assert_eq!(answer, json!({ "batchItemFailures": [] }));
    }

    /// What is known of an event; `None` before it came.
    pub(crate) async fn row(&self, event: &Value) -> Option<Row> {
        sqlx::query_as(
            "SELECT d.status, COUNT(a.number) AS attempts,
                    (SELECT status FROM webhook_attempt l
                      WHERE l.webhook_id = d.webhook_id ORDER BY number DESC LIMIT 1) AS last_status,
                    (SELECT error FROM webhook_attempt l
                      WHERE l.webhook_id = d.webhook_id ORDER BY number DESC LIMIT 1) AS last_error
               FROM webhook_delivery d LEFT JOIN webhook_attempt a ON a.webhook_id = d.webhook_id
              WHERE d.webhook_id = ? GROUP BY d.webhook_id",
        )
        .bind(event["id"].as_str().unwrap().parse::<Uuid>().unwrap())
        .fetch_optional(self.bed().database())
        .await
        .unwrap()
    }

    /// Has an event have come days ago.
    pub(crate) async fn came(&self, event: &Value, days_ago: u32) {
        sqlx::query(
            "UPDATE webhook_delivery SET created_at = created_at - INTERVAL ? DAY
              WHERE webhook_id = ?",
        )
        .bind(days_ago)
        .bind(event["id"].as_str().unwrap().parse::<Uuid>().unwrap())
        .execute(self.bed().database())
        .await
        .unwrap();
    }

    /// Waits until an event's webhook is in this status after so many attempts.
    pub(crate) async fn reaches(&self, event: &Value, status: &str, attempts: i64) {
        let what = format!("{event} {status} after {attempts}");
        testbed::until(&what, async || {
            self.row(event)
                .await
                .is_some_and(|row| row.is(status, attempts))
        })
        .await;
    }
}

/// The secret of a merchant's webhooks.
pub(crate) fn secret(key_id: &str) -> String {
    let secret = format!("{key_id:*<24}");
    format!("whsec_{}", BASE64_STANDARD.encode(secret))
}

/// The stack's keys, with these endpoints.
fn write_keys(directory: &TempDir, endpoints: &[(&str, &str)]) {
    let keys = fs::read(std::env::var("KEYS_FILE").unwrap()).unwrap();
    let mut keys: Vec<Value> = serde_json::from_slice(&keys).unwrap();
    for key in &mut keys {
        let key_id = key["keyId"].as_str().unwrap().to_owned();
        if let Some((_, url)) = endpoints.iter().find(|(named, _)| *named == key_id) {
            key["webhook"] = json!({ "url": url, "secret": secret(&key_id) });
        }
    }
    let next = directory.path().join("next");
    fs::write(&next, json!(keys).to_string()).unwrap();
    fs::rename(next, directory.path().join("keys.json")).unwrap();
}

/// An event of a payment.
pub(crate) fn event(merchant: &str, payment: &str, seq: u32, event_type: &str) -> Value {
    json!({
        "specversion": "1.0",
        "id": Uuid::now_v7(),
        "type": event_type,
        "subject": payment,
        "time": "2026-03-31T15:00:00.000Z",
        "data": { "paymentId": payment, "merchantId": merchant, "seq": seq, "note": "한국어 / \u{1f980}" },
    })
}

/// The first event of a payment of its own.
pub(crate) fn authorized(merchant: &str) -> Value {
    let payment = format!("pay_{}", Uuid::now_v7().simple());
    event(merchant, &payment, 1, "payment.authorized")
}

/// Lets the library of those who specified webhooks verify what came to a merchant.
pub(crate) async fn verify(key_id: &str, received: &[Received]) {
    let python = std::env::var("PAYFN_PYTHON").expect("PAYFN_PYTHON is not set: run by local/test");
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let sent = received.iter().map(|received| {
        let headers = names.map(|name| (name, received.header(name)));
        let headers: std::collections::BTreeMap<_, _> = headers.into_iter().collect();
        let body = std::str::from_utf8(&received.body).unwrap();
        json!({ "secret": secret(key_id), "headers": headers, "body": body })
    });
    let sent: Vec<Value> = sent.collect();
    assert!(!sent.is_empty());
    let mut verify = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = verify.stdin.take().unwrap();
    input
        .write_all(json!(sent).to_string().as_bytes())
        .await
        .unwrap();
    drop(input);
    assert!(verify.wait().await.unwrap().success());
}
