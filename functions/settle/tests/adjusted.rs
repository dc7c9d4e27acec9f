//! A contract for days that are settled already adjusts what was settled.

mod merchant;

use merchant::{Merchant, figures};

#[tokio::test]
async fn rate_granted_afterwards_is_paid_with_the_next_settlement() {
    let merchant = Merchant::new(231, "DAILY", 2).await;
    let payment = merchant.captured("2026-03-02", 64_601).await;
    merchant.captured("2026-03-01", 10_000).await;
    let before = merchant.settle("2026-03-01", "2026-03-02").await;
    assert_eq!(
        figures(&before[1]),
        [64_601, 0, 1_356, 136, 0, 0, 63_109, 0]
    );

    merchant.contract(2, "2026-03-02", 100, "DAILY", 2).await;
    let adjusted = merchant.settle("2026-03-03", "2026-03-03").await;
    assert_eq!(adjusted.len(), 1, "without a sale of the day, too");
    // 646 instead of 1,492; the capture of the day before keeps its rate.
    assert_eq!(
        figures(&adjusted[0]),
        [0, 0, 587, 59, 1_356, 136, 1_492 - 646, 0]
    );
    assert_eq!(adjusted[0]["itemCount"], 2);
    let again = merchant.settle("2026-03-01", "2026-03-03").await;
    assert_eq!(again, [before, adjusted].concat(), "nothing changes");
    let nothing = merchant.settle("2026-03-04", "2026-03-04").await;
    assert!(nothing.is_empty(), "{nothing:?}");

    let refund = (64_601, 64_601);
    merchant
        .source(payment, 3, "REFUND", "2026-03-05", 64_601, refund)
        .await;
    let refunded = merchant.settle("2026-03-05", "2026-03-05").await;
    assert_eq!(
        figures(&refunded[0]),
        [0, 64_601, 0, 0, 587, 59, 0, 64_601 - 646]
    );
}

#[tokio::test]
async fn refunds_that_were_settled_are_adjusted_with_their_captures() {
    let merchant = Merchant::new(100, "DAILY", 2).await;
    let payment = merchant.captured("2026-03-02", 10_000).await;
    merchant
        .source(payment, 3, "REFUND", "2026-03-03", 4_000, (10_000, 4_000))
        .await;
    merchant.settle("2026-03-02", "2026-03-03").await;
    merchant.contract(2, "2026-01-01", 300, "DAILY", 2).await;
    merchant.contract(3, "2026-12-01", 900, "DAILY", 2).await;
    merchant.captured("2026-03-04", 100_000).await;
    let adjusted = merchant.settle("2026-03-04", "2026-03-04").await;
    assert_eq!(adjusted[0]["itemCount"], 5);
    // Kept of the three: 3,000, and 300 instead of 100; given back: 120 instead of 40.
    let fee = 3_000 + (300 - 100) - (120 - 40);
    let carried = 4_000 - 40;
    assert_eq!(adjusted[0]["payOutAmount"], 100_000 - fee - carried);
}

#[tokio::test]
async fn contract_for_days_to_come_adjusts_nothing() {
    let merchant = Merchant::new(231, "DAILY", 2).await;
    merchant.captured("2026-03-02", 64_601).await;
    merchant.settle("2026-03-02", "2026-03-02").await;
    merchant.contract(2, "2026-03-03", 100, "DAILY", 2).await;
    let nothing = merchant.settle("2026-03-03", "2026-03-03").await;
    assert!(nothing.is_empty(), "{nothing:?}");
}
