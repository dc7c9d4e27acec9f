//! The functions under `cargo lambda watch`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::json;
use testbed::{Testbed, fresh, until};

#[tokio::test]
async fn cargo_lambda_watch_serves_a_payment_at_the_routes_of_the_manifest() {
    let bed = Testbed::new().await;
    let port = free_port();
    build();
    let _watch = Watch::start(port);
    let demo = bed.caller("demo").at(&format!("http://127.0.0.1:{port}"));
    let asked = json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" });
    let key = fresh("key");
    let mut payment = None;
    until("an answer of cargo lambda watch", async || {
        let request = demo
            .request("POST", "/payments/authorize")
            .body(asked.to_string());
        payment = request
            .idempotency_key(&key)
            .try_send()
            .await
            .ok()
            .filter(|it| it.status == 200);
        payment.is_some()
    })
    .await;
    let payment_id = payment.unwrap().json()["paymentId"]
        .as_str()
        .unwrap()
        .to_owned();
    let captured = demo
        .post_empty(&format!("/payments/capture/{payment_id}"))
        .await;
    assert_eq!(
        captured.json()["status"],
        "COMPLETED",
        "{:?}",
        captured.body
    );
    let refund = demo
        .post(
            &format!("/payments/refund/{payment_id}"),
            &json!({ "amount": 1 }),
        )
        .await;
    assert_eq!(
        refund.json()["status"],
        "PARTIALLY_REFUNDED",
        "{:?}",
        refund.body
    );
    let list = demo.get("/payments?limit=1").await;
    assert_eq!(list.status, 200, "{:?}", list.body);
    let shown = demo.get(&format!("/payments/{payment_id}")).await;
    assert_eq!(shown.json(), refund.json());
}

/// Builds what `cargo lambda watch` would build first, so that no wait depends on a compiler.
fn build() {
    let functions = ["authorize", "capture", "refund", "payment-query"];
    let built = Command::new("cargo")
        .args(["build", "--release"])
        .args(functions.iter().flat_map(|function| ["--bin", function]))
        .current_dir(workspace())
        .status()
        .unwrap();
    assert!(built.success());
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `cargo lambda watch` with all that it starts: one process group, ended when the test ends.
struct Watch(Child);

impl Watch {
    fn start(port: u16) -> Self {
        let child = Command::new("cargo")
            .args(["lambda", "watch", "--release", "--ignore-changes"])
            .args([
                "--invoke-address",
                "127.0.0.1",
                "--invoke-port",
                &port.to_string(),
            ])
            .current_dir(workspace())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).map(Pid::from_raw).unwrap();
        killpg(group, Signal::SIGTERM).unwrap();
        self.0.wait().unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
