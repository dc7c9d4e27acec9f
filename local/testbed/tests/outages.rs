//! What happens while a part is away. One test, because the parts are shared.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use serde_json::json;
use testbed::{Reply, Testbed, first_met, fresh, stack, until};

/// How long Kafka is away under load.
const AWAY: Duration = Duration::from_secs(30);
/// Clients that make payments meanwhile.
const CLIENTS: usize = 8;
/// How often each of them makes one.
const PAYMENT_EVERY: Duration = Duration::from_millis(200);

#[tokio::test]
async fn payments_go_on_while_redis_or_kafka_is_away_and_retries_are_safe_while_mariadb_is() {
    let bed = Testbed::new().await;

    stack(&["stop", "redis"]).await;
    let mut payments = vec![bed.refunded(15_000, 5_000).await];
    a_repeated_key_gives_the_stored_answer(&bed).await;
    the_rate_is_limited_in_process(&bed).await;
    stack(&["start", "redis"]).await;

    mariadb_away(&bed, &payments[0]).await;

    stack(&["stop", "kafka"]).await;
    payments.extend(load(&bed).await);
    assert!(
        bed.count("outbox_pending").await >= 3,
        "events wait while Kafka is away"
    );
    until("the relay's metrics to tell of it", async || {
        bed.relay_metric("outbox_pending_events").await >= Some(3.0)
    })
    .await;
    stack(&["start", "kafka"]).await;
    payments.push(bed.refunded(15_000, 5_000).await);

    bed.everything_sent().await;
    let messages = bed.messages().await;
    for payment_id in &payments {
        assert_eq!(first_met(&messages, payment_id), [1, 2, 3]);
    }
}

/// Requests are refused in a way that invites a retry, and the retry takes effect once: the refusal
/// was not stored.
async fn mariadb_away(bed: &Testbed, payment_id: &str) {
    let (demo, key) = (bed.caller("demo"), fresh("key"));
    let asked = json!({ "orderId": fresh("order"), "amount": 1, "currency": "KRW" });
    let authorize = async || demo.post_keyed("/payments/authorize", &asked, &key).await;

    stack(&["stop", "mariadb"]).await;
    assert_unavailable(&authorize().await);
    assert_unavailable(&demo.get(&format!("/payments/{payment_id}")).await);
    stack(&["start", "mariadb"]).await;

    let mut first = None;
    until("the database's return to be noticed", async || {
        first = Some(authorize().await).filter(|reply| reply.status != 503);
        first.is_some()
    })
    .await;
    let (first, again) = (first.expect("an answer"), authorize().await);
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert!(again.replayed());
    let payments: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM payment WHERE order_id = ?")
        .bind(asked["orderId"].as_str())
        .fetch_one(bed.database())
        .await
        .expect("the payments can be counted");
    assert_eq!(payments, 1);
}

fn assert_unavailable(reply: &Reply) {
    assert_eq!((reply.status, reply.code().as_str()), (503, "unavailable"));
    assert_eq!(reply.json()["retryable"], true);
    assert!(reply.headers.contains_key("retry-after"));
}

/// Payments of several clients at once for as long as Kafka is away; each request is answered.
async fn load(bed: &Testbed) -> Vec<String> {
    let clients = (0..CLIENTS).map(|_| tokio::spawn(client(bed.clone())));
    let mut payments = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        payments.extend(client.await.expect("every request is answered"));
    }
    payments
}

async fn client(bed: Testbed) -> Vec<String> {
    let (began, mut due) = (Instant::now(), tokio::time::interval(PAYMENT_EVERY));
    let mut payments = Vec::new();
    while began.elapsed() < AWAY {
        due.tick().await;
        payments.push(bed.refunded(15_000, 5_000).await);
    }
    payments
}

async fn a_repeated_key_gives_the_stored_answer(bed: &Testbed) {
    let (demo, key) = (bed.caller("demo"), fresh("key"));
    let asked = json!({ "orderId": fresh("order"), "amount": 1, "currency": "KRW" });
    let first = demo.post_keyed("/payments/authorize", &asked, &key).await;
    let again = demo.post_keyed("/payments/authorize", &asked, &key).await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert!(!first.replayed() && again.replayed());
}

async fn the_rate_is_limited_in_process(bed: &Testbed) {
    let limited = bed.caller("limited");
    until("a refusal by the in-process limiter", async || {
        limited.get("/payments").await.status == 429
    })
    .await;
}
