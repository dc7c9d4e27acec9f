//! What happens while a part is away. One test, because the parts are shared.

use serde_json::json;
use testbed::{Testbed, fresh, stack, until};

#[tokio::test]
async fn payments_go_on_while_redis_or_kafka_is_away_and_events_arrive_when_it_is_back() {
    let bed = Testbed::new().await;

    stack(&["stop", "redis"]).await;
    let without_redis = bed.refunded(15_000, 5_000).await;
    a_repeated_key_gives_the_stored_answer(&bed).await;
    the_rate_is_limited_in_process(&bed).await;
    stack(&["start", "redis"]).await;

    stack(&["stop", "kafka"]).await;
    let without_kafka = bed.refunded(15_000, 5_000).await;
    assert!(
        bed.count("outbox_pending").await >= 3,
        "events wait while Kafka is away"
    );
    until("the relay's metrics to tell of it", async || {
        bed.relay_metric("outbox_pending_events").await >= Some(3.0)
    })
    .await;
    stack(&["start", "kafka"]).await;

    for payment_id in [without_redis, without_kafka] {
        let events = bed.events(&payment_id, 3).await;
        let seqs: Vec<_> = events
            .iter()
            .map(|event| event.value["data"]["seq"].clone())
            .collect();
        assert_eq!(seqs, [json!(1), json!(2), json!(3)]);
        let written: Vec<_> = events.iter().map(|event| event.timestamp_ms).collect();
        assert!(
            written.is_sorted(),
            "events are written in order: {written:?}"
        );
    }
    until("an empty outbox", async || {
        bed.count("outbox_pending").await == 0
    })
    .await;
    bed.refunded(15_000, 5_000).await;
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
