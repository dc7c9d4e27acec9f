//! A settlement posts its journal once, however often it is told.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use testbed::{Apart, Testbed, fresh};
use uuid::Uuid;

const FUNCTION: &str = "post-settlement";

type Entry = (u8, String, String, u64);

fn closed(id: Uuid, merchant_id: &str) -> Value {
    json!({
        "id": Uuid::new_v4(),
        "type": "settlement.closed",
        "time": "1999-03-31T15:00:00.000Z",
        "data": {
            "settlementId": format!("stl_{}", id.simple()), "merchantId": merchant_id,
            "currency": "KRW", "supplyAmount": 1356, "vat": 136, "reversedSupplyAmount": 0,
            "reversedVat": 0, "payOutAmount": 63109, "seq": 1,
        },
    })
}

/// Invokes the function with these values as records; how many it has sent again.
async fn send(bed: &Testbed, values: &[String]) -> usize {
    let records = values.iter().enumerate().map(|(offset, value)| {
        json!({
            "topic": "settlement.closed", "partition": 0, "offset": offset, "timestamp": 0,
            "timestampType": "CREATE_TIME", "key": null,
            "value": BASE64_STANDARD.encode(value), "headers": [],
        })
    });
    let records: Vec<Value> = records.collect();
    let event = json!({
        "eventSource": "aws:SelfManagedKafka", "records": { "settlement.closed-0": records },
    });
    let answer = bed.invoke(FUNCTION, &event).await;
    answer["batchItemFailures"].as_array().unwrap().len()
}

async fn entries(bed: &Testbed, id: Uuid) -> Vec<Entry> {
    sqlx::query_as(
        "SELECT line, debit_account, credit_account, amount FROM ledger_entry
          WHERE subject_id = ? ORDER BY line",
    )
    .bind(id)
    .fetch_all(bed.database())
    .await
    .unwrap()
}

#[tokio::test]
async fn settlement_is_posted_once_however_often_it_is_told() {
    let apart = Apart::start("payment", &[FUNCTION]).await;
    let bed = &apart.bed;
    let (id, merchant) = (Uuid::now_v7(), fresh("m"));
    let value = closed(id, &merchant).to_string();
    assert_eq!(send(bed, &[value.clone(), value.clone()]).await, 0);
    assert_eq!(send(bed, &[value]).await, 0);
    let payable = "liability:merchant-payable";
    let expected = [
        (0, "income:fee", 1_356),
        (1, "liability:vat-payable", 136),
        (2, "liability:payout-in-transit", 63_109),
    ]
    .map(|(line, credit, amount)| (line, payable.to_owned(), credit.to_owned(), amount));
    assert_eq!(entries(bed, id).await, expected);
}

#[tokio::test]
async fn record_that_tells_of_no_settlement_is_refused() {
    let apart = Apart::start("payment", &[FUNCTION]).await;
    let bed = &apart.bed;
    let (id, merchant) = (Uuid::now_v7(), fresh("m"));
    let good = closed(id, &merchant);
    let with = |path: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed.to_string()
    };
    let values = [
        "{".to_owned(),
        with("/type", json!("payment.captured")),
        with("/data/settlementId", json!("stl_1")),
        with("/data/vat", json!(-1)),
        with("/data/currency", json!("XXZ")),
        good.to_string(),
    ];
    assert_eq!(send(bed, &values).await, 5);
    assert_eq!(entries(bed, id).await.len(), 3);
}
