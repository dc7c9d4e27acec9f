//! Which command is allowed in which state.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use testbed::{Caller, Testbed};

/// Per state: what `capture`, `void` and `refund` of all that is left come to.
const ALLOWED: [(&str, [Result<&str, &str>; 3]); 6] = [
    ("REQUESTED", [Ok("COMPLETED"), Ok("VOIDED"), NOT_REFUNDABLE]),
    ("COMPLETED", [NOT_CAPTURABLE, NOT_VOIDABLE, Ok("REFUNDED")]),
    (
        "PARTIALLY_REFUNDED",
        [NOT_CAPTURABLE, NOT_VOIDABLE, Ok("REFUNDED")],
    ),
    ("REFUNDED", [NOT_CAPTURABLE, NOT_VOIDABLE, NOT_REFUNDABLE]),
    ("VOIDED", [NOT_CAPTURABLE, NOT_VOIDABLE, NOT_REFUNDABLE]),
    ("EXPIRED", [NOT_CAPTURABLE, NOT_VOIDABLE, NOT_REFUNDABLE]),
];
const COMMANDS: [&str; 3] = ["capture", "void", "refund"];
const NOT_CAPTURABLE: Result<&str, &str> = Err("payment-not-capturable");
const NOT_VOIDABLE: Result<&str, &str> = Err("payment-not-voidable");
const NOT_REFUNDABLE: Result<&str, &str> = Err("payment-not-refundable");

/// A payment in `status`.
async fn payment_in(bed: &Testbed, status: &str) -> String {
    let demo = bed.caller("demo");
    let payment_id = match status {
        "REQUESTED" | "VOIDED" | "EXPIRED" => bed.authorized(15_000).await,
        _ => bed.captured(15_000).await,
    };
    let path = |command: &str| format!("/payments/{command}/{payment_id}");
    match status {
        "PARTIALLY_REFUNDED" => drop(demo.post(&path("refund"), &json!({ "amount": 1 })).await),
        "REFUNDED" => drop(demo.post_empty(&path("refund")).await),
        "VOIDED" => drop(demo.post_empty(&path("void")).await),
        "EXPIRED" => expire(bed, &payment_id).await,
        _ => {}
    }
    assert_eq!(status_of(&demo, &payment_id).await, status);
    payment_id
}

async fn status_of(caller: &Caller, payment_id: &str) -> String {
    let payment = caller.get(&format!("/payments/{payment_id}")).await.json();
    payment["status"].as_str().unwrap().to_owned()
}

/// Lets an authorization lapse and calls the function that expires it, without its schedule.
async fn expire(bed: &Testbed, payment_id: &str) {
    sqlx::query(
        "UPDATE payment SET expires_at = UTC_TIMESTAMP(3) - INTERVAL 1 SECOND \
         WHERE payment_id = UNHEX(?)",
    )
    .bind(payment_id.trim_start_matches("pay_"))
    .execute(bed.database())
    .await
    .unwrap();
    let invoke = bed.caller("ops").at(&std::env::var("INVOKE_URL").unwrap());
    let reply = invoke
        .post("/2015-03-31/functions/expire/invocations", &json!({}))
        .await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
}

#[tokio::test]
async fn every_command_is_allowed_in_its_states_and_refused_in_all_others() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    for (status, results) in ALLOWED {
        for (command, expected) in COMMANDS.into_iter().zip(results) {
            let payment_id = payment_in(&bed, status).await;
            let before = bed.footprint(&payment_id).await;
            let reply = demo
                .post_empty(&format!("/payments/{command}/{payment_id}"))
                .await;
            let after = bed.footprint(&payment_id).await;
            match expected {
                Ok(next) => {
                    assert_eq!(reply.json()["status"], next, "{command} in {status}");
                    assert_eq!(after.outbox.len(), before.outbox.len() + 1);
                    assert!(after.ledger.len() > before.ledger.len());
                }
                Err(code) => {
                    let refused = (reply.status, reply.code());
                    assert_eq!(refused, (409, code.to_owned()), "{command} in {status}");
                    assert_eq!(after, before, "{command} in {status}");
                }
            }
        }
    }
}
