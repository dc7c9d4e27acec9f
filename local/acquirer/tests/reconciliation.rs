//! Reconciliation finds every fault of the mock acquirer, and nothing else.

use std::{env, path::Path};

use acquirer::{Layout, Statement, captured_on, score};
use client::{Client, key_from_file};
use testbed::{Testbed, seoul_day, until};

/// Files of one day, each of another seed.
const SEEDS: u64 = 20;
/// Payments, each with a partial refund.
const PAYMENTS: usize = 10;

#[tokio::test]
async fn every_fault_of_twenty_seeds_is_found_and_nothing_else() {
    let bed = Testbed::new().await;
    for _ in 0..PAYMENTS {
        bed.refunded(15_000, 4_000).await;
    }
    let day = seoul_day(0).parse().unwrap();
    let mut db = bed.database().acquire().await.unwrap();
    let captured = captured_on(&mut db, day).await.unwrap();
    let arrived = "SELECT COUNT(*) FROM recon.recon_transaction WHERE sold_on = ?";
    until("everything has arrived", async || {
        let arrived = sqlx::query_scalar::<_, i64>(arrived).bind(day);
        arrived.fetch_one(bed.database()).await.unwrap() >= captured.len().try_into().unwrap()
    })
    .await;
    let key = key_from_file(Path::new(&env::var("KEYS_FILE").unwrap()), "ops").unwrap();
    let client = Client::new(&env::var("PAYFN_URL").unwrap(), key).unwrap();
    for seed in 1..=SEEDS {
        let layout = [Layout::Generic, Layout::Toss][usize::from(seed % 2 == 0)];
        let faults = format!(
            "seed={seed},missing_external=3,missing_internal=2,amount=2,duplicate=1,status=1,date=1,invalid=1"
        );
        let statement = Statement::write(day, &captured, &faults.parse().unwrap(), layout).unwrap();
        let score = score(&client, statement.bytes, &statement.key)
            .await
            .unwrap();
        assert!(score.is_perfect(), "seed {seed}:\n{score}");
    }
}
