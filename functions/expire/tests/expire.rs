//! What becomes of an authorization that nobody captured in time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use testbed::Testbed;

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

async fn payment(bed: &Testbed, payment_id: &str) -> Value {
    bed.caller("demo")
        .get(&format!("/payments/{payment_id}"))
        .await
        .json()
}

/// Calls the function without waiting for its schedule.
async fn invoke(bed: &Testbed) {
    let invoke = bed.caller("ops").at(&std::env::var("INVOKE_URL").unwrap());
    let reply = invoke
        .post("/2015-03-31/functions/expire/invocations", &json!({}))
        .await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
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
