//! What settlements are made of arrives once, in order, and only if it is what it says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sqlx::FromRow;
use testbed::{Apart, Testbed, fresh, until};
use uuid::Uuid;

const FUNCTION: &str = "settlement-ingest";
/// Of the records that a test sends itself.
const PARTITION: &str = "payment.captured-0";

#[derive(Debug, PartialEq, Eq, FromRow)]
struct Row {
    seq: u32,
    kind: String,
    amount: u64,
    captured_amount: u64,
    refunded_amount: u64,
}

fn row(seq: u32, kind: &str, amount: u64, captured_amount: u64, refunded_amount: u64) -> Row {
    Row {
        seq,
        kind: kind.to_owned(),
        amount,
        captured_amount,
        refunded_amount,
    }
}

/// What the stack's own settlement service, or the one that is apart, knows of a payment.
async fn rows(bed: &Testbed, table: &str, payment_id: &str) -> Vec<Row> {
    let query = format!(
        "SELECT seq, kind, amount, captured_amount, refunded_amount
           FROM {table}
          WHERE payment_id = UNHEX(?) AND merchant_id = 'm-demo' AND currency = 'KRW' ORDER BY seq"
    );
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(query));
    let rows = rows.bind(payment_id.trim_start_matches("pay_"));
    rows.fetch_all(bed.database()).await.unwrap()
}

fn payment_id() -> String {
    format!("pay_{}", Uuid::now_v7().simple())
}

fn captured(payment_id: &str) -> Value {
    json!({
        "id": Uuid::new_v4(),
        "type": "payment.captured",
        "time": "2026-03-31T15:00:00.000Z",
        "data": {
            "paymentId": payment_id, "merchantId": "m-demo", "currency": "KRW",
            "capturedAmount": 1000, "refundedAmount": 0, "seq": 2,
        },
    })
}

/// A refund of 100 that leaves `refunded` given back.
fn refunded(payment_id: &str, seq: u32, refunded: u64) -> Value {
    let mut event = captured(payment_id);
    event["type"] = "payment.refunded".into();
    event["data"]["seq"] = seq.into();
    event["data"]["refundedAmount"] = refunded.into();
    event["data"]["refundAmount"] = 100.into();
    event
}

/// Invokes the function with these values as records; the offsets it has sent again.
async fn send(bed: &Testbed, values: &[String]) -> Vec<u64> {
    let records: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(offset, value)| {
            json!({
                "topic": "payment.captured", "partition": 0, "offset": offset, "timestamp": 0,
                "timestampType": "CREATE_TIME", "key": null,
                "value": BASE64_STANDARD.encode(value), "headers": [],
            })
        })
        .collect();
    let event = json!({ "eventSource": "aws:SelfManagedKafka", "records": { PARTITION: records } });
    let answer = bed.invoke(FUNCTION, &event).await;
    let failures = answer["batchItemFailures"].as_array().unwrap().iter();
    failures
        .map(|failure| {
            let item = &failure["itemIdentifier"];
            assert_eq!(item["partition"], PARTITION);
            item["offset"].as_u64().unwrap()
        })
        .collect()
}

fn texts(events: &[Value]) -> Vec<String> {
    events.iter().map(Value::to_string).collect()
}

#[tokio::test]
async fn captures_and_refunds_of_payments_arrive() {
    let bed = Testbed::new().await;
    let payment = bed.refunded(15_000, 4_000).await;
    let path = format!("/payments/refund/{payment}");
    let rest = bed.caller("demo").post_empty(&path).await;
    assert_eq!(rest.status, 200, "{:?}", rest.body);
    let expected = [
        row(2, "CAPTURE", 15_000, 15_000, 0),
        row(3, "REFUND", 4_000, 15_000, 4_000),
        row(4, "REFUND", 11_000, 15_000, 15_000),
    ];
    until("all three are there", async || {
        rows(&bed, "settlement.settlement_source", &payment).await == expected
    })
    .await;
}

#[tokio::test]
async fn events_that_come_again_change_nothing() {
    let apart = Apart::start("settlement", &[FUNCTION]).await;
    let bed = &apart.bed;
    let payment = payment_id();
    let events = texts(&[
        captured(&payment),
        refunded(&payment, 3, 100),
        captured(&payment),
        refunded(&payment, 3, 100),
    ]);
    let expected = [
        row(2, "CAPTURE", 1000, 1000, 0),
        row(3, "REFUND", 100, 1000, 100),
    ];
    for _ in 0..2 {
        assert_eq!(send(bed, &events).await, [0; 0]);
        assert_eq!(rows(bed, "settlement_source", &payment).await, expected);
    }
    let day: String = sqlx::query_scalar(
        "SELECT CAST(MAX(sold_on) AS CHAR) FROM settlement_source WHERE payment_id = UNHEX(?)",
    )
    .bind(payment.trim_start_matches("pay_"))
    .fetch_one(bed.database())
    .await
    .unwrap();
    assert_eq!(day, "2026-04-01", "in Seoul");
}

#[tokio::test]
async fn refund_before_what_it_follows_is_sent_again_and_others_are_not() {
    let apart = Apart::start("settlement", &[FUNCTION]).await;
    let bed = &apart.bed;
    let [early, other] = [payment_id(), payment_id()];
    let events = texts(&[
        refunded(&early, 3, 100),
        captured(&other),
        refunded(&other, 4, 200),
    ]);
    assert_eq!(send(bed, &events).await, [0, 2]);
    assert_eq!(rows(bed, "settlement_source", &early).await, []);
    assert_eq!(
        rows(bed, "settlement_source", &other).await,
        [row(2, "CAPTURE", 1000, 1000, 0)]
    );
    assert_eq!(send(bed, &texts(&[captured(&early)])).await, [0; 0]);
    let again = texts(&[refunded(&early, 3, 100), refunded(&other, 3, 100)]);
    assert_eq!(send(bed, &again).await, [0; 0]);
    assert_eq!(rows(bed, "settlement_source", &early).await.len(), 2);
    assert_eq!(rows(bed, "settlement_source", &other).await.len(), 2);
}

#[tokio::test]
async fn record_that_is_no_capture_and_no_refund_is_refused() {
    let apart = Apart::start("settlement", &[FUNCTION]).await;
    let bed = &apart.bed;
    let good = payment_id();
    let mut wrong = captured(&payment_id());
    let with = |event: &Value, path: &str, value: Value| {
        let mut changed = event.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed.to_string()
    };
    let negative = with(&wrong, "/data/capturedAmount", json!(-1));
    let large = with(&wrong, "/data/capturedAmount", json!(u64::MAX));
    let currency = with(&wrong, "/data/currency", json!("XXZ"));
    let id = with(&wrong, "/data/paymentId", json!(fresh("pay")));
    let kind = with(&wrong, "/type", json!("payment.voided"));
    let unsaid = with(&wrong, "/type", json!("payment.refunded"));
    wrong["data"].as_object_mut().unwrap().remove("seq");
    let values = [
        "{".to_owned(),
        String::new(),
        wrong.to_string(),
        negative,
        large,
        currency,
        id,
        kind,
        unsaid,
        captured(&good).to_string(),
    ];
    assert_eq!(send(bed, &values).await, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(rows(bed, "settlement_source", &good).await.len(), 1);
}
