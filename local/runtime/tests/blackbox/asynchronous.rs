use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Puppeteer, Runtime, eventually, program, soon};

/// Sends an event for the puppet; status and request id.
pub(crate) async fn send(runtime: &Runtime, payload: impl Into<reqwest::Body>) -> (u16, String) {
    let request = runtime.invocation("puppet").body(payload);
    let request = request.header("x-amz-invocation-type", "Event");
    let response = soon(request.send()).await.unwrap();
    let id = response.headers()["x-amzn-requestid"].to_str().unwrap();
    let found = (response.status().as_u16(), id.to_owned());
    if found.0 == 202 {
        assert_eq!(response.text().await.unwrap(), "");
    }
    found
}

/// Waits until a function has `count` events that are not over.
pub(crate) async fn kept(runtime: &Runtime, function: &str, count: usize) {
    let metric = format!("lambda_async_events_queued{{function=\"{function}\"}}");
    let count = count.to_string();
    eventually(async || (runtime.metric(&metric).await? == count).then_some(())).await;
}

#[tokio::test]
async fn event_is_acknowledged_and_run_with_its_id_and_tenant() {
    let puppeteer = Puppeteer::new().await;
    let relay = "[functions.relay]\ncommand = [PUPPET]\n\
                 [functions.relay.continuous]\nwake_on = ['puppet']\nidle_ms = 3600000\n";
    let runtime = puppeteer.start("", relay).await;
    let idle = puppeteer.next().await;
    assert!(!runtime.state().exists(), "made when the first event comes");
    let request = runtime.invocation("puppet").body("{\"n\":1}");
    let request = request.header("x-amz-invocation-type", "Event");
    let request = request.header("x-amz-tenant-id", "blue");
    let response = soon(request.send()).await.unwrap();
    assert_eq!(response.status(), 202);
    let invocation = puppeteer.next().await;
    assert_eq!(invocation.event, json!({"n": 1}));
    assert_eq!(invocation.context["tenantId"], "blue");
    let id = response.headers()["x-amzn-requestid"].to_str().unwrap();
    assert_eq!(invocation.context["requestId"], id);
    kept(&runtime, "puppet", 1).await;
    invocation.answer("{}").await;
    kept(&runtime, "puppet", 0).await;
    // Its answer wakes who listens to the function.
    idle.answer("{\"idle\":true}").await;
    let woken = puppeteer.next().await;
    assert_eq!(woken.event["source"], "local-lambda.continuous");
}

#[tokio::test]
async fn event_that_fails_runs_again_and_its_record_goes_to_the_destination() {
    let puppeteer = Puppeteer::new().await;
    let rest = "[functions.puppet.async]\nmax_retries = 1\nretry_s = 1\n\
                on_success = 'function://other'\non_failure = 'function://sink'\n\
                [functions.sink]\ncommand = [PUPPET]\n[functions.other]\ncommand = [PUPPET]\n";
    let runtime = puppeteer.start("", rest).await;
    let (status, id) = send(&runtime, "{\"n\":1.10}").await;
    assert_eq!(status, 202);
    for _ in 0..2 {
        let invocation = puppeteer.next().await;
        assert_eq!(invocation.context["requestId"], id);
        invocation.answer("fail").await;
    }
    let delivery = puppeteer.next().await;
    let record = &delivery.event;
    let context = json!({
        "requestId": id,
        "functionArn": "arn:aws:lambda:ap-northeast-2:000000000000:function:puppet:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 2,
    });
    assert_eq!(record["requestContext"], context);
    assert_eq!(record["requestPayload"], json!({"n": 1.1}));
    assert_eq!(record["responseContext"]["functionError"], "Unhandled");
    assert_eq!(record["responsePayload"]["errorMessage"], "told to fail");
    kept(&runtime, "sink", 1).await;
    delivery.answer("{}").await;
    for function in ["puppet", "sink", "other"] {
        kept(&runtime, function, 0).await;
    }
    let dropped = "lambda_async_events_dropped_total{function=\"puppet\"}";
    assert_eq!(runtime.metric(dropped).await.unwrap(), "1");
}

#[tokio::test]
async fn answer_goes_to_the_destination_of_successes() {
    let puppeteer = Puppeteer::new().await;
    let rest = "[functions.puppet.async]\non_success = 'function://sink'\n\
                [functions.sink]\ncommand = [PUPPET]\n";
    let runtime = puppeteer.start("", rest).await;
    send(&runtime, "[]").await;
    puppeteer.next().await.answer("{\"m\":2}").await;
    let record = puppeteer.next().await.event;
    assert_eq!(record["requestContext"]["condition"], "Success");
    assert_eq!(record["requestPayload"], json!([]));
    assert_eq!(record["responsePayload"], json!({"m": 2}));
}

#[tokio::test]
async fn killed_runtime_has_lost_no_event() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let mut sent = BTreeSet::new();
    for _ in 0..3 {
        let (status, id) = send(&runtime, "{}").await;
        assert_eq!(status, 202);
        sent.insert(id);
    }
    let running = puppeteer.next().await;
    let runtime = runtime.start_again_after(Signal::SIGKILL).await;
    drop(running);
    let mut run = BTreeSet::new();
    for _ in 0..3 {
        let invocation = puppeteer.next().await;
        run.insert(invocation.context["requestId"].as_str().unwrap().to_owned());
        invocation.answer("{}").await;
    }
    assert_eq!(run, sent);
    kept(&runtime, "puppet", 0).await;
}

#[tokio::test]
async fn stopped_runtime_ends_what_runs_and_keeps_what_waits() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let (_, first) = send(&runtime, "1").await;
    let running = puppeteer.next().await;
    assert_eq!(running.context["requestId"], first);
    send(&runtime, "2").await;
    kept(&runtime, "puppet", 2).await;
    let (again, ()) = tokio::join!(
        runtime.start_again_after(Signal::SIGTERM),
        running.answer("{}")
    );
    let invocation = puppeteer.next().await;
    assert_eq!(invocation.event, 2);
    kept(&again, "puppet", 1).await;
}

#[tokio::test]
async fn event_waits_while_its_function_has_no_room_without_losing_a_retry() {
    let puppeteer = Puppeteer::new().await;
    let rest = "[functions.puppet.async]\nmax_retries = 0\non_success = 'function://sink'\n\
                [functions.sink]\ncommand = [PUPPET]\n";
    let runtime = puppeteer.start("queue_wait_ms = 10", rest).await;
    let call = runtime.post("/puppet");
    let busy = puppeteer.next().await;
    send(&runtime, "{}").await;
    let throttles = "lambda_throttles_total{function=\"puppet\",reason=\"queue-wait\"}";
    eventually(async || (runtime.metric(throttles).await? != "0").then_some(())).await;
    busy.answer("{}").await;
    assert_eq!(call.await.unwrap().status(), 200);
    puppeteer.next().await.answer("{}").await;
    let record = puppeteer.next().await.event;
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 1);
}

#[tokio::test]
async fn events_of_a_burst_run_once_each_and_leave_the_queue_of_calls_free() {
    const EVENTS: usize = 200;
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("concurrency = 4\nqueue_max = 4", "").await;
    let sent: Vec<_> = (0..EVENTS)
        .map(|number| {
            let request = runtime.invocation("puppet").body(number.to_string());
            tokio::spawn(request.header("x-amz-invocation-type", "Event").send())
        })
        .collect();
    let mut run = BTreeSet::new();
    while run.len() < EVENTS {
        let invocation = puppeteer.next().await;
        let number = invocation.event.as_u64().unwrap();
        assert!(run.insert(number), "{number} ran twice");
        invocation.answer("{}").await;
    }
    for sent in sent {
        assert_eq!(sent.await.unwrap().unwrap().status(), 202);
    }
    kept(&runtime, "puppet", 0).await;
    let throttles = "lambda_throttles_total{function=\"puppet\",reason=\"queue-full\"}";
    assert_eq!(runtime.metric(throttles).await.unwrap(), "0");
}

#[tokio::test]
async fn event_beyond_the_bounds_is_refused() {
    let puppeteer = Puppeteer::new().await;
    let rest = "[functions.puppet.async]\nqueue_max = 1\n";
    let runtime = puppeteer.start("", rest).await;
    let limit = 1_048_576;
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let request = runtime.invocation("puppet").body(text(limit + 1));
    let request = request.header("x-amz-invocation-type", "Event");
    let response = soon(request.send()).await.unwrap();
    assert_eq!(response.status(), 413);
    let body: Value = response.json().await.unwrap();
    let message = "Request must be smaller than 1048576 bytes for the InvokeFunction operation";
    assert_eq!(body["message"], message);

    assert_eq!(send(&runtime, text(limit)).await.0, 202);
    assert_eq!(send(&runtime, "{}").await.0, 429);
    let invocation = puppeteer.next().await;
    assert_eq!(invocation.event.as_str().unwrap().len(), limit - 2);
    invocation.answer("{}").await;
    kept(&runtime, "puppet", 0).await;
    assert_eq!(send(&runtime, "{}").await.0, 202);
}

#[tokio::test]
async fn state_belongs_to_one_runtime() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    send(&runtime, "{}").await;
    let anywhere = ["--http", "--invoke", "--admin"].map(|option| [option, "127.0.0.1:0"]);
    let manifest = runtime.state().with_file_name("functions.toml");
    let output = Command::new(program())
        .args(["serve", "--manifest"])
        .arg(manifest)
        .arg("--state")
        .arg(runtime.state())
        .args(anywhere.as_flattened())
        .output();
    let output = soon(output).await.unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("belongs to another runtime; --state"),
        "{text}"
    );
}

#[tokio::test]
async fn command_sends_an_event_and_waits_for_no_answer() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let address = runtime.invoke.to_string();
    let mut command = Command::new(program());
    let arguments = ["invoke", "puppet", "[1]", "--type", "event", "--invoke"];
    let output = soon(command.args(arguments).arg(address).output()).await;
    let output = output.unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"");
    assert_eq!(puppeteer.next().await.event, json!([1]));
}
