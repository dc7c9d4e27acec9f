//! A reconciliation service of a test's own, with transactions and files that the test makes.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part, and fails by panicking"
)]

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use testbed::{Apart, Reply};
use uuid::Uuid;

pub(crate) const DAY: &str = "2026-03-31";
pub(crate) const HEADER: &str =
    "transaction_key,payment_id,approval_number,type,amount,currency,date,status";

pub(crate) struct Recon(pub(crate) Apart);

/// A capture or refund of ours at noon of a day in Seoul.
#[derive(Clone)]
pub(crate) struct Ours {
    pub(crate) payment: Uuid,
    pub(crate) seq: u32,
    pub(crate) kind: &'static str,
    pub(crate) amount: u64,
    pub(crate) captured: u64,
    pub(crate) refunded: u64,
    pub(crate) day: &'static str,
}

impl Ours {
    pub(crate) fn capture(amount: u64) -> Self {
        Self {
            payment: Uuid::now_v7(),
            seq: 2,
            kind: "captured",
            amount,
            captured: amount,
            refunded: 0,
            day: DAY,
        }
    }

    /// The next refund of the same payment.
    pub(crate) fn refund(&self, amount: u64) -> Self {
        Self {
            seq: self.seq + 1,
            kind: "refunded",
            amount,
            refunded: self.refunded + amount,
            ..self.clone()
        }
    }

    pub(crate) fn payment_id(&self) -> String {
        format!("pay_{}", self.payment.simple())
    }

    pub(crate) fn key(&self) -> String {
        format!("{}-{}", self.payment_id(), self.seq)
    }

    pub(crate) fn approval(&self) -> String {
        format!("{:08}", self.payment.as_u128() % 100_000_000)
    }

    fn word(&self) -> &'static str {
        if self.kind == "captured" {
            "CAPTURE"
        } else {
            "REFUND"
        }
    }

    /// As their file has it, by these keys: `k` transaction, `p` payment, `a` approval.
    pub(crate) fn row(&self, keys: &str) -> String {
        let shown = |name: char, text: String| {
            if keys.contains(name) {
                text
            } else {
                String::new()
            }
        };
        format!(
            "{},{},{},{},{},KRW,{},DONE",
            shown('k', self.key()),
            shown('p', self.payment_id()),
            shown('a', self.approval()),
            self.word(),
            self.amount,
            self.day
        )
    }

    fn event(&self) -> String {
        let mut event = json!({
            "id": Uuid::new_v4(), "type": format!("payment.{}", self.kind),
            "time": format!("{}T03:00:00.000Z", self.day),
            "data": {
                "paymentId": self.payment_id(), "merchantId": "m-demo", "currency": "KRW",
                "capturedAmount": self.captured, "refundedAmount": self.refunded, "seq": self.seq,
            },
        });
        if self.kind == "refunded" {
            event["data"]["refundAmount"] = self.amount.into();
        }
        event.to_string()
    }
}

/// Line, result and our transaction of an item.
pub(crate) type Found = (Option<u64>, String, Option<String>);

impl Recon {
    pub(crate) async fn new() -> Self {
        let functions = [
            "recon-ingest",
            "recon-upload",
            "recon-match",
            "recon-query",
            "recon-resolve",
        ];
        Self(Apart::start("recon", &functions).await)
    }

    /// Our side arrives.
    pub(crate) async fn ingest(&self, transactions: &[Ours]) {
        let records: Vec<Value> = (0..)
            .zip(transactions)
            .map(|(offset, it): (u64, _)| {
                json!({
                    "topic": "payment.captured", "partition": 0, "offset": offset, "timestamp": 0,
                    "timestampType": "CREATE_TIME", "key": null,
                    "value": BASE64_STANDARD.encode(it.event()), "headers": [],
                })
            })
            .collect();
        let event = json!({
            "eventSource": "aws:SelfManagedKafka", "records": { "payment.captured-0": records },
        });
        let answer = self.0.bed.invoke("recon-ingest", &event).await;
        assert_eq!(answer, json!({ "batchItemFailures": [] }));
    }

    pub(crate) async fn send(&self, name: &str, body: impl Into<bytes::Bytes>) -> Reply {
        let ops = self.0.bed.caller("ops");
        let request = ops.request("POST", "/payments/upload").body(body);
        let request = request.content_type("text/csv").header("x-filename", name);
        request.send().await
    }

    /// Uploads a file of the day and matches it; the file's id.
    pub(crate) async fn file(&self, rows: &[String]) -> String {
        let body = format!("{HEADER}\n{}\n", rows.join("\n"));
        let reply = self.send(&format!("{DAY}.csv"), body).await;
        assert_eq!(reply.status, 202, "{:?}", reply.body);
        self.matched().await;
        reply.json()["fileId"].as_str().unwrap().to_owned()
    }

    /// Matches what is due.
    pub(crate) async fn matched(&self) {
        self.0.bed.invoke("recon-match", &json!({})).await;
    }

    /// The items of a file.
    pub(crate) async fn items(&self, file_id: &str) -> Vec<Found> {
        let ops = self.0.bed.caller("ops");
        let path = format!("/recon/items?fileId={file_id}&limit=100");
        let page = ops.get(&path).await;
        assert_eq!(page.status, 200, "{:?}", page.body);
        let page = page.json();
        assert_eq!(page["hasMore"], false);
        let items = page["data"].as_array().unwrap().iter();
        items
            .map(|item| {
                let ours = item["ours"]["paymentId"].as_str();
                let ours = ours.map(|id| format!("{id}-{}", item["ours"]["seq"]));
                let result = item["result"].as_str().unwrap().to_owned();
                (item["line"].as_u64(), result, ours)
            })
            .collect()
    }
}
