use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Puppeteer, program, soon};

#[tokio::test]
async fn metrics_count_what_happened() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    for answer in ["{}", "fail", r#"{"statusCode":7}"#] {
        let response = runtime.post("/puppet");
        puppeteer.next().await.answer(answer).await;
        response.await.unwrap();
    }
    for (name, expected) in [
        ("lambda_invocations_total{function=\"puppet\"}", "3"),
        (
            "lambda_errors_total{function=\"puppet\",type=\"function\"}",
            "1",
        ),
        (
            "lambda_errors_total{function=\"puppet\",type=\"bad-response\"}",
            "1",
        ),
        (
            "lambda_errors_total{function=\"puppet\",type=\"timeout\"}",
            "0",
        ),
        (
            "lambda_throttles_total{function=\"puppet\",reason=\"queue-full\"}",
            "0",
        ),
        ("lambda_duration_seconds_count{function=\"puppet\"}", "3"),
        ("lambda_queue_wait_seconds_count{function=\"puppet\"}", "3"),
        ("lambda_start_seconds_count{function=\"puppet\"}", "1"),
        ("lambda_cold_starts_total{function=\"puppet\"}", "1"),
        ("lambda_restarts_total{function=\"puppet\"}", "0"),
        ("lambda_in_flight{function=\"puppet\"}", "0"),
        ("lambda_queued{function=\"puppet\"}", "0"),
        ("lambda_instances_ready{function=\"puppet\"}", "1"),
    ] {
        assert_eq!(
            runtime.metric(name).await.as_deref(),
            Some(expected),
            "{name}"
        );
    }
}

#[tokio::test]
async fn functions_and_scrape_targets_are_listed() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer
        .start("min_instances = 2\nmax_instances = 2", "")
        .await;
    let function = runtime.function("puppet").await;
    assert_eq!(function["routes"], serde_json::json!(["POST /puppet"]));
    assert_eq!(function["minInstances"], 2);
    let instances = function["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 2);
    assert_ne!(instances[0]["address"], instances[1]["address"]);

    let targets: Vec<Value> = serde_json::from_str(&runtime.admin("/targets").await).unwrap();
    assert_eq!(targets.len(), 2);
    assert_eq!(targets[0]["labels"]["function"], "puppet");
    assert_eq!(targets[0]["labels"]["instance"], "puppet-1");
    assert_eq!(targets[0]["targets"][0], instances[0]["metricsAddress"]);

    let address = runtime.admin.to_string();
    let ps = Command::new(program())
        .args(["ps", "--admin", &address])
        .output();
    let table = String::from_utf8(soon(ps).await.unwrap().stdout).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains("puppet-2"), "{table}");
}
