//! What a void releases and refuses.

use futures_util::future::join_all;
use serde_json::json;
use testbed::{Testbed, fresh};

/// Voids sent at once.
const RIVALS: usize = 20;

fn path(payment_id: &str) -> String {
    format!("/payments/void/{payment_id}")
}

#[tokio::test]
async fn a_void_releases_the_whole_hold() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    for body in [None, Some(json!({}))] {
        let payment_id = bed.authorized(15_000).await;
        let mut expected = demo.get(&format!("/payments/{payment_id}")).await.json();
        let reply = match &body {
            None => demo.post_empty(&path(&payment_id)).await,
            Some(body) => demo.post(&path(&payment_id), body).await,
        };
        assert_eq!(reply.status, 200, "{body:?}: {:?}", reply.body);
        expected["status"] = json!("VOIDED");
        expected["version"] = json!(2);
        expected["updatedAt"] = reply.json()["updatedAt"].clone();
        assert_eq!(reply.json(), expected);
        let ledger = bed.footprint(&payment_id).await.ledger;
        assert_eq!(
            ledger[1..],
            ["2|0|memo:hold-contra|memo:hold|15000|KRW|-|-"]
        );
    }
}

#[tokio::test]
async fn a_void_takes_no_members() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(15_000).await;
    let before = bed.footprint(&payment_id).await;
    for (body, pointer) in [(json!({ "amount": 1 }), "/amount"), (json!([]), "")] {
        let reply = bed.caller("demo").post(&path(&payment_id), &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "invalid-request"),
            "{body}"
        );
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer);
    }
    assert_eq!(bed.footprint(&payment_id).await, before);
}

#[tokio::test]
async fn a_refusal_is_stored_and_repeated_byte_for_byte() {
    let bed = Testbed::new().await;
    let (demo, key, payment_id) = (bed.caller("demo"), fresh("key"), bed.captured(15_000).await);
    let send = || {
        demo.request("POST", &path(&payment_id))
            .idempotency_key(&key)
            .send()
    };
    let (first, again) = (send().await, send().await);
    assert_eq!(
        (first.status, first.code().as_str()),
        (409, "payment-not-voidable")
    );
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert!(!first.replayed() && again.replayed());
}

#[tokio::test]
async fn of_many_voids_at_once_one_takes_place() {
    let bed = Testbed::new().await;
    let (demo, payment_id) = (bed.caller("demo"), bed.authorized(15_000).await);
    let path = path(&payment_id);
    let replies = join_all((0..RIVALS).map(|_| demo.post_empty(&path))).await;
    let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!(done.len(), 1);
    for reply in refused {
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (409, "payment-not-voidable")
        );
    }
    let footprint = bed.footprint(&payment_id).await;
    assert_eq!((footprint.ledger.len(), footprint.outbox.len()), (2, 2));
}
