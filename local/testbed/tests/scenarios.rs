//! What `local/scenario` shows is proven each time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, process::Output};

use tokio::process::Command;

const SCENARIOS: [&str; 7] = [
    "payment",
    "retry",
    "reconciliation",
    "kafka-outage",
    "poison",
    "settlement-killed",
    "duplicate-webhook",
];

async fn play(name: &str) -> Output {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut scenario = Command::new(workspace.join("local/scenario"));
    scenario.arg(name).output().await.unwrap()
}

/// One after the other: one of them stops Kafka.
#[tokio::test]
async fn every_scenario_proves_what_it_promises() {
    for name in SCENARIOS {
        let output = play(name).await;
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}{wrong}");
        assert!(said.contains("everything is proven"), "{name}: {said}");
    }
    assert_eq!(play("none").await.status.code(), Some(2));
}
