//! What becomes of an authorization that nobody captured in time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{MySql, QueryBuilder};
use testbed::{Testbed, fresh};

const DAY_S: i32 = 24 * 3600;
/// No payment has this id.
const NOBODYS: &str = "pay_00000000000070008000000000000000";
/// Authorizations that lapse at once: more than one transaction of the function expires.
const LAPSED: usize = 150;
/// Authorizations made at once.
const MADE_AT_ONCE: usize = 50;
/// Times that the schedule may come before the test with expiring them.
const TRIES_MAX: usize = 5;

/// Lets an authorization lapse `seconds` from now.
async fn lapse(bed: &Testbed, payment_id: &str, seconds: i32) {
    sqlx::query(
        "UPDATE payment SET expires_at = UTC_TIMESTAMP(3) + INTERVAL ? SECOND \
         WHERE payment_id = UNHEX(?)",
    )
    .bind(seconds)
    .bind(payment_id.trim_start_matches("pay_"))
    .execute(bed.database())
    .await
    .unwrap();
}

/// Lets authorizations lapse now, all at the same moment.
async fn lapse_all(bed: &Testbed, payment_ids: &[String]) {
    let mut query = QueryBuilder::<MySql>::new(
        "UPDATE payment SET expires_at = UTC_TIMESTAMP(3) WHERE payment_id IN ",
    );
    query.push_tuples(payment_ids, |mut row, payment_id| {
        row.push("UNHEX(")
            .push_bind_unseparated(payment_id.trim_start_matches("pay_"))
            .push_unseparated(")");
    });
    query.build().execute(bed.database()).await.unwrap();
}

async fn payment(bed: &Testbed, payment_id: &str) -> Value {
    bed.caller("demo")
        .get(&format!("/payments/{payment_id}"))
        .await
        .json()
}

/// Calls the function without waiting for its schedule, and gives its report.
async fn invoke(bed: &Testbed) -> Value {
    bed.invoke("expire", &json!({})).await
}

/// Makes a reply as old as `seconds` and gives it a fresh key, which Redis has no copy of.
async fn age(bed: &Testbed, key: &str, seconds: i32) -> String {
    let aged = fresh("aged");
    let done = sqlx::query(
        "UPDATE idem_response_cache \
            SET idem_key = ?, created_at = UTC_TIMESTAMP(3) - INTERVAL ? SECOND \
          WHERE merchant_id = 'm-demo' AND idem_key = ?",
    )
    .bind(&aged)
    .bind(seconds)
    .bind(key)
    .execute(bed.database())
    .await
    .unwrap();
    assert_eq!(done.rows_affected(), 1);
    aged
}

#[tokio::test]
async fn an_expired_authorization_releases_its_hold_and_tells_it() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(15_000).await;
    lapse(&bed, &payment_id, -1).await;
    invoke(&bed).await;

    let expired = payment(&bed, &payment_id).await;
    assert_eq!(
        (&expired["status"], &expired["version"]),
        (&json!("EXPIRED"), &json!(2))
    );
    let footprint = bed.footprint(&payment_id).await;
    assert_eq!(
        footprint.ledger[1..],
        ["2|0|memo:hold-contra|memo:hold|15000|KRW|-|-"]
    );
    let events = bed.events(&payment_id, 2).await;
    assert_eq!(
        (events[1].topic.as_str(), &events[1].key),
        ("payment.expired", &payment_id)
    );
    let data = &events[1].value["data"];
    assert_eq!(
        (&data["status"], &data["seq"]),
        (&json!("EXPIRED"), &json!(2))
    );
    let timeline = bed
        .caller("demo")
        .get(&format!("/payments/{payment_id}/timeline"))
        .await;
    let step = &timeline.json()["data"][1];
    assert_eq!(
        (&step["status"], step.get("request")),
        (&json!("EXPIRED"), None)
    );
}

#[tokio::test]
async fn an_expired_authorization_cannot_be_captured() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(15_000).await;
    lapse(&bed, &payment_id, -1).await;
    invoke(&bed).await;
    let before = bed.footprint(&payment_id).await;
    let capture = format!("/payments/capture/{payment_id}");
    let reply = bed.caller("demo").post_empty(&capture).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (409, "payment-not-capturable")
    );
    assert_eq!(bed.footprint(&payment_id).await, before);
}

#[tokio::test]
async fn a_lapsed_authorization_cannot_be_captured_even_before_the_schedule_has_seen_it() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(15_000).await;
    lapse(&bed, &payment_id, 0).await;
    let capture = format!("/payments/capture/{payment_id}");
    let reply = bed.caller("demo").post_empty(&capture).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (409, "payment-not-capturable")
    );
    invoke(&bed).await;
    assert_eq!(payment(&bed, &payment_id).await["capturedAmount"], 0);
}

#[tokio::test]
async fn only_authorizations_that_have_lapsed_expire() {
    let bed = Testbed::new().await;
    let (open, captured) = (bed.authorized(15_000).await, bed.captured(15_000).await);
    let (voided, lapsed) = (bed.authorized(15_000).await, bed.authorized(15_000).await);
    let void = bed
        .caller("demo")
        .post_empty(&format!("/payments/void/{voided}"))
        .await;
    assert_eq!(void.status, 200, "{:?}", void.body);
    lapse(&bed, &open, 3_600).await;
    for payment_id in [&captured, &voided, &lapsed] {
        lapse(&bed, payment_id, -86_400).await;
    }
    invoke(&bed).await;
    for (payment_id, status) in [
        (open, "REQUESTED"),
        (captured, "COMPLETED"),
        (voided, "VOIDED"),
        (lapsed, "EXPIRED"),
    ] {
        assert_eq!(payment(&bed, &payment_id).await["status"], status);
    }
}

#[tokio::test]
async fn a_reply_answers_its_key_for_15_days_and_then_the_key_is_free() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    // A refusal is stored like a success, and nothing in the books refers to it.
    let path = format!("/payments/capture/{NOBODYS}");
    let mut stored = Vec::new();
    for seconds in [15 * DAY_S + 1, 14 * DAY_S] {
        let key = fresh("key");
        let first = demo.post_keyed(&path, &json!({}), &key).await;
        assert_eq!(first.status, 404, "{:?}", first.body);
        stored.push((age(&bed, &key, seconds).await, first));
    }
    invoke(&bed).await;

    let asked = json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" });
    let (free_key, _) = &stored[0];
    let other = demo
        .post_keyed("/payments/authorize", &asked, free_key)
        .await;
    assert_eq!(
        (other.status, other.replayed()),
        (200, false),
        "{:?}",
        other.body
    );
    let (kept_key, first) = &stored[1];
    let again = demo.post_keyed(&path, &json!({}), kept_key).await;
    assert_eq!((again.status, again.replayed()), (404, true));
    assert_eq!(again.body, first.body);
}

#[tokio::test]
async fn one_invocation_expires_more_than_one_transaction_holds() {
    let bed = Testbed::new().await;
    for _ in 0..TRIES_MAX {
        let mut payments = Vec::new();
        while payments.len() < LAPSED {
            payments.extend(join_all((0..MADE_AT_ONCE).map(|_| bed.authorized(1))).await);
        }
        lapse_all(&bed, &payments).await;
        let report = invoke(&bed).await;
        if report["expired"].as_u64().unwrap() >= LAPSED as u64 {
            for payment_id in &payments {
                assert_eq!(payment(&bed, payment_id).await["status"], "EXPIRED");
            }
            return;
        }
    }
    panic!("no invocation expired {LAPSED} authorizations");
}
