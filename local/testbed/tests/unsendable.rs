//! Events that cannot be sent, and what becomes of the others.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use sqlx::{AssertSqlSafe, Connection};
use testbed::{Testbed, first_met, until};

/// Payments made beside, one after the other.
const PAYMENTS: usize = 10;

#[tokio::test]
async fn an_event_that_cannot_be_sent_delays_only_its_own_payment() {
    let bed = Testbed::new().await;
    let unreadable = bed.authorized(10_000).await;
    let unknown_topic = bed.authorized(10_000).await;
    let stuck = [&unreadable, &unknown_topic];
    bed.everything_sent().await;
    spoil(&bed, &unreadable, "headers = CONCAT('not JSON: ', headers)").await;
    spoil(&bed, &unknown_topic, "type = CONCAT('unheard-of.', type)").await;
    for payment_id in stuck {
        let path = format!("/payments/capture/{payment_id}");
        assert_eq!(bed.caller("demo").post_empty(&path).await.status, 200);
    }

    until("the relay's metrics to tell of both", async || {
        bed.relay_metric("outbox_held_keys").await == Some(2.0)
    })
    .await;
    let mut made = 0;
    until("the other payments' events", async || {
        let payment_id = bed.refunded(10_000, 10_000).await;
        bed.events(&payment_id, 3).await;
        made += 1;
        made == PAYMENTS
    })
    .await;
    assert!(bed.relay_metric("outbox_send_failures_total").await >= Some(2.0));
    assert_eq!(
        bed.count("outbox_pending").await,
        4,
        "two events cannot be sent, two wait behind them"
    );

    repair(
        &bed,
        &unreadable,
        "headers = REPLACE(headers, 'not JSON: ', '')",
    )
    .await;
    repair(
        &bed,
        &unknown_topic,
        "type = REPLACE(type, 'unheard-of.', '')",
    )
    .await;
    bed.everything_sent().await;
    let messages = bed.messages().await;
    for payment_id in stuck {
        assert_eq!(first_met(&messages, payment_id), [1, 2]);
    }
}

/// Lets a payment's only event be pending again, and changes it.
async fn spoil(bed: &Testbed, payment_id: &str, change: &str) {
    let mut connection = bed.database().acquire().await.expect("a connection");
    let mut tx = connection.begin().await.expect("a transaction");
    for sql in [
        format!("UPDATE outbox_event SET {change} WHERE aggregateid = ?"),
        "DELETE d FROM outbox_delivery d JOIN outbox_event e ON e.id = d.id WHERE e.aggregateid = ?"
            .to_owned(),
        "INSERT INTO outbox_pending (shard, id) \
         SELECT CRC32(aggregateid) % 64, id FROM outbox_event WHERE aggregateid = ?"
            .to_owned(),
    ] {
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(payment_id)
            .execute(&mut *tx)
            .await
            .expect("the event can be spoilt");
        assert_eq!(done.rows_affected(), 1);
    }
    tx.commit().await.expect("a commit");
}

async fn repair(bed: &Testbed, payment_id: &str, change: &str) {
    let sql = format!("UPDATE outbox_event SET {change} WHERE aggregateid = ? AND agg_seq = 1");
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(payment_id)
        .execute(bed.database())
        .await
        .expect("the event can be repaired");
    assert_eq!(done.rows_affected(), 1);
}
