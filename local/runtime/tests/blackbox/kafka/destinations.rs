//! Topics that get the records of events.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::topic::{Letter, Topic, stack};
use crate::asynchronous::{kept, send};
use crate::harness::{Puppeteer, Runtime, eventually};

/// A runtime whose puppet's records all go to `topic`; `rest` ends the manifest.
async fn start(puppeteer: &Puppeteer, topic: &str, rest: &str) -> Runtime {
    let policy = format!(
        "[kafka]\nbootstrap_servers = '${{KAFKA_BROKERS}}'\n\
         [functions.puppet.async]\nmax_retries = 0\n\
         on_success = 'kafka://{topic}'\non_failure = 'kafka://{topic}'\n{rest}"
    );
    puppeteer.start("", &policy).await
}

/// Waits until `count` records wait for a topic.
async fn queued(runtime: &Runtime, topic: &str, count: usize) {
    let metric = format!("lambda_destination_records_queued{{destination=\"kafka://{topic}\"}}");
    let count = count.to_string();
    eventually(async || (runtime.metric(&metric).await? == count).then_some(())).await;
}

async fn failed_deliveries(runtime: &Runtime) -> u64 {
    let metric = "lambda_destination_delivery_failures_total{function=\"puppet\"}";
    runtime.metric(metric).await.unwrap().parse().unwrap()
}

/// The key of a message, and the record in it.
fn read(message: &Letter) -> (&str, Value) {
    let key = rdkafka::Message::key(&message.message).unwrap();
    let record = serde_json::from_slice(message.value()).unwrap();
    (std::str::from_utf8(key).unwrap(), record)
}

#[tokio::test]
async fn record_goes_to_the_topic_with_the_request_id_as_key() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    let runtime = start(&puppeteer, &topic.name, "").await;
    let (_, succeeded) = send(&runtime, "{\"n\":1.10}").await;
    puppeteer.next().await.answer("{\"m\":2}").await;
    topic.messages(1).await;
    let (_, failed) = send(&runtime, "[]").await;
    puppeteer.next().await.answer("fail").await;
    let messages = topic.messages(2).await;
    assert!(messages.iter().all(|it| it.headers.is_empty()));
    let text = String::from_utf8_lossy(messages[0].value());
    assert!(text.contains("\"requestPayload\":{\"n\":1.10}"), "{text}");

    let arn = "arn:aws:lambda:ap-northeast-2:000000000000:function:puppet:$LATEST";
    let (key, mut record) = read(&messages[0]);
    assert_eq!(key, succeeded);
    let time = record["timestamp"].take();
    chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap();
    let expected = json!({
        "version": "1.0",
        "timestamp": null,
        "requestContext": {
            "requestId": succeeded, "functionArn": arn,
            "condition": "Success", "approximateInvokeCount": 1,
        },
        "requestPayload": {"n": 1.1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"m": 2},
    });
    assert_eq!(record, expected);

    let (key, mut record) = read(&messages[1]);
    assert_eq!(key, failed);
    record["timestamp"].take();
    let error = record["responsePayload"].take();
    assert_eq!(error["errorMessage"], "told to fail");
    let expected = json!({
        "version": "1.0",
        "timestamp": null,
        "requestContext": {
            "requestId": failed, "functionArn": arn,
            "condition": "RetriesExhausted", "approximateInvokeCount": 1,
        },
        "requestPayload": [],
        "responseContext": {
            "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled",
        },
        "responsePayload": null,
    });
    assert_eq!(record, expected);
    queued(&runtime, &topic.name, 0).await;
    assert_eq!(failed_deliveries(&runtime).await, 0);
}

#[tokio::test]
async fn record_that_its_topic_refuses_holds_up_no_other() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    let name = topic.letters_name();
    let runtime = start(&puppeteer, &name, "").await;
    let (_, large) = send(&runtime, format!("\"{}\"", "x".repeat(5000))).await;
    puppeteer.next().await.answer("{}").await;
    eventually(async || (failed_deliveries(&runtime).await > 0).then_some(())).await;
    queued(&runtime, &name, 1).await;
    topic.make_letters("4000").await;
    let (_, small) = send(&runtime, "{}").await;
    puppeteer.next().await.answer("{}").await;
    let messages = topic.letters(1).await;
    assert_eq!(read(&messages[0]).0, small);
    queued(&runtime, &name, 1).await;
    topic.set_letter_bytes("1000000").await;
    let messages = topic.letters(2).await;
    assert_eq!(read(&messages[1]).0, large);
    queued(&runtime, &name, 0).await;
}

#[tokio::test]
async fn while_kafka_is_away_records_wait_and_events_go_on() {
    // More than are on their way at once.
    const EVENTS: usize = 100;
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::alone(1).await);
    let other = "[functions.other]\ncommand = [PUPPET]\nasync.on_success = 'function://sink'\n\
                 [functions.sink]\ncommand = [PUPPET]\n";
    let runtime = start(&puppeteer, &topic.name, other).await;
    stack("stop").await;
    let mut sent = BTreeSet::new();
    for _ in 0..EVENTS {
        sent.insert(send(&runtime, "{}").await.1);
        puppeteer.next().await.answer("{}").await;
    }
    kept(&runtime, "puppet", 0).await;
    queued(&runtime, &topic.name, EVENTS).await;
    eventually(async || (failed_deliveries(&runtime).await > 0).then_some(())).await;
    let request = runtime.invocation("other").body("7");
    let request = request.header("x-amz-invocation-type", "Event");
    assert_eq!(request.send().await.unwrap().status(), 202);
    let invocation = puppeteer.next().await;
    assert_eq!(invocation.event, 7);
    invocation.answer("{}").await;
    assert_eq!(puppeteer.next().await.event["requestPayload"], 7);

    stack("start").await;
    queued(&runtime, &topic.name, 0).await;
    let messages = topic.messages(EVENTS).await;
    let written: BTreeSet<_> = messages.iter().map(|it| read(it).0.to_owned()).collect();
    assert_eq!(written, sent);
}

#[tokio::test]
async fn record_outlives_the_runtime_that_could_not_write_it() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::alone(1).await);
    let mut runtime = start(&puppeteer, &topic.name, "").await;
    stack("stop").await;
    let (_, id) = send(&runtime, "[1]").await;
    puppeteer.next().await.answer("[2]").await;
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        kept(&runtime, "puppet", 0).await;
        queued(&runtime, &topic.name, 1).await;
        runtime = runtime.start_again_after(signal).await;
    }
    queued(&runtime, &topic.name, 1).await;
    stack("start").await;
    let messages = topic.messages(1).await;
    let (key, record) = read(&messages[0]);
    assert_eq!(key, id);
    assert_eq!(
        (&record["requestPayload"], &record["responsePayload"]),
        (&json!([1]), &json!([2]))
    );
    queued(&runtime, &topic.name, 0).await;
    let invocations = "lambda_invocations_total{function=\"puppet\"}";
    assert_eq!(
        runtime.metric(invocations).await.unwrap(),
        "0",
        "it ran before"
    );
}
