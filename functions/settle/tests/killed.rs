//! A settlement that is killed loses nothing and does nothing twice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod merchant;

use merchant::{Merchant, digits, events, figures};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testbed::until;

const FUNCTION: &str = "settle";
/// Payments: many chunks.
const MANY: usize = 40_000;
/// How often it is killed.
const KILLS: usize = 3;

#[tokio::test]
async fn settlement_that_was_killed_goes_on_where_it_stopped() {
    let merchant = Merchant::new(231, "DAILY", 2).await;
    merchant.captured_many("2026-03-02", MANY).await;
    let asking = until("it is settled", async || {
        merchant.ask("2026-03-02", "2026-03-02").await.status == 200
    });
    let ((), killed) = tokio::join!(asking, kill_at_every_chunk(&merchant));
    assert!(killed > 0, "it was never killed");
    let settled = merchant.settle("2026-03-02", "2026-03-02").await;
    let many = MANY as u64;
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0]["itemCount"], many);
    let expected = [many * 1_000, 0, many * 21, many * 2, 0, 0, many * 977, 0];
    assert_eq!(figures(&settled[0]), expected);
    assert_eq!(events(merchant.bed(), &settled[0]).await, 1);
    let lines: (i64, u64) = sqlx::query_as(
        "SELECT COUNT(*), CAST(SUM(amount) AS UNSIGNED) FROM settlement_item
          WHERE settlement_id = UNHEX(?)",
    )
    .bind(digits(&settled[0]))
    .fetch_one(merchant.bed().database())
    .await
    .unwrap();
    assert_eq!(lines, (i64::try_from(MANY).unwrap(), many * 1_000));
}

/// Kills the function when it has written more, until it was killed often enough or is done.
async fn kill_at_every_chunk(merchant: &Merchant) -> usize {
    let mut written = 0;
    for killed in 0..KILLS {
        let mut met = (0, false);
        until("more is written", async || {
            met = written_by(merchant).await;
            met.0 > written || met.1
        })
        .await;
        let instance = merchant.bed().instance(FUNCTION).await;
        let (count, closed) = met;
        if closed {
            return killed;
        }
        written = count;
        if let Some(instance) = instance {
            // It may have ended by itself since.
            let _ = kill(Pid::from_raw(instance.pid), Signal::SIGKILL);
        }
    }
    KILLS
}

/// How many items the settlement has, and whether it is closed.
async fn written_by(merchant: &Merchant) -> (u32, bool) {
    let row = sqlx::query_as(
        "SELECT item_count, status = 'CLOSED'
           FROM settlement_batch WHERE merchant_id = ?",
    );
    let row = row.bind(&merchant.id);
    row.fetch_optional(merchant.bed().database())
        .await
        .unwrap()
        .unwrap_or_default()
}
