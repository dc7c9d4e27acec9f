//! Two relays at once, of which one hangs and wakes up after the other has taken its shards over.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use testbed::{Testbed, until};

/// Payments made in each state of the relays.
const PAYMENTS: usize = 5;

#[tokio::test]
async fn a_relay_that_wakes_up_after_a_takeover_loses_and_inverts_nothing() {
    let bed = Testbed::new().await;
    until("the first relay to own the shards", async || {
        owners(&bed).await.len() == 1
    })
    .await;
    let first = owners(&bed).await;
    let pid = Pid::from_raw(bed.instance_pid("outbox-relay").await);
    let second = SecondRelay::start();

    kill(pid, Signal::SIGSTOP).expect("the relay can be stopped");
    let mut payments = lives(&bed).await;
    until("the second relay to own every shard", async || {
        let owners = owners(&bed).await;
        owners.iter().all(|owner| !first.contains(owner))
    })
    .await;
    until("the second relay to send what waited", async || {
        bed.count("outbox_pending").await == 0
    })
    .await;
    kill(pid, Signal::SIGCONT).expect("the relay can be woken");
    payments.extend(lives(&bed).await);
    drop(second);
    payments.extend(lives(&bed).await);

    for payment_id in &payments {
        let events = bed.events(payment_id, 3).await;
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

/// A runtime of its own with nothing but the relay; killed when it is dropped.
struct SecondRelay {
    runtime: Child,
    _manifest: tempfile::NamedTempFile,
}

impl SecondRelay {
    fn start() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = std::fs::read_to_string(workspace.join("functions/functions.toml"));
        let mut manifest: toml::Table = text.expect("the manifest").parse().expect("TOML");
        let functions = manifest["functions"].as_table_mut().expect("[functions]");
        functions.retain(|name, _| name == "outbox-relay");
        let relay = functions["outbox-relay"].as_table_mut().expect("the relay");
        relay["continuous"]
            .as_table_mut()
            .expect("[continuous]")
            .remove("wake_on");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), manifest.to_string()).expect("the manifest is written");
        let runtime = Command::new(workspace.join("target/release/local-lambda"))
            .current_dir(&workspace)
            .args(["serve", "--manifest"])
            .arg(file.path())
            .args([
                "--http",
                "127.0.0.1:0",
                "--invoke",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("the runtime starts");
        Self {
            runtime,
            _manifest: file,
        }
    }
}

impl Drop for SecondRelay {
    fn drop(&mut self) {
        let _ended = self.runtime.kill().and_then(|()| self.runtime.wait());
    }
}
