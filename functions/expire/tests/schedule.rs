//! The schedule. A binary of its own: elsewhere tests call the function themselves.

use std::time::{Duration, Instant};

use testbed::Testbed;

/// The schedule runs every 30 s; one run may be missed under load.
const EXPIRED_WITHIN: Duration = Duration::from_secs(70);
/// How often the payment is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_lapsed_authorization_expires_on_schedule() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(15_000).await;
    sqlx::query("UPDATE payment SET expires_at = UTC_TIMESTAMP(3) WHERE payment_id = UNHEX(?)")
        .bind(payment_id.trim_start_matches("pay_"))
        .execute(bed.database())
        .await
        .unwrap();
    let (demo, path) = (bed.caller("demo"), format!("/payments/{payment_id}"));
    let began = Instant::now();
    while demo.get(&path).await.json()["status"] != "EXPIRED" {
        assert!(
            began.elapsed() < EXPIRED_WITHIN,
            "not expired within {EXPIRED_WITHIN:?}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
