//! Two relays at once, of which one hangs and wakes up after the other has taken its shards over.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::Value;
use testbed::{Paused, Runtime, Testbed, first_met, until};
use toml::Table;

/// Payments made in each state of the relays.
const PAYMENTS: usize = 5;

#[tokio::test]
async fn a_relay_that_wakes_up_after_a_takeover_loses_and_inverts_nothing() {
    let bed = Testbed::new().await;
    let mut payments = lives(&bed).await;
    bed.everything_sent().await;
    let first = owners(&bed).await;

    let hanging = hanging_before_it_settles(&bed).await;
    payments.extend(lives(&bed).await);
    let second = Runtime::start(only_the_relay);
    until("the second relay to own every shard", async || {
        let owners = owners(&bed).await;
        owners.iter().all(|owner| !first.contains(owner))
    })
    .await;
    bed.everything_sent().await;
    drop(hanging);
    payments.extend(lives(&bed).await);
    drop(second);
    payments.extend(lives(&bed).await);
    bed.everything_sent().await;

    let messages = bed.messages().await;
    for payment_id in &payments {
        assert_eq!(first_met(&messages, payment_id), [1, 2, 3]);
        let told = told(&bed, payment_id).await;
        for message in messages.iter().filter(|message| message.key == *payment_id) {
            assert!(told.contains(&message.value), "{message:?}");
        }
    }
}

/// Stops the relay where it hurts most: the broker has its events, the pointers are there, and it
/// stands within the transaction that is to take them away and holds its locks.
async fn hanging_before_it_settles(bed: &Testbed) -> Paused {
    let pid = bed.instance_pid("outbox-relay").await;
    let kafka = Paused::kafka();
    let beats = bed.beats().await;
    bed.authorized(10_000).await;
    until("the relay to read the event", async || {
        bed.beats().await > beats
    })
    .await;
    let mut owners = bed.database().begin().await.expect("a transaction");
    sqlx::query("SELECT shard FROM outbox_owner FOR UPDATE")
        .fetch_all(&mut *owners)
        .await
        .expect("the owners can be locked");
    drop(kafka);
    until("the relay to wait for the owners", async || {
        waits_for_the_owners(bed).await
    })
    .await;
    let relay = Paused::process(pid);
    owners.rollback().await.expect("the owners are free");
    relay
}

/// `INNODB_TRX` is renewed only once nobody has read it for a while, so it is of no use to who asks
/// again and again. A statement on the few owners takes this long only if it waits.
async fn waits_for_the_owners(bed: &Testbed) -> bool {
    let waiting: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
         WHERE user = 'payment_fn' AND info LIKE '%outbox_owner%' AND time_ms >= 200",
    )
    .fetch_one(bed.database())
    .await
    .expect("the statements can be counted");
    waiting > 0
}

/// The values of a payment's events.
async fn told(bed: &Testbed, payment_id: &str) -> Vec<Value> {
    let payloads: Vec<String> =
        sqlx::query_scalar("SELECT payload FROM outbox_event WHERE aggregateid = ?")
            .bind(payment_id)
            .fetch_all(bed.database())
            .await
            .expect("the events can be read");
    let parsed = payloads.iter().map(|payload| payload.parse());
    parsed.collect::<Result<_, _>>().expect("JSON")
}

/// Who owns shards.
async fn owners(bed: &Testbed) -> Vec<Vec<u8>> {
    sqlx::query_scalar("SELECT DISTINCT owner FROM outbox_owner WHERE owner IS NOT NULL")
        .fetch_all(bed.database())
        .await
        .expect("the owners can be read")
}

async fn lives(bed: &Testbed) -> Vec<String> {
    let mut payments = Vec::new();
    for _ in 0..PAYMENTS {
        payments.push(bed.refunded(10_000, 10_000).await);
    }
    payments
}

/// Leaves nothing but the relay, which then wakes up by itself alone.
fn only_the_relay(functions: &mut Table) {
    functions.retain(|name, _| name == "outbox-relay");
    let relay = functions["outbox-relay"].as_table_mut();
    let continuous = relay.and_then(|relay| relay["continuous"].as_table_mut());
    continuous.expect("[continuous]").remove("wake_on");
}
