//! A consumer with a topic and books of its own, and the desk for its dead letters.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use testbed::{Apart, Reply, fresh, make_topic, send, until};
use uuid::Uuid;

const CONSUMER: &str = "settlement-ingest";

pub(crate) struct Scene {
    consumer: Apart,
    pub(crate) desk: Apart,
    topic: String,
    /// `/dlq/{topic}` of its dead letters.
    pub(crate) path: String,
}

impl Scene {
    /// A record is given up after two tries.
    pub(crate) async fn new() -> Self {
        let topic = fresh("captured");
        make_topic(&topic).await;
        let source = format!(
            "topics = ['{topic}']\ngroup = '{topic}'\nwindow_ms = 10\nmax_retries = 1\n\
             bisect = true\npartial_failures = true\npark_key = true\n\
             on_failure = 'kafka://{{topic}}.{CONSUMER}.dlq'"
        );
        let consumer = Apart::start_changed("settlement", &[CONSUMER], |functions| {
            let source: toml::Table = source.parse().unwrap();
            let function = functions[CONSUMER].as_table_mut().unwrap();
            function.insert("kafka".to_owned(), vec![source].into());
        })
        .await;
        let url = consumer.bed.invoke_url().to_owned();
        let desk = Apart::start_changed("dlq", &["dlq-replay"], |functions| {
            functions["dlq-replay"]["environment"]["INVOKE_URL"] = url.into();
        })
        .await;
        let path = format!("/dlq/{topic}.{CONSUMER}.dlq");
        Self {
            consumer,
            desk,
            topic,
            path,
        }
    }

    /// Writes to the topic that the consumer reads.
    pub(crate) async fn tell(&self, key: &str, value: &str) {
        let headers = [("ce_id", "made-up")];
        send(&self.topic, Some(key), value.as_bytes(), &headers).await;
    }

    /// Writes to it without a key.
    pub(crate) async fn tell_bytes(&self, value: &[u8]) {
        send(&self.topic, None, value, &[]).await;
    }

    /// Gives the consumer an event past the topic.
    pub(crate) async fn give(&self, value: &str) {
        let partition = format!("{}-0", self.topic);
        let record = json!({
            "topic": self.topic, "partition": 0, "offset": 0, "timestamp": 0,
            "timestampType": "CREATE_TIME", "key": null,
            "value": BASE64_STANDARD.encode(value), "headers": [],
        });
        let event = json!({
            "eventSource": "aws:SelfManagedKafka", "records": { partition: [record] },
        });
        let answer = self.consumer.bed.invoke(CONSUMER, &event).await;
        assert_eq!(answer, json!({ "batchItemFailures": [] }));
    }

    pub(crate) async fn post(&self, command: &str, body: &Value) -> Reply {
        let path = format!("{}/{command}", self.path);
        self.desk.bed.caller("ops").post(&path, body).await
    }

    /// What a command answers that is accepted.
    pub(crate) async fn done(&self, command: &str, body: &Value) -> Value {
        let reply = self.post(command, body).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        reply.json()
    }

    pub(crate) async fn get(&self, query: &str) -> Reply {
        let path = format!("{}?{query}", self.path);
        self.desk.bed.caller("ops").get(&path).await
    }

    /// The letters of a status.
    pub(crate) async fn letters(&self, status: &str) -> Vec<Value> {
        let reply = self.get(&format!("limit=100&status={status}")).await;
        if reply.status == 404 {
            // The runtime makes the topic when it has begun.
            return Vec::new();
        }
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        reply.json()["data"].as_array().unwrap().clone()
    }

    /// The pending letters, once there are so many.
    pub(crate) async fn pending(&self, count: usize) -> Vec<Value> {
        let mut pending = Vec::new();
        until("the dead letters", async || {
            pending = self.letters("PENDING").await;
            pending.len() >= count
        })
        .await;
        assert_eq!(pending.len(), count);
        pending
    }

    /// How many letters were decided about.
    pub(crate) async fn decided(&self) -> usize {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM dlq_decision");
        let count: i64 = count.fetch_one(self.desk.bed.database()).await.unwrap();
        usize::try_from(count).unwrap()
    }

    /// The `seq` of what the consumer has noted of a payment.
    pub(crate) async fn noted(&self, payment_id: &str) -> Vec<u32> {
        let query = "SELECT seq FROM settlement_source WHERE payment_id = UNHEX(?) ORDER BY seq";
        let rows = sqlx::query_scalar(query).bind(payment_id.trim_start_matches("pay_"));
        rows.fetch_all(self.consumer.bed.database()).await.unwrap()
    }

    /// Waits until the consumer has noted these, and no other ones.
    pub(crate) async fn notes(&self, payment_id: &str, seqs: &[u32]) {
        until("the consumer's notes", async || {
            self.noted(payment_id).await == seqs
        })
        .await;
    }
}

pub(crate) fn payment_id() -> String {
    format!("pay_{}", Uuid::now_v7().simple())
}

pub(crate) fn captured(payment_id: &str) -> String {
    event(payment_id, "payment.captured", 2, json!({})).to_string()
}

/// A refund of 100, the first of which has `seq` 3.
pub(crate) fn refunded(payment_id: &str, seq: u32) -> String {
    let refund = json!({ "refundAmount": 100, "refundedAmount": (seq - 2) * 100 });
    event(payment_id, "payment.refunded", seq, refund).to_string()
}

fn event(payment_id: &str, kind: &str, seq: u32, more: Value) -> Value {
    let mut data = json!({
        "paymentId": payment_id, "merchantId": "m-demo", "currency": "KRW",
        "capturedAmount": 1000, "refundedAmount": 0, "seq": seq,
    });
    let Value::Object(more) = more else {
        unreachable!("an object");
    };
    data.as_object_mut().unwrap().extend(more);
    json!({
        "id": Uuid::new_v4(), "type": kind, "time": "2026-03-31T15:00:00.000Z", "data": data,
    })
}

/// The ids of letters.
pub(crate) fn ids(letters: &[Value]) -> Vec<&str> {
    let ids = letters.iter().map(|letter| letter["letterId"].as_str());
    ids.collect::<Option<_>>().unwrap()
}
