//! No refusal changes payments, ledger, outbox or topics. One test, because it counts whole tables.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use testbed::{Caller, Reply, Testbed, fresh, until};

const AUTHORIZE: &str = "/payments/authorize";
/// More bytes than a body may have.
const TOO_MANY_BYTES: usize = 300_000;
/// More requests than the `limited` key may send at once.
const TOO_MANY_REQUESTS: usize = 20;

/// Payments that the refused commands are about, by their state.
struct Payments {
    requested: String,
    /// 60 of 100 won.
    refunded: String,
    voided: String,
}

impl Payments {
    async fn new(bed: &Testbed) -> Self {
        let demo = bed.caller("demo");
        let (requested, voided) = (bed.authorized(100).await, bed.authorized(100).await);
        let refunded = bed.captured(100).await;
        let refund = format!("/payments/refund/{refunded}");
        assert_eq!(
            demo.post(&refund, &json!({ "amount": 60 })).await.status,
            200
        );
        assert_eq!(
            demo.post_empty(&format!("/payments/void/{voided}"))
                .await
                .status,
            200
        );
        Self {
            requested,
            refunded,
            voided,
        }
    }
}

/// A request about to be refused, with the status and code of the refusal.
type Refused = (u16, &'static str, Reply);

fn order() -> Value {
    json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" })
}

async fn not_believed(demo: &Caller) -> Vec<Refused> {
    let request = || demo.request("POST", AUTHORIZE).body(order().to_string());
    let unsigned = request().tamper(|headers| drop(headers.remove("signature")));
    let unknown = request().tamper(|headers| {
        let input = headers["signature-input"]
            .to_str()
            .unwrap()
            .replace("\"demo\"", "\"nobody\"");
        headers.insert("signature-input", input.parse().unwrap());
    });
    let other_key = request().tamper(|headers| {
        headers.insert("idempotency-key", fresh("key").parse().unwrap());
    });
    vec![
        (401, "signature-missing", unsigned.send().await),
        (401, "key-unknown", unknown.send().await),
        (401, "signature-invalid", other_key.send().await),
        (401, "signature-expired", request().created(0).send().await),
        (
            401,
            "digest-mismatch",
            request().sent_body(order().to_string()).send().await,
        ),
    ]
}

async fn not_valid(bed: &Testbed) -> Vec<Refused> {
    let demo = bed.caller("demo");
    let request = || demo.request("POST", AUTHORIZE).body(order().to_string());
    let unfinished = demo.request("POST", AUTHORIZE).body("{").send().await;
    let large = demo
        .request("POST", AUTHORIZE)
        .body(" ".repeat(TOO_MANY_BYTES))
        .send()
        .await;
    let operator = bed.caller("ops").post(AUTHORIZE, &order()).await;
    vec![
        (
            400,
            "invalid-request",
            demo.post(AUTHORIZE, &json!({})).await,
        ),
        (400, "invalid-json", unfinished),
        (
            400,
            "idempotency-key-missing",
            request().without_idempotency_key().send().await,
        ),
        (403, "role-forbidden", operator),
        (
            404,
            "route-not-found",
            demo.post_empty("/payments/nowhere").await,
        ),
        (413, "body-too-large", large),
        (
            415,
            "media-type",
            request().content_type("text/plain").send().await,
        ),
    ]
}

async fn not_allowed_by_the_state(demo: &Caller, payments: &Payments) -> Vec<Refused> {
    let Payments {
        requested,
        refunded,
        voided,
    } = payments;
    let amount = |amount: u64| json!({ "amount": amount });
    let (all, dollars) = (json!({}), json!({ "amount": 1, "currency": "USD" }));
    let mut answers = Vec::new();
    for (command, payment_id, body, status, code) in [
        ("capture", "pay_0", &all, 404, "payment-not-found"),
        ("capture", refunded, &all, 409, "payment-not-capturable"),
        ("refund", requested, &all, 409, "payment-not-refundable"),
        ("void", voided, &all, 409, "payment-not-voidable"),
        (
            "capture",
            requested,
            &amount(101),
            422,
            "amount-above-authorized",
        ),
        (
            "refund",
            refunded,
            &amount(41),
            422,
            "amount-above-captured",
        ),
        ("capture", requested, &dollars, 422, "currency-mismatch"),
        ("refund", refunded, &dollars, 422, "currency-mismatch"),
    ] {
        let path = format!("/payments/{command}/{payment_id}");
        answers.push((status, code, demo.post(&path, body).await));
    }
    answers
}

async fn not_with_this_key(bed: &Testbed, order_id: &Value, used_key: &str) -> Vec<Refused> {
    let (demo, running_key) = (bed.caller("demo"), fresh("key"));
    let mut running = bed.database().begin().await.unwrap();
    sqlx::query(
        "INSERT INTO idem_response_cache (merchant_id, idem_key, fingerprint, created_at) \
         VALUES ('m-demo', ?, REPEAT('f', 32), UTC_TIMESTAMP(3))",
    )
    .bind(&running_key)
    .execute(&mut *running)
    .await
    .unwrap();
    let in_flight = demo.post_keyed(AUTHORIZE, &order(), &running_key).await;
    running.rollback().await.unwrap();
    let mut duplicate = order();
    duplicate["orderId"] = order_id.clone();
    vec![
        (409, "idempotency-key-in-flight", in_flight),
        (
            409,
            "idempotency-key-reused",
            demo.post_keyed(AUTHORIZE, &order(), used_key).await,
        ),
        (
            409,
            "duplicate-order",
            demo.post(AUTHORIZE, &duplicate).await,
        ),
    ]
}

/// The merchant's rate is used up by requests that change nothing either.
async fn not_at_this_rate(limited: &Caller) -> Vec<Refused> {
    let mut refused = None;
    until("a request above the rate", async || {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..TOO_MANY_REQUESTS {
            let limited = limited.clone();
            tasks.spawn(async move { limited.post(AUTHORIZE, &json!({})).await });
        }
        refused = tasks
            .join_all()
            .await
            .into_iter()
            .find(|reply| reply.status == 429);
        refused.is_some()
    })
    .await;
    vec![(429, "rate-limited", refused.unwrap())]
}

/// Checks every member that a problem must have.
fn assert_problem(reply: &Reply, status: u16, code: &str, documented: &str) {
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (status, code),
        "{:?}",
        reply.body
    );
    let problem = reply.json();
    let text = |member: &str| problem[member].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("type"), format!("/docs/problems.md#{code}"));
    assert!(
        documented.contains(&format!("\n## {code}\n")),
        "{code} is explained"
    );
    for member in ["title", "detail"] {
        assert!(!text(member).is_empty(), "{member} of {problem}");
    }
    assert!(text("instance").starts_with("/payments/"), "{problem}");
    let trace_id = text("traceId");
    assert!(trace_id.len() == 32 && trace_id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let retryable = ["idempotency-key-in-flight", "rate-limited"].contains(&code);
    assert_eq!(problem["retryable"], retryable, "{code}");
    assert_eq!(
        reply.headers.contains_key("retry-after"),
        retryable,
        "{code}"
    );
}

#[tokio::test]
async fn refusals_are_whole_problems_and_change_nothing() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let payments = Payments::new(&bed).await;
    let (first_order, used_key) = (order(), fresh("key"));
    assert_eq!(
        demo.post_keyed(AUTHORIZE, &first_order, &used_key)
            .await
            .status,
        200
    );
    let documented = demo.get("/docs/problems.md").await.body;
    let documented = String::from_utf8(documented.to_vec()).unwrap();
    let ids = [&payments.requested, &payments.refunded, &payments.voided];
    let totals = bed.totals().await;
    let mut footprints = Vec::new();
    for id in ids {
        footprints.push(bed.footprint(id).await);
    }

    let mut refusals = not_believed(&demo).await;
    refusals.extend(not_valid(&bed).await);
    refusals.extend(not_allowed_by_the_state(&demo, &payments).await);
    refusals.extend(not_with_this_key(&bed, &first_order["orderId"], &used_key).await);
    refusals.extend(not_at_this_rate(&bed.caller("limited")).await);
    for (status, code, reply) in &refusals {
        assert_problem(reply, *status, code, &documented);
    }

    assert_eq!(bed.totals().await, totals);
    for (id, footprint) in ids.into_iter().zip(footprints) {
        assert_eq!(bed.footprint(id).await, footprint);
    }
}
