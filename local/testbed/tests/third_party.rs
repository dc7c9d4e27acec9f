//! A request signed by libraries this project did not write.

use std::{env, path::Path};

use serde_json::Value;
use testbed::fresh;
use tokio::process::Command;

#[tokio::test]
async fn the_python_library_http_message_signatures_can_pay() {
    let python = env::var("PAYFN_PYTHON").expect("PAYFN_PYTHON is not set: run by local/test");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/third_party.py");
    let output = Command::new(python)
        .arg(script)
        .arg(fresh("order"))
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let statuses: Vec<_> = answers
        .iter()
        .map(|answer| answer["status"].as_str())
        .collect();
    assert_eq!(
        statuses,
        [
            Some("REQUESTED"),
            Some("COMPLETED"),
            Some("PARTIALLY_REFUNDED"),
            None,
            None
        ]
    );
    assert_eq!(answers[3]["data"][0]["paymentId"], answers[0]["paymentId"]);
    assert_eq!(answers[4]["data"].as_array().unwrap().len(), 3);
}
