//! A shard that gets another owner while the relay waits for the broker.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use testbed::{Paused, Testbed, until};

/// Payments made at most until one is in another shard.
const PAYMENTS_MAX: usize = 50;

#[tokio::test]
async fn a_relay_settles_nothing_of_a_shard_that_has_another_owner() {
    let bed = Testbed::new().await;
    bed.everything_sent().await;

    let kafka = Paused::kafka();
    let beats = bed.beats().await;
    let payment_id = bed.authorized(10_000).await;
    until("the relay to read the event", async || {
        bed.beats().await > beats
    })
    .await;
    let shard = shard(&bed, &payment_id).await;
    give_away(&bed, shard).await;
    drop(kafka);
    another_shard_is_sent(&bed, shard).await;

    let (pending, delivered) = state(&bed, &payment_id).await;
    assert_eq!((pending, delivered), (1, 0), "pending and delivered");

    end_the_owners_session(&bed).await;
    assert_eq!(bed.events(&payment_id, 1).await[0].seq(), 1);
    bed.everything_sent().await;
}

/// Writes another owner for a shard, as one does that takes it over.
async fn give_away(bed: &Testbed, shard: u16) {
    sqlx::query(
        "UPDATE outbox_owner SET owner = RANDOM_BYTES(16), epoch = epoch + 1 WHERE shard = ?",
    )
    .bind(shard)
    .execute(bed.database())
    .await
    .expect("the owner can be written");
}

/// Returns when the relay has sent an event of another shard: what it sent before is settled then.
async fn another_shard_is_sent(bed: &Testbed, not: u16) {
    for _ in 0..PAYMENTS_MAX {
        let payment_id = bed.authorized(10_000).await;
        if shard(bed, &payment_id).await != not {
            bed.events(&payment_id, 1).await;
            return;
        }
    }
    panic!("{PAYMENTS_MAX} payments are all in shard {not}");
}

/// Lets the relay begin anew, so that it takes the shard over again.
async fn end_the_owners_session(bed: &Testbed) {
    sqlx::raw_sql(
        "SET @session = IS_USED_LOCK(CONCAT(DATABASE(), '.outbox.0')); \
         EXECUTE IMMEDIATE CONCAT('KILL ', @session)",
    )
    .execute(bed.database())
    .await
    .expect("the session can be ended");
}

async fn shard(bed: &Testbed, payment_id: &str) -> u16 {
    let shard: u32 = sqlx::query_scalar("SELECT CAST(CRC32(?) % 64 AS UNSIGNED INT)")
        .bind(payment_id)
        .fetch_one(bed.database())
        .await
        .expect("a checksum");
    u16::try_from(shard).expect("less than 64")
}

/// How many of a payment's events are pending, and how many delivered.
async fn state(bed: &Testbed, payment_id: &str) -> (i64, i64) {
    sqlx::query_as(
        "SELECT COUNT(p.id), COUNT(d.id) FROM outbox_event e \
         LEFT JOIN outbox_pending p ON p.id = e.id LEFT JOIN outbox_delivery d ON d.id = e.id \
         WHERE e.aggregateid = ?",
    )
    .bind(payment_id)
    .fetch_one(bed.database())
    .await
    .expect("the outbox can be read")
}
