//! Whoever holds an idempotency key is killed in the database before it commits.
use std::collections::BTreeSet;

use futures_util::future::join_all;
use sqlx::AssertSqlSafe;
use testbed::{Authorization, Testbed, until};

/// Requests with the key that is held.
const RIVALS: usize = 20;

#[tokio::test]
async fn once_the_holder_of_a_key_is_killed_one_of_its_rivals_takes_effect() {
    let bed = Testbed::new().await;
    let (demo, authorization) = (bed.caller("demo"), Authorization::fresh());
    let mut holder = bed.database().begin().await.unwrap();
    let holder_id: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()")
        .fetch_one(&mut *holder)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO idem_response_cache (merchant_id, idem_key, fingerprint, created_at) \
         VALUES ('m-demo', ?, REPEAT('f', 32), UTC_TIMESTAMP(3))",
    )
    .bind(&authorization.key)
    .execute(&mut *holder)
    .await
    .unwrap();

    let rivals = join_all((0..RIVALS).map(|_| authorization.settle(&demo)));
    let killed = async {
        until("a rival that waits for the holder", async || {
            let instance = bed.instance("authorize").await;
            instance.is_some_and(|instance| instance.in_flight > 0)
        })
        .await;
        let kill = AssertSqlSafe(format!("KILL {holder_id}"));
        sqlx::query(kill).execute(bed.database()).await.unwrap();
    };
    let (replies, ()) = tokio::join!(rivals, killed);

    for reply in &replies {
        bed.assert_took_place_once(&authorization, reply).await;
    }
    let bodies: BTreeSet<_> = replies.iter().map(|reply| &reply.body).collect();
    assert_eq!(bodies.len(), 1, "every answer is the same");
    let first = replies.iter().filter(|reply| !reply.replayed()).count();
    assert!(first <= 1, "{first} answers say that they are the first");
    bed.assert_books_hold().await;
}
