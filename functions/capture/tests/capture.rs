//! What a capture takes, releases and refuses.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testbed::{Testbed, fresh};

/// Captures sent at once.
const RIVALS: usize = 20;

fn path(payment_id: &str) -> String {
    format!("/payments/capture/{payment_id}")
}

fn ledger(captured: u64) -> [String; 3] {
    [
        "1|0|memo:hold|memo:hold-contra|15000|KRW|-|-".to_owned(),
        "2|0|memo:hold-contra|memo:hold|15000|KRW|-|-".to_owned(),
        format!("2|1|asset:network-receivable|liability:merchant-payable|{captured}|KRW|-|-"),
    ]
}

#[tokio::test]
async fn a_capture_without_an_amount_takes_the_whole_authorization() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    for body in [
        None,
        Some(json!({})),
        Some(json!({ "amount": 15_000, "currency": "KRW" })),
    ] {
        let payment_id = bed.authorized(15_000).await;
        let authorized = demo.get(&format!("/payments/{payment_id}")).await.json();
        let reply = match &body {
            None => demo.post_empty(&path(&payment_id)).await,
            Some(body) => demo.post(&path(&payment_id), body).await,
        };
        assert_eq!(reply.status, 200, "{body:?}: {:?}", reply.body);
        let mut expected = authorized;
        expected["status"] = json!("COMPLETED");
        expected["capturedAmount"] = json!(15_000);
        expected["version"] = json!(2);
        expected["updatedAt"] = reply.json()["updatedAt"].clone();
        assert_eq!(reply.json(), expected);
        assert_eq!(bed.footprint(&payment_id).await.ledger, ledger(15_000));
    }
}

#[tokio::test]
async fn a_capture_of_a_part_releases_the_rest() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(15_000).await;
    let reply = bed
        .caller("demo")
        .post(&path(&payment_id), &json!({ "amount": 9_000 }))
        .await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let payment = reply.json();
    assert_eq!(
        (&payment["amount"], &payment["capturedAmount"]),
        (&json!(15_000), &json!(9_000))
    );
    let footprint = bed.footprint(&payment_id).await;
    assert_eq!(footprint.ledger, ledger(9_000));
    let event: Value =
        serde_json::from_str(footprint.outbox[1].splitn(3, '|').last().unwrap()).unwrap();
    assert_eq!(event["data"]["releasedAmount"], 6_000);

    let rest = bed
        .caller("demo")
        .post(&path(&payment_id), &json!({ "amount": 6_000 }))
        .await;
    assert_eq!(
        (rest.status, rest.code().as_str()),
        (409, "payment-not-capturable")
    );
}

#[tokio::test]
async fn more_than_authorized_or_another_currency_is_refused() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(15_000).await;
    let before = bed.footprint(&payment_id).await;
    for (body, code) in [
        (json!({ "amount": 15_001 }), "amount-above-authorized"),
        (json!({ "amount": u64::MAX }), "amount-above-authorized"),
        (
            json!({ "amount": 15_000, "currency": "USD" }),
            "currency-mismatch",
        ),
        (json!({ "currency": "JPY" }), "currency-mismatch"),
    ] {
        let reply = bed.caller("demo").post(&path(&payment_id), &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, code), "{body}");
    }
    assert_eq!(bed.footprint(&payment_id).await, before);
}

#[tokio::test]
async fn a_wrong_member_is_pointed_at() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(15_000).await;
    let before = bed.footprint(&payment_id).await;
    for (body, pointer) in [
        (json!({ "amount": 0 }), "/amount"),
        (json!({ "amount": -1 }), "/amount"),
        (json!({ "amount": "15000" }), "/amount"),
        (json!({ "currency": "krw" }), "/currency"),
        (json!({ "reason": "text" }), "/reason"),
    ] {
        let reply = bed.caller("demo").post(&path(&payment_id), &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "invalid-request"),
            "{body}"
        );
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    assert_eq!(bed.footprint(&payment_id).await, before);
}

#[tokio::test]
async fn a_payment_that_is_not_there_cannot_be_captured() {
    let bed = Testbed::new().await;
    let unknown = format!("pay_{}", "0".repeat(32));
    for payment_id in [unknown.as_str(), "pay_", "1", "%00", "..%2f", "%EA%B2%B0"] {
        let reply = bed.caller("demo").post_empty(&path(payment_id)).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "payment-not-found"),
            "{payment_id}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_stored_and_repeated_byte_for_byte() {
    let bed = Testbed::new().await;
    let (demo, key, asked) = (
        bed.caller("demo"),
        fresh("key"),
        json!({ "amount": 15_001 }),
    );
    let payment_id = bed.authorized(15_000).await;
    let first = demo.post_keyed(&path(&payment_id), &asked, &key).await;
    assert_eq!(
        (first.status, first.code().as_str()),
        (422, "amount-above-authorized")
    );
    assert_eq!(demo.post_empty(&path(&payment_id)).await.status, 200);
    let again = demo.post_keyed(&path(&payment_id), &asked, &key).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert!(!first.replayed() && again.replayed());
    assert_eq!(first.headers["content-type"], again.headers["content-type"]);
}

#[tokio::test]
async fn a_repeated_capture_gets_the_stored_answer() {
    let bed = Testbed::new().await;
    let (demo, key) = (bed.caller("demo"), fresh("key"));
    let payment_id = bed.authorized(15_000).await;
    let send = || {
        demo.request("POST", &path(&payment_id))
            .idempotency_key(&key)
            .send()
    };
    let (first, again) = (send().await, send().await);
    assert_eq!((first.status, again.status), (200, 200), "{:?}", first.body);
    assert_eq!(first.body, again.body);
    assert!(!first.replayed() && again.replayed());
    assert_eq!(bed.footprint(&payment_id).await.outbox.len(), 2);
}

#[tokio::test]
async fn of_many_captures_at_once_one_takes_place() {
    let bed = Testbed::new().await;
    let (demo, payment_id) = (bed.caller("demo"), bed.authorized(15_000).await);
    let path = path(&payment_id);
    let replies = join_all((0..RIVALS).map(|_| demo.post_empty(&path))).await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!(done.len(), 1);
    for reply in refused {
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (409, "payment-not-capturable")
        );
    }
    let footprint = bed.footprint(&payment_id).await;
    assert_eq!(footprint.ledger, ledger(15_000));
    assert_eq!(footprint.outbox.len(), 2);
}

#[tokio::test]
async fn of_a_capture_and_a_void_at_once_one_takes_place() {
    let bed = Testbed::new().await;
    let (demo, payment_id) = (bed.caller("demo"), bed.authorized(15_000).await);
    let (capture, void) = (path(&payment_id), format!("/payments/void/{payment_id}"));
    let (captured, voided) = tokio::join!(demo.post_empty(&capture), demo.post_empty(&void));
    let refused = match (captured.status, voided.status) {
        (200, 409) => voided.code(),
        (409, 200) => captured.code(),
        statuses => panic!("{statuses:?}"),
    };
    assert!(["payment-not-capturable", "payment-not-voidable"].contains(&refused.as_str()));
    assert_eq!(bed.footprint(&payment_id).await.outbox.len(), 2);
}
