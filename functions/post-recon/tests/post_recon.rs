//! A decision posts its journal once, however often it is told, and what takes it back reverses it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::slice;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use testbed::{Apart, Testbed};
use uuid::Uuid;

const FUNCTION: &str = "post-recon";
const RECEIVABLE: &str = "asset:network-receivable";
const SUSPENSE: &str = "liability:recon-suspense";
const WRITE_OFF: &str = "expense:recon-write-off";

/// `seq`, debit, credit, amount, the journal it reverses.
type Entry = (u32, String, String, u64, Option<u32>);

fn resolved(id: Uuid, action: &str, stake: Option<i64>, seq: u32) -> Value {
    json!({
        "id": Uuid::new_v4(),
        "type": "recon.resolved",
        "time": "1999-03-31T15:00:00.000Z",
        "data": {
            "caseId": format!("cas_{}", id.simple()), "action": action, "inEffect": seq == 1,
            "stake": stake, "currency": stake.map(|_| "KRW"), "accountOf": "house", "seq": seq,
        },
    })
}

/// Invokes the function with these values as records; how many it has sent again.
async fn send(bed: &Testbed, values: &[String]) -> usize {
    let records = values.iter().enumerate().map(|(offset, value)| {
        json!({
            "topic": "recon.resolved", "partition": 0, "offset": offset, "timestamp": 0,
            "timestampType": "CREATE_TIME", "key": null,
            "value": BASE64_STANDARD.encode(value), "headers": [],
        })
    });
    let records: Vec<Value> = records.collect();
    let event = json!({
        "eventSource": "aws:SelfManagedKafka", "records": { "recon.resolved-0": records },
    });
    let answer = bed.invoke(FUNCTION, &event).await;
    answer["batchItemFailures"].as_array().unwrap().len()
}

async fn entries(bed: &Testbed, id: Uuid) -> Vec<Entry> {
    sqlx::query_as(
        "SELECT seq, debit_account, credit_account, amount, reverses_seq FROM ledger_entry
          WHERE subject_id = ? AND merchant_id = 'house' ORDER BY seq, line",
    )
    .bind(id)
    .fetch_all(bed.database())
    .await
    .unwrap()
}

fn entry(seq: u32, (debit, credit): (&str, &str), amount: u64) -> Entry {
    let reverses = (seq > 1).then_some(1);
    (seq, debit.to_owned(), credit.to_owned(), amount, reverses)
}

#[tokio::test]
async fn decision_is_posted_once_and_reversed_once_however_often_it_is_told() {
    let apart = Apart::start("payment", &[FUNCTION]).await;
    let bed = &apart.bed;
    for (action, stake, debit, credit) in [
        ("accept", 700, RECEIVABLE, SUSPENSE),
        ("accept", -700, SUSPENSE, RECEIVABLE),
        ("write-off", 700, RECEIVABLE, WRITE_OFF),
        ("write-off", -700, WRITE_OFF, RECEIVABLE),
    ] {
        let id = Uuid::now_v7();
        let [first, second] = [1, 2].map(|seq| resolved(id, action, Some(stake), seq).to_string());
        assert_eq!(send(bed, &[first.clone(), first.clone()]).await, 0);
        let done = entry(1, (debit, credit), 700);
        assert_eq!(entries(bed, id).await, slice::from_ref(&done));
        let both = [first, second.clone(), second];
        assert_eq!(send(bed, &both).await, 0);
        assert_eq!(send(bed, &both).await, 0);
        let undone = entry(2, (credit, debit), 700);
        assert_eq!(entries(bed, id).await, [done, undone]);
    }
}

#[tokio::test]
async fn decision_about_nothing_posts_nothing() {
    let apart = Apart::start("payment", &[FUNCTION]).await;
    let bed = &apart.bed;
    let id = Uuid::now_v7();
    let values = [
        resolved(id, "accept", None, 1).to_string(),
        resolved(id, "accept", None, 2).to_string(),
        resolved(id, "link", None, 1).to_string(),
    ];
    assert_eq!(send(bed, &values).await, 0);
    assert!(entries(bed, id).await.is_empty());
}

#[tokio::test]
async fn record_that_tells_of_no_decision_is_refused() {
    let apart = Apart::start("payment", &[FUNCTION]).await;
    let bed = &apart.bed;
    let id = Uuid::now_v7();
    let good = resolved(id, "accept", Some(700), 1);
    let with = |path: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed.to_string()
    };
    let values = [
        "{".to_owned(),
        with("/type", json!("recon.unmatched")),
        with("/data/caseId", json!("cas_1")),
        with("/data/action", json!("burn")),
        with("/data/stake", json!(0)),
        with("/data/stake", json!(i64::MIN)),
        with("/data/currency", json!(null)),
        with("/data/seq", json!(2)),
        with("/data/inEffect", json!(false)),
        good.to_string(),
    ];
    assert_eq!(send(bed, &values).await, 9);
    let done = entry(1, (RECEIVABLE, SUSPENSE), 700);
    assert_eq!(entries(bed, id).await, [done]);
}
