//! The events of a payment, as its consumers read them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testbed::{Event, Testbed, fresh};

/// The `data` of an event; `changed` names the members that differ from the authorization's.
fn data(payment: &Value, changed: &Value) -> Value {
    let mut data = json!({
        "paymentId": payment["paymentId"],
        "merchantId": "m-demo",
        "orderId": payment["orderId"],
        "status": "REQUESTED",
        "amount": 15_000,
        "currency": "KRW",
        "capturedAmount": 0,
        "refundedAmount": 0,
        "seq": 1,
    });
    data.as_object_mut()
        .unwrap()
        .extend(changed.as_object().unwrap().clone());
    data
}

/// Checks what every event has around its `data`.
fn assert_cloud_event(event: &Event, payment_id: &str) {
    let value = &event.value;
    let members: BTreeSet<_> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "data",
    ];
    assert_eq!(members, BTreeSet::from(expected));
    assert_eq!(value["specversion"], "1.0");
    assert_eq!(value["type"], event.topic.as_str());
    assert_eq!(value["subject"], payment_id);
    assert_eq!(value["source"], "/payfn/payment");
    assert_eq!(event.key, payment_id);
    let time = value["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    assert_eq!(value["id"], event.headers["ce_id"].as_str());
    let traceparent: Vec<_> = event.headers["traceparent"]
        .split('-')
        .map(str::len)
        .collect();
    assert_eq!(traceparent, [2, 32, 16, 2], "{:?}", event.headers);
}

/// Authorizes, captures a part, refunds a part and then the rest; gives the authorization.
async fn whole_life(bed: &Testbed, name: &str, email: &str, phone: &str) -> Value {
    let demo = bed.caller("demo");
    let asked = json!({
        "orderId": fresh("order"), "amount": 15_000, "currency": "KRW",
        "customer": { "name": name, "email": email, "phone": phone },
        "description": name, "metadata": { "phone": phone },
    });
    let held = demo.post("/payments/authorize", &asked).await;
    assert_eq!(held.status, 200, "{:?}", held.body);
    let payment = held.json();
    let payment_id = payment["paymentId"].as_str().unwrap();
    for (command, asked) in [
        ("capture", json!({ "amount": 10_000 })),
        ("refund", json!({ "amount": 4_000, "reason": name })),
        ("refund", json!({ "reason": phone })),
    ] {
        let path = format!("/payments/{command}/{payment_id}");
        assert_eq!(demo.post(&path, &asked).await.status, 200, "{command}");
    }
    payment
}

#[tokio::test]
async fn a_whole_life_is_told_in_order_without_a_gap() {
    let bed = Testbed::new().await;
    let payment = whole_life(&bed, "Kim", "kim@example.com", "010").await;
    let payment_id = payment["paymentId"].as_str().unwrap();
    let events = bed.events(payment_id, 4).await;
    for event in &events {
        assert_cloud_event(event, payment_id);
    }
    let told = events
        .iter()
        .map(|event| (event.topic.as_str(), event.value["data"].clone()));
    let captured = json!({
        "status": "COMPLETED", "capturedAmount": 10_000, "releasedAmount": 5_000, "seq": 2,
    });
    let refunded = json!({
        "status": "PARTIALLY_REFUNDED", "capturedAmount": 10_000, "refundedAmount": 4_000,
        "refundAmount": 4_000, "seq": 3,
    });
    let rest = json!({
        "status": "REFUNDED", "capturedAmount": 10_000, "refundedAmount": 10_000,
        "refundAmount": 6_000, "seq": 4,
    });
    let expected = [
        ("payment.authorized", data(&payment, &json!({}))),
        ("payment.captured", data(&payment, &captured)),
        ("payment.refunded", data(&payment, &refunded)),
        ("payment.refunded", data(&payment, &rest)),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(events[2].partition, events[3].partition);
    assert!(events[2].offset < events[3].offset);
    assert!(events.iter().map(|event| event.timestamp_ms).is_sorted());
}

#[tokio::test]
async fn no_event_has_personal_data() {
    let bed = Testbed::new().await;
    let (name, email, phone) = (fresh("name"), fresh("email@"), fresh("0")[..32].to_owned());
    let payment = whole_life(&bed, &name, &email, &phone).await;
    for event in bed.events(payment["paymentId"].as_str().unwrap(), 4).await {
        let text = format!("{event:?}");
        for value in [&name, &email, &phone] {
            assert!(!text.contains(value), "{text}");
        }
    }
}

#[tokio::test]
async fn an_event_carries_on_the_trace_of_its_request() {
    let bed = Testbed::new().await;
    let trace_id = fresh("")[1..].to_owned();
    let asked = json!({ "orderId": fresh("order"), "amount": 1, "currency": "KRW" });
    let reply = bed
        .caller("demo")
        .request("POST", "/payments/authorize")
        .body(asked.to_string())
        .header("traceparent", &format!("00-{trace_id}-00f067aa0ba902b7-01"))
        .send()
        .await;
    let payment = reply.json();
    let events = bed.events(payment["paymentId"].as_str().unwrap(), 1).await;
    let traceparent = &events[0].headers["traceparent"];
    assert!(
        traceparent.starts_with(&format!("00-{trace_id}-")),
        "{traceparent}"
    );
}

#[tokio::test]
async fn a_void_is_told() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(15_000).await;
    let demo = bed.caller("demo");
    assert_eq!(
        demo.post_empty(&format!("/payments/void/{payment_id}"))
            .await
            .status,
        200
    );
    let events = bed.events(&payment_id, 2).await;
    assert_cloud_event(&events[1], &payment_id);
    assert_eq!(events[1].topic, "payment.voided");
    assert_eq!(events[1].value["data"]["status"], "VOIDED");
    assert_eq!(events[1].value["data"]["seq"], 2);
}
