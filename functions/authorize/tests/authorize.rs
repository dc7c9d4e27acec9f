//! What an accepted authorization answers and keeps.

use chrono::{DateTime, Days, SecondsFormat, SubsecRound, Utc};
use serde_json::json;
use testbed::{Testbed, fresh};

/// The largest amount: 2^53 - 1.
const AMOUNT_MAX: u64 = 9_007_199_254_740_991;

#[tokio::test]
async fn an_authorization_answers_with_every_member_of_the_payment() {
    let bed = Testbed::new().await;
    let mut payment = json!({
        "orderId": fresh("order"),
        "amount": 15_000,
        "currency": "KRW",
        "description": "가을 운동화 \"270\" 👟",
        "customer": { "name": "김하나", "email": "hana@example.com", "phone": "+82 10-1234-5678" },
        "metadata": { "cart": "c-1", "": "", "메모": "문 앞" },
    });
    let before = Utc::now().trunc_subsecs(3);
    let reply = bed
        .caller("demo")
        .post("/payments/authorize", &payment)
        .await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(reply.headers["content-type"], "application/json");
    assert!(!reply.replayed());

    let answered = reply.json();
    let created: DateTime<Utc> = answered["createdAt"].as_str().unwrap().parse().unwrap();
    assert!((before..=Utc::now()).contains(&created), "{created}");
    let milliseconds = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    payment["paymentId"] = answered["paymentId"].clone();
    payment["merchantId"] = json!("m-demo");
    payment["status"] = json!("REQUESTED");
    payment["capturedAmount"] = json!(0);
    payment["refundedAmount"] = json!(0);
    payment["createdAt"] = json!(milliseconds(created));
    payment["updatedAt"] = json!(milliseconds(created));
    payment["expiresAt"] = json!(milliseconds(created + Days::new(7)));
    payment["version"] = json!(1);
    assert_eq!(answered, payment);

    let path = format!("/payments/{}", answered["paymentId"].as_str().unwrap());
    assert_eq!(bed.caller("demo").get(&path).await.json(), answered);
}

#[tokio::test]
async fn what_the_merchant_left_out_is_left_out_of_the_answer() {
    let bed = Testbed::new().await;
    let asked = json!({ "orderId": fresh("order"), "amount": 1, "currency": "USD" });
    let payment = bed
        .caller("demo")
        .post("/payments/authorize", &asked)
        .await
        .json();
    for member in ["description", "customer", "metadata"] {
        assert_eq!(payment.get(member), None, "{member}");
    }
}

#[tokio::test]
async fn an_authorization_holds_the_amount_and_tells_one_event() {
    let bed = Testbed::new().await;
    let footprint = bed.footprint(&bed.authorized(15_000).await).await;
    assert_eq!(footprint.payment.len(), 1);
    assert_eq!(
        footprint.ledger,
        ["1|0|memo:hold|memo:hold-contra|15000|KRW|-|-"]
    );
    assert_eq!(footprint.outbox.len(), 1);
    assert!(
        footprint.outbox[0].starts_with("1|payment.authorized|"),
        "{footprint:?}"
    );
}

#[tokio::test]
async fn amounts_and_texts_at_their_limits_are_accepted() {
    let bed = Testbed::new().await;
    let order_id = format!("{:-<64}", fresh("order"));
    let asked = json!({
        "orderId": order_id,
        "amount": AMOUNT_MAX,
        "currency": "KRW",
        "description": "가".repeat(255),
        "metadata": { "키".repeat(40): "값".repeat(500) },
    });
    let reply = bed.caller("demo").post("/payments/authorize", &asked).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let payment = reply.json();
    for member in ["orderId", "amount", "description", "metadata"] {
        assert_eq!(payment[member], asked[member], "{member}");
    }
}

#[tokio::test]
async fn two_merchants_may_use_the_same_order_id() {
    let bed = Testbed::new().await;
    let asked = json!({ "orderId": fresh("order"), "amount": 1, "currency": "KRW" });
    let first = bed.caller("demo").post("/payments/authorize", &asked).await;
    let second = bed
        .caller("other")
        .post("/payments/authorize", &asked)
        .await;
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(second.json()["merchantId"], "m-other");
    assert_ne!(first.json()["paymentId"], second.json()["paymentId"]);
}
