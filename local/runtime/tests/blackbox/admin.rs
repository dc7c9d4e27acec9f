use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::harness::{Puppeteer, eventually, program, soon};

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

#[tokio::test]
async fn log_of_a_function_is_printed_and_followed() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer
        .start(
            "",
            "[functions.echo]\ncommand = [ECHO]\nroutes = ['POST /echo']\n",
        )
        .await;
    let started = eventually(async || {
        let (done, printed) = runtime.order(&["logs", "echo"]).await;
        assert!(done, "{printed}");
        (!printed.is_empty()).then_some(printed)
    })
    .await;
    let line: Value = serde_json::from_str(&started).unwrap();
    assert_eq!(line["message"], "started");
    assert_eq!(line["instance"], "echo-1");
    let (_, none) = runtime.order(&["logs", "echo", "--lines", "0"]).await;
    assert_eq!(none, "");
    let (done, printed) = runtime.order(&["logs", "nobody"]).await;
    assert_eq!((done, &*printed), (false, "there is no function nobody\n"));

    let address = runtime.admin.to_string();
    let mut following = Command::new(program())
        .args(["logs", "-f", "echo", "--admin", &address])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = async || soon(lines.next_line()).await.unwrap().unwrap();
    assert_eq!(next().await, started.trim_end());
    runtime.order(&["rollout", "echo"]).await;
    let line: Value = serde_json::from_str(&next().await).unwrap();
    assert_eq!(line["instance"], "echo-2");
}

#[tokio::test]
async fn top_shows_how_busy_functions_are() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let waiting = [runtime.post("/puppet"), runtime.post("/puppet")];
    let first = puppeteer.next().await;
    runtime.queued("puppet", 1).await;
    let (done, table) = runtime.order(&["top", "--once"]).await;
    assert!(done, "{table}");
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["puppet", "1", "0", "1", "1", "0.0", "0.0"]);
    first.answer("{}").await;
    puppeteer.next().await.answer("fail").await;
    for response in waiting {
        response.await.unwrap();
    }
    let function = runtime.function("puppet").await;
    assert_eq!(
        (&function["calls"], &function["errors"]),
        (&2.into(), &1.into())
    );
}
