//! What happens to payments becomes webhooks, and reaches whoever has an endpoint.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, path::PathBuf, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use testbed::{Apart, Receiver, fresh, until};
use uuid::Uuid;

/// A key of its own in the stack's key file; taken out again when it is dropped.
struct NewKey(String);

impl NewKey {
    fn add(url: &str) -> Self {
        let key_id = fresh("hooked");
        let merchant = format!("m-{key_id}");
        let entry = json!({
            "keyId": key_id, "merchantId": merchant, "role": "merchant",
            "secret": BASE64_STANDARD.encode([7; 32]),
            "webhook": { "url": url, "secret": format!("whsec_{}", BASE64_STANDARD.encode([7; 24])) },
        });
        change(|keys| keys.push(entry));
        Self(key_id)
    }
}

impl Drop for NewKey {
    fn drop(&mut self) {
        change(|keys| keys.retain(|key| key["keyId"] != self.0));
    }
}

fn change(change: impl FnOnce(&mut Vec<Value>)) {
    let file = PathBuf::from(env::var("KEYS_FILE").unwrap());
    let mut keys: Vec<Value> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut keys);
    let next = file.with_extension("next");
    fs::write(&next, json!(keys).to_string()).unwrap();
    fs::rename(next, file).unwrap();
}

#[tokio::test]
async fn merchant_that_got_an_endpoint_is_told_every_event_of_its_payments_in_order() {
    let receiver = Receiver::that_takes().await;
    let key = NewKey::add(&receiver.url);
    let bed = testbed::Testbed::new().await;
    // Every function looks at the file again by then.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let caller = bed.caller(&key.0);
    let asked = json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" });
    let mut payment = None;
    until("the key is known", async || {
        let reply = caller.post("/payments/authorize", &asked).await;
        payment = (reply.status == 200).then(|| reply.json());
        payment.is_some()
    })
    .await;
    let payment = payment.unwrap()["paymentId"].as_str().unwrap().to_owned();
    for (command, body) in [("capture", json!({})), ("refund", json!({ "amount": 100 }))] {
        let reply = caller
            .post(&format!("/payments/{command}/{payment}"), &body)
            .await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
    }
    until("all three", async || receiver.received().len() >= 3).await;
    let events = bed.events(&payment, 3).await;
    let came = receiver.received();
    let ids: Vec<&str> = came.iter().map(|it| it.header("webhook-id")).collect();
    let told: Vec<&str> = events
        .iter()
        .map(|it| it.value["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, told);
    for (sent, event) in came.iter().zip(&events) {
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(body, event.value);
    }
}

#[tokio::test]
async fn record_that_is_no_event_is_refused_and_the_others_are_not() {
    let apart = Apart::start("notify", &["notify"]).await;
    let event = |event_type: &str, data: Value| {
        let time = "2026-03-31T15:00:00Z";
        json!({ "id": Uuid::now_v7(), "type": event_type, "time": time, "data": data })
    };
    let data = |seq: i64| json!({ "merchantId": "m-demo", "paymentId": fresh("pay"), "seq": seq });
    let closed = json!({ "merchantId": "m-demo", "settlementId": fresh("stl"), "seq": 1 });
    let values = [
        "{".to_owned(),
        event(
            "payment.captured",
            json!({ "merchantId": "m-demo", "seq": 1 }),
        )
        .to_string(),
        event("payment.captured", data(0)).to_string(),
        event("payment.captured", data(-1)).to_string(),
        event("payment.refunded", data(1)).to_string(),
        event("payment.captured", data(1)).to_string(),
    ];
    let record = |topic: &str, offset: usize, value: &str| json!({ "topic": topic, "partition": 0, "offset": offset, "value": BASE64_STANDARD.encode(value) });
    let captured = values.iter().enumerate();
    let captured = captured.map(|(offset, value)| record("payment.captured", offset, value));
    let closed = event("settlement.closed", closed).to_string();
    let batch = json!({ "records": {
        "payment.captured-0": captured.collect::<Vec<_>>(),
        "settlement.closed-0": [record("settlement.closed", 0, &closed)],
    } });
    let answer = apart.bed.invoke("notify", &batch).await;
    let failures = answer["batchItemFailures"].as_array().unwrap().iter();
    let failed: Vec<&Value> = failures.map(|it| &it["itemIdentifier"]["offset"]).collect();
    assert_eq!(failed, [0, 1, 2, 3, 4]);
    let noted: Vec<(String, String)> =
        sqlx::query_as("SELECT event_type, status FROM webhook_delivery ORDER BY event_type")
            .fetch_all(apart.bed.database())
            .await
            .unwrap();
    let without = |event_type: &str| (event_type.to_owned(), "NO_ENDPOINT".to_owned());
    assert_eq!(
        noted,
        ["payment.captured", "settlement.closed"].map(without)
    );
}
