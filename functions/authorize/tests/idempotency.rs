//! One effect per idempotency key, and one payment per order.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testbed::{Caller, Reply, Testbed, fresh};

const AUTHORIZE: &str = "/payments/authorize";
/// Requests sent at once.
const RIVALS: usize = 50;

fn order() -> Value {
    json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" })
}

/// How many payments the caller has for the order of a request.
async fn payments_of(caller: &Caller, asked: &Value) -> usize {
    let path = format!("/payments?orderId={}", asked["orderId"].as_str().unwrap());
    caller.get(&path).await.json()["data"]
        .as_array()
        .unwrap()
        .len()
}

fn assert_replay(first: &Reply, again: &Reply) {
    assert!(!first.replayed() && again.replayed());
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(first.headers["content-type"], again.headers["content-type"]);
}

#[tokio::test]
async fn a_request_without_a_key_is_refused_and_changes_nothing() {
    let bed = Testbed::new().await;
    let (demo, asked) = (bed.caller("demo"), order());
    let request = demo.request("POST", AUTHORIZE).body(asked.to_string());
    let reply = request.without_idempotency_key().send().await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (400, "idempotency-key-missing")
    );
    assert_eq!(payments_of(&demo, &asked).await, 0);
}

#[tokio::test]
async fn a_repeated_request_gets_the_stored_answer_byte_for_byte() {
    let bed = Testbed::new().await;
    let (demo, asked, key) = (bed.caller("demo"), order(), fresh("key"));
    let first = demo.post_keyed(AUTHORIZE, &asked, &key).await;
    assert_replay(&first, &demo.post_keyed(AUTHORIZE, &asked, &key).await);

    let payment_id = first.json()["paymentId"].as_str().unwrap().to_owned();
    let captured = demo
        .post_empty(&format!("/payments/capture/{payment_id}"))
        .await;
    assert_eq!(captured.status, 200);
    let later = demo.post_keyed(AUTHORIZE, &asked, &key).await;
    assert_replay(&first, &later);
    assert_eq!(later.json()["status"], "REQUESTED");
    assert_eq!(bed.footprint(&payment_id).await.outbox.len(), 2);
}

#[tokio::test]
async fn a_quoted_and_a_bare_key_are_the_same_key() {
    let bed = Testbed::new().await;
    let (demo, asked, key) = (bed.caller("demo"), order(), fresh("key"));
    let first = demo
        .post_keyed(AUTHORIZE, &asked, &format!("\"{key}\""))
        .await;
    assert_eq!(first.status, 200, "{:?}", first.body);
    assert_replay(&first, &demo.post_keyed(AUTHORIZE, &asked, &key).await);
}

#[tokio::test]
async fn a_key_used_for_another_body_is_refused() {
    let bed = Testbed::new().await;
    let (demo, asked, key) = (bed.caller("demo"), order(), fresh("key"));
    let first = demo.post_keyed(AUTHORIZE, &asked, &key).await;
    let other = order();
    let reply = demo.post_keyed(AUTHORIZE, &other, &key).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (409, "idempotency-key-reused")
    );
    assert_eq!(payments_of(&demo, &other).await, 0);
    assert_replay(&first, &demo.post_keyed(AUTHORIZE, &asked, &key).await);
}

#[tokio::test]
async fn a_key_used_on_another_path_is_refused() {
    let bed = Testbed::new().await;
    let (demo, key) = (bed.caller("demo"), fresh("key"));
    let first = demo.post_keyed(AUTHORIZE, &order(), &key).await;
    let payment_id = first.json()["paymentId"].as_str().unwrap().to_owned();
    let before = bed.footprint(&payment_id).await;
    let path = format!("/payments/capture/{payment_id}");
    let reply = demo
        .request("POST", &path)
        .idempotency_key(&key)
        .send()
        .await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (409, "idempotency-key-reused")
    );
    assert_eq!(bed.footprint(&payment_id).await, before);
}

#[tokio::test]
async fn a_second_key_for_an_order_names_the_first_payment() {
    let bed = Testbed::new().await;
    let (demo, asked, key) = (bed.caller("demo"), order(), fresh("key"));
    let first = demo.post(AUTHORIZE, &asked).await.json();
    let before = bed.footprint(first["paymentId"].as_str().unwrap()).await;
    let second = demo.post_keyed(AUTHORIZE, &asked, &key).await;
    assert_eq!(
        (second.status, second.code().as_str()),
        (409, "duplicate-order")
    );
    assert_eq!(second.json()["paymentId"], first["paymentId"]);
    assert_replay(&second, &demo.post_keyed(AUTHORIZE, &asked, &key).await);
    assert_eq!(
        bed.footprint(first["paymentId"].as_str().unwrap()).await,
        before
    );
}

#[tokio::test]
async fn a_key_whose_first_request_still_runs_is_in_flight_until_it_ends() {
    let bed = Testbed::new().await;
    let (demo, asked, key) = (bed.caller("demo"), order(), fresh("key"));
    let mut running = bed.database().begin().await.unwrap();
    sqlx::query(
        "INSERT INTO idem_response_cache (merchant_id, idem_key, fingerprint, created_at) \
         VALUES ('m-demo', ?, REPEAT('f', 32), UTC_TIMESTAMP(3))",
    )
    .bind(&key)
    .execute(&mut *running)
    .await
    .unwrap();

    let reply = demo.post_keyed(AUTHORIZE, &asked, &key).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (409, "idempotency-key-in-flight")
    );
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(reply.json()["retryable"], true);
    assert_eq!(payments_of(&demo, &asked).await, 0);

    running.rollback().await.unwrap();
    let reply = demo.post_keyed(AUTHORIZE, &asked, &key).await;
    assert_eq!(
        (reply.status, reply.replayed()),
        (200, false),
        "{:?}",
        reply.body
    );
}

#[tokio::test]
async fn one_key_sent_many_times_at_once_takes_effect_once() {
    let bed = Testbed::new().await;
    let (demo, asked, key) = (bed.caller("demo"), order(), fresh("key"));
    let replies = join_all((0..RIVALS).map(|_| demo.post_keyed(AUTHORIZE, &asked, &key))).await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    let bodies: BTreeSet<_> = done.iter().map(|reply| &reply.body).collect();
    assert_eq!(bodies.len(), 1, "every answer is the same");
    assert_eq!(done.iter().filter(|reply| !reply.replayed()).count(), 1);
    for reply in refused {
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (409, "idempotency-key-in-flight")
        );
    }
    assert_eq!(payments_of(&demo, &asked).await, 1);
}

#[tokio::test]
async fn one_order_sent_with_many_keys_at_once_becomes_one_payment() {
    let bed = Testbed::new().await;
    let (demo, asked) = (bed.caller("demo"), order());
    let replies = join_all((0..RIVALS).map(|_| demo.post(AUTHORIZE, &asked))).await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!(done.len(), 1);
    for reply in refused {
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (409, "duplicate-order")
        );
        assert_eq!(reply.json()["paymentId"], done[0].json()["paymentId"]);
    }
    assert_eq!(payments_of(&demo, &asked).await, 1);
}

#[tokio::test]
async fn a_key_belongs_to_one_merchant() {
    let bed = Testbed::new().await;
    let (asked, key) = (order(), fresh("key"));
    let first = bed.caller("demo").post_keyed(AUTHORIZE, &asked, &key).await;
    let second = bed
        .caller("other")
        .post_keyed(AUTHORIZE, &asked, &key)
        .await;
    assert_eq!((first.status, second.status), (200, 200));
    assert!(!second.replayed());
    assert_ne!(first.json()["paymentId"], second.json()["paymentId"]);
}

#[tokio::test]
async fn a_key_of_an_invalid_or_unbelieved_request_is_free() {
    let bed = Testbed::new().await;
    let (demo, asked, key) = (bed.caller("demo"), order(), fresh("key"));
    let invalid = demo
        .post_keyed(AUTHORIZE, &json!({ "amount": 0 }), &key)
        .await;
    assert_eq!(invalid.status, 400);
    let unbelieved = demo
        .request("POST", AUTHORIZE)
        .body(asked.to_string())
        .idempotency_key(&key);
    assert_eq!(unbelieved.created(0).send().await.status, 401);
    let reply = demo.post_keyed(AUTHORIZE, &asked, &key).await;
    assert_eq!(
        (reply.status, reply.replayed()),
        (200, false),
        "{:?}",
        reply.body
    );
}

#[tokio::test]
async fn a_key_has_1_to_255_visible_characters() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let longest = format!("{:~<255}", fresh("key"));
    let quoted = format!("\"{:~<255}\"", fresh("key"));
    for key in [longest, quoted, fresh("!#$%&'()*+-./:<=>?@[]^_`{|}~")] {
        let reply = demo.post_keyed(AUTHORIZE, &order(), &key).await;
        assert_eq!(reply.status, 200, "{key}: {:?}", reply.body);
    }
    for key in [
        "",
        "\"\"",
        "two words",
        "\"two words\"",
        "one, two",
        "\"one\", \"two\"",
        "\"unbalanced",
        &format!("{:~<256}", fresh("key")),
        &format!("{:~<5000}", fresh("key")),
    ] {
        let asked = order();
        let reply = demo.post_keyed(AUTHORIZE, &asked, key).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "invalid-request"),
            "{key}"
        );
        assert_eq!(payments_of(&demo, &asked).await, 0);
    }
}

#[tokio::test]
async fn two_keys_in_two_headers_are_refused() {
    let bed = Testbed::new().await;
    let (demo, asked) = (bed.caller("demo"), order());
    let (first, second) = (fresh("key"), fresh("key"));
    let both = format!("{first}, {second}");
    let signed_as_two = demo
        .request("POST", AUTHORIZE)
        .body(asked.to_string())
        .idempotency_key(&both)
        .tamper(move |headers| {
            headers.insert("idempotency-key", first.parse().unwrap());
            headers.append("idempotency-key", second.parse().unwrap());
        })
        .send()
        .await;
    assert_eq!(
        (signed_as_two.status, signed_as_two.code().as_str()),
        (400, "invalid-request")
    );
    let added_later = demo
        .request("POST", AUTHORIZE)
        .body(asked.to_string())
        .tamper(|headers| {
            headers.append("idempotency-key", fresh("key").parse().unwrap());
        })
        .send()
        .await;
    assert_eq!(
        (added_later.status, added_later.code().as_str()),
        (401, "signature-invalid")
    );
    assert_eq!(payments_of(&demo, &asked).await, 0);
}
