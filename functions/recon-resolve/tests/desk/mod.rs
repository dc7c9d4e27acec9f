//! Operators who decide about the items of a reconciliation service of a test's own.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part, and fails by panicking"
)]

#[path = "../../../recon-match/tests/recon/mod.rs"]
pub(crate) mod recon;

use serde_json::{Value, json};
use sqlx::MySqlPool;
use testbed::{Reply, Testbed};

pub(crate) use recon::{Ours, Recon};

pub(crate) const FIRST: &str = "ops";
pub(crate) const SECOND: &str = "ops-2";

/// What an operator says.
pub(crate) fn said(action: &str) -> Value {
    json!({ "action": action, "reason": "looked at it" })
}

impl Recon {
    pub(crate) fn bed(&self) -> &Testbed {
        &self.0.bed
    }

    pub(crate) fn database(&self) -> &MySqlPool {
        self.0.bed.database()
    }

    /// A file of a day with these rows, and a prefix for the ids of its items.
    pub(crate) async fn items_of(&self, rows: &[String]) -> Items<'_> {
        let file_id = self.file(rows).await;
        let ops = self.0.bed.caller(FIRST);
        let page = ops
            .get(&format!("/recon/items?fileId={file_id}&limit=100"))
            .await
            .json();
        let first = page["data"][0]["itemId"].as_str().unwrap();
        let (file, _) = first.split_once('.').unwrap();
        Items {
            recon: self,
            file_id,
            file: file.to_owned(),
        }
    }
}

/// The items of a file.
pub(crate) struct Items<'a> {
    pub(crate) recon: &'a Recon,
    pub(crate) file_id: String,
    file: String,
}

impl Items<'_> {
    /// The item of a line.
    pub(crate) fn line(&self, line: u32) -> Item<'_> {
        self.item(format!("{}.{line}", self.file))
    }

    /// The item of a transaction that is missing.
    pub(crate) fn missing(&self, ours: &Ours) -> Item<'_> {
        self.item(format!("itm_{}", ours.key()))
    }

    fn item(&self, id: String) -> Item<'_> {
        Item {
            recon: self.recon,
            id,
        }
    }
}

/// One item.
pub(crate) struct Item<'a> {
    recon: &'a Recon,
    pub(crate) id: String,
}

impl Item<'_> {
    pub(crate) fn path(&self) -> String {
        format!("/recon/items/{}/resolve", self.id)
    }

    /// An operator decides.
    pub(crate) async fn decide(&self, key_id: &str, body: &Value) -> Reply {
        let caller = self.recon.bed().caller(key_id);
        caller.post(&self.path(), body).await
    }

    /// The first operator decides, and it takes effect.
    pub(crate) async fn decided(&self, action: &str) -> Value {
        let reply = self.decide(FIRST, &said(action)).await;
        assert_eq!(reply.status, 200, "{action}: {:?}", reply.body);
        reply.json()
    }

    /// The first operator decides in vain; the code.
    pub(crate) async fn refused(&self, action: &str) -> String {
        let before = self.shown().await;
        let reply = self.decide(FIRST, &said(action)).await;
        assert_eq!(self.shown().await, before, "a refusal changes nothing");
        reply.code()
    }

    pub(crate) async fn shown(&self) -> Value {
        let ops = self.recon.bed().caller(FIRST);
        let reply = ops.get(&format!("/recon/items/{}", self.id)).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        reply.json()
    }

    /// Status and result.
    pub(crate) async fn stands(&self) -> (String, String) {
        let shown = self.shown().await;
        let text = |member: &str| shown[member].as_str().unwrap_or("none").to_owned();
        (text("status"), text("result"))
    }
}

/// What was told of a decision: `inEffect`, `stake`, `accountOf`.
pub(crate) async fn told(recon: &Recon, case_id: &Value) -> Vec<(bool, Option<i64>, String)> {
    events(recon, case_id)
        .await
        .into_iter()
        .map(|event| {
            let data = &event["data"];
            (
                data["inEffect"].as_bool().unwrap(),
                data["stake"].as_i64(),
                data["accountOf"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

/// The events of a decision, in their order and without a gap.
pub(crate) async fn events(recon: &Recon, case_id: &Value) -> Vec<Value> {
    let rows: Vec<(u32, String)> = sqlx::query_as(
        "SELECT agg_seq, payload FROM outbox_event WHERE aggregateid = ? ORDER BY agg_seq",
    )
    .bind(case_id.as_str().unwrap())
    .fetch_all(recon.database())
    .await
    .unwrap();
    let numbers: Vec<u32> = rows.iter().map(|row| row.0).collect();
    let expected: Vec<u32> = (1..).take(rows.len()).collect();
    assert_eq!(numbers, expected);
    let payloads = rows.iter();
    payloads
        .map(|row| serde_json::from_str(&row.1).unwrap())
        .collect()
}

/// How many decisions and events there are.
pub(crate) async fn counts(recon: &Recon) -> (i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM recon_case),
                (SELECT COUNT(*) FROM outbox_event WHERE type = 'recon.resolved')",
    )
    .fetch_one(recon.database())
    .await
    .unwrap()
}
