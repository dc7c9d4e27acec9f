//! What a refund gives back and refuses.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::future::join_all;
use serde_json::{Value, json};
use testbed::{Reply, Testbed, fresh};

/// Refunds sent at once.
const RIVALS: usize = 20;

fn path(payment_id: &str) -> String {
    format!("/payments/refund/{payment_id}")
}

fn assert_refunded(reply: &Reply, status: &str, refunded: u64) {
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let payment = reply.json();
    assert_eq!(
        (&payment["status"], &payment["refundedAmount"]),
        (&json!(status), &json!(refunded))
    );
}

/// The statuses of replies, in ascending order.
fn statuses(replies: &[Reply]) -> Vec<u16> {
    let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    statuses
}

/// What the ledger says the merchant is owed for a payment.
async fn owed(bed: &Testbed, payment_id: &str) -> i64 {
    sqlx::query_scalar(
        "SELECT CAST(SUM(CASE 'liability:merchant-payable' \
             WHEN credit_account THEN amount WHEN debit_account THEN -CAST(amount AS SIGNED) \
             ELSE 0 END) AS SIGNED) \
         FROM ledger_entry WHERE subject_id = UNHEX(?)",
    )
    .bind(payment_id.trim_start_matches("pay_"))
    .fetch_one(bed.database())
    .await
    .unwrap()
}

/// How many entries reverse the capture's, with its sides exchanged, and their sum.
async fn reversals(bed: &Testbed, payment_id: &str) -> (i64, i64) {
    sqlx::query_as(
        "SELECT COUNT(*), CAST(COALESCE(SUM(refund.amount), 0) AS SIGNED) \
         FROM ledger_entry refund JOIN ledger_entry capture \
           ON capture.subject_id = refund.subject_id AND capture.seq = refund.reverses_seq \
          AND capture.line = refund.reverses_line \
          AND capture.debit_account = refund.credit_account \
          AND capture.credit_account = refund.debit_account \
          AND capture.debit_account = 'asset:network-receivable' \
         WHERE refund.subject_id = UNHEX(?)",
    )
    .bind(payment_id.trim_start_matches("pay_"))
    .fetch_one(bed.database())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_refund_without_an_amount_gives_back_all_that_was_captured() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    for body in [
        None,
        Some(json!({})),
        Some(json!({ "amount": 15_000, "currency": "KRW" })),
    ] {
        let payment_id = bed.captured(15_000).await;
        let mut expected = demo.get(&format!("/payments/{payment_id}")).await.json();
        let reply = match &body {
            None => demo.post_empty(&path(&payment_id)).await,
            Some(body) => demo.post(&path(&payment_id), body).await,
        };
        assert_eq!(reply.status, 200, "{body:?}: {:?}", reply.body);
        expected["status"] = json!("REFUNDED");
        expected["refundedAmount"] = json!(15_000);
        expected["version"] = json!(3);
        expected["updatedAt"] = reply.json()["updatedAt"].clone();
        assert_eq!(reply.json(), expected);
        assert_eq!(owed(&bed, &payment_id).await, 0);
    }
}

#[tokio::test]
async fn several_partial_refunds_reverse_the_capture_until_nothing_is_left() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let payment_id = bed.captured(15_000).await;
    let path = path(&payment_id);
    let first = demo.post(&path, &json!({ "amount": 1_000 })).await;
    assert_refunded(&first, "PARTIALLY_REFUNDED", 1_000);
    let second = demo.post(&path, &json!({ "amount": 6_000 })).await;
    assert_refunded(&second, "PARTIALLY_REFUNDED", 7_000);
    assert_eq!(owed(&bed, &payment_id).await, 8_000);
    let rest = demo.post_empty(&path).await;
    assert_refunded(&rest, "REFUNDED", 15_000);
    let more = demo.post_empty(&path).await;
    assert_eq!(
        (more.status, more.code().as_str()),
        (409, "payment-not-refundable")
    );

    let ledger = bed.footprint(&payment_id).await.ledger;
    let sides = "liability:merchant-payable|asset:network-receivable";
    let expected = [(3, 1_000), (4, 6_000), (5, 8_000)]
        .map(|(seq, amount)| format!("{seq}|0|{sides}|{amount}|KRW|2|1"));
    assert_eq!(ledger[3..], expected);
    assert_eq!(reversals(&bed, &payment_id).await, (3, 15_000));
    assert_eq!(owed(&bed, &payment_id).await, 0);
}

#[tokio::test]
async fn a_partly_captured_payment_is_refunded_up_to_what_was_captured() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let payment_id = bed.authorized(15_000).await;
    let capture = format!("/payments/capture/{payment_id}");
    assert_eq!(
        demo.post(&capture, &json!({ "amount": 9_000 }))
            .await
            .status,
        200
    );
    let above = demo
        .post(&path(&payment_id), &json!({ "amount": 9_001 }))
        .await;
    assert_eq!(
        (above.status, above.code().as_str()),
        (422, "amount-above-captured")
    );
    assert_refunded(
        &demo.post_empty(&path(&payment_id)).await,
        "REFUNDED",
        9_000,
    );
}

#[tokio::test]
async fn more_than_is_left_or_another_currency_is_refused() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let payment_id = bed.captured(15_000).await;
    let part = demo
        .post(&path(&payment_id), &json!({ "amount": 5_000 }))
        .await;
    assert_refunded(&part, "PARTIALLY_REFUNDED", 5_000);
    let before = bed.footprint(&payment_id).await;
    for (body, code) in [
        (json!({ "amount": 10_001 }), "amount-above-captured"),
        (json!({ "amount": u64::MAX }), "amount-above-captured"),
        (
            json!({ "amount": 1, "currency": "USD" }),
            "currency-mismatch",
        ),
    ] {
        let reply = demo.post(&path(&payment_id), &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, code), "{body}");
    }
    assert_eq!(bed.footprint(&payment_id).await, before);
}

#[tokio::test]
async fn a_wrong_member_is_pointed_at() {
    let bed = Testbed::new().await;
    let payment_id = bed.captured(15_000).await;
    let before = bed.footprint(&payment_id).await;
    for (body, pointer) in [
        (json!({ "amount": 0 }), "/amount"),
        (json!({ "amount": 0.5 }), "/amount"),
        (json!({ "amount": "1" }), "/amount"),
        (json!({ "currency": "won" }), "/currency"),
        (json!({ "reason": 1 }), "/reason"),
        (json!({ "reason": "가".repeat(256) }), "/reason"),
        (json!({ "status": "REFUNDED" }), "/status"),
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
async fn a_refusal_is_stored_and_repeated_byte_for_byte() {
    let bed = Testbed::new().await;
    let (demo, key) = (bed.caller("demo"), fresh("key"));
    let payment_id = bed.captured(15_000).await;
    let asked = json!({ "amount": 15_001 });
    let first = demo.post_keyed(&path(&payment_id), &asked, &key).await;
    let again = demo.post_keyed(&path(&payment_id), &asked, &key).await;
    assert_eq!(
        (first.status, first.code().as_str()),
        (422, "amount-above-captured")
    );
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert!(!first.replayed() && again.replayed());
}

#[tokio::test]
async fn a_repeated_partial_refund_is_given_once() {
    let bed = Testbed::new().await;
    let (demo, key, asked) = (bed.caller("demo"), fresh("key"), json!({ "amount": 1_000 }));
    let payment_id = bed.captured(15_000).await;
    let path = path(&payment_id);
    let replies = join_all((0..RIVALS).map(|_| demo.post_keyed(&path, &asked, &key))).await;
    let done: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert!(!done.is_empty());
    assert!(done.iter().all(|reply| reply.body == done[0].body));
    for refused in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (409, "idempotency-key-in-flight")
        );
    }
    assert_eq!(reversals(&bed, &payment_id).await, (1, 1_000));
}

#[tokio::test]
async fn of_two_refunds_at_once_that_exceed_the_capture_together_one_is_refused() {
    let bed = Testbed::new().await;
    let (demo, asked) = (bed.caller("demo"), json!({ "amount": 60 }));
    let payment_id = bed.captured(100).await;
    let path = path(&payment_id);
    let replies = join_all((0..2).map(|_| demo.post(&path, &asked))).await;
    assert_eq!(statuses(&replies), [200, 422]);
    let refused = replies.iter().find(|reply| reply.status == 422).unwrap();
    assert_eq!(refused.code(), "amount-above-captured");
    assert_eq!(owed(&bed, &payment_id).await, 40);
    assert_eq!(reversals(&bed, &payment_id).await, (1, 60));
}

#[tokio::test]
async fn of_many_refunds_at_once_as_many_take_place_as_the_capture_covers() {
    let bed = Testbed::new().await;
    let (demo, asked) = (bed.caller("demo"), json!({ "amount": 1_000 }));
    let payment_id = bed.captured(15_000).await;
    let path = path(&payment_id);
    let replies = join_all((0..RIVALS).map(|_| demo.post(&path, &asked))).await;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status != 200).collect();
    assert_eq!(replies.len() - refused.len(), 15);
    for reply in refused {
        // Once the last won is given back there is nothing to refund any more.
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (409, "payment-not-refundable")
        );
    }
    let payment: Value = demo.get(&format!("/payments/{payment_id}")).await.json();
    assert_eq!(
        (&payment["status"], &payment["version"]),
        (&json!("REFUNDED"), &json!(17))
    );
    assert_eq!(reversals(&bed, &payment_id).await, (15, 15_000));
    assert_eq!(owed(&bed, &payment_id).await, 0);
}
