//! What the function gets, and what an operator sees.

use nix::sys::signal::Signal;
use rdkafka::message::{Header, OwnedHeaders};
use serde_json::{Value, json};
use tokio::process::Command;

use super::topic::Topic;
use super::{await_counted, offsets, records, source, start};
use crate::harness::{Puppeteer, Runtime, eventually, program, soon};

#[tokio::test]
async fn event_is_that_of_a_self_managed_kafka() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    let headers = OwnedHeaders::new().insert(Header {
        key: "trace",
        value: Some(&[104_u8, 195, 40][..]),
    });
    topic
        .send_with(0, Some(b"order-1"), Some(b"hello"), headers)
        .await;
    topic.send_with(0, None, None, OwnedHeaders::new()).await;
    let _runtime = start(&puppeteer, &topic, "").await;
    let mut invocation = puppeteer.next().await;
    for record in invocation.event["records"][format!("{}-0", topic.name)]
        .as_array_mut()
        .unwrap()
    {
        let timestamp = record["timestamp"].take();
        assert!(timestamp.as_i64().unwrap() > 1_700_000_000_000);
    }
    let name = &topic.name;
    let record = |offset: i64, key: Value, value: Value, headers: Value| {
        json!({"topic": name, "partition": 0, "offset": offset, "timestamp": null,
               "timestampType": "LOG_APPEND_TIME", "key": key, "value": value, "headers": headers})
    };
    let expected = json!({
        "eventSource": "aws:SelfManagedKafka",
        "bootstrapServers": std::env::var("KAFKA_BROKERS").unwrap(),
        "records": {format!("{name}-0"): [
            record(0, json!("b3JkZXItMQ=="), json!("aGVsbG8="), json!([{"trace": [104, -61, 40]}])),
            record(1, Value::Null, Value::Null, json!([])),
        ]},
    });
    assert_eq!(invocation.event, expected);
    invocation.answer("null").await;
    topic.await_committed(0, 2).await;
}

#[tokio::test]
async fn batch_ends_with_its_size_or_its_window() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.send_many(0, 7).await;
    // The third one waits for two more records until its window ends.
    let _runtime = start(&puppeteer, &topic, "batch_size = 3\nwindow_ms = 1000").await;
    for expected in [vec![0, 1, 2], vec![3, 4, 5], vec![6]] {
        let invocation = puppeteer.next().await;
        assert_eq!(offsets(&invocation), expected);
        invocation.answer("null").await;
    }
    topic.await_committed(0, 7).await;
}

#[tokio::test]
async fn batch_never_makes_an_event_above_six_mib() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    let value = vec![b'x'; 900_000];
    for _ in 0..7 {
        topic.send(0, None, &value).await;
    }
    let _runtime = start(&puppeteer, &topic, "").await;
    let first = puppeteer.next().await;
    assert_eq!(offsets(&first), [0, 1, 2, 3, 4], "1.2 MB each in base64");
    first.answer("null").await;
    let second = puppeteer.next().await;
    assert_eq!(offsets(&second), [5, 6]);
    second.answer("null").await;
    topic.await_committed(0, 7).await;
}

#[tokio::test]
async fn source_that_starts_with_the_latest_record_leaves_out_only_earlier_ones() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(2).await);
    topic.send(0, None, b"early").await;
    let members = "start = 'latest'\nwindow_ms = 0";
    let runtime = start(&puppeteer, &topic, members).await;
    // It knows its place before any record comes, and after a restart, too.
    topic.await_committed(0, 1).await;
    topic.await_committed(1, 0).await;
    stop(runtime).await;
    topic.send(0, None, b"late").await;
    topic.send(1, None, b"late").await;
    let _runtime = start(&puppeteer, &topic, members).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let invocation = puppeteer.next().await;
        let partition = records(&invocation)[0]["partition"].as_i64().unwrap();
        seen.push((partition, offsets(&invocation)));
        invocation.answer("null").await;
    }
    seen.sort();
    assert_eq!(seen, [(0, vec![1]), (1, vec![0])]);
    topic.await_committed(0, 2).await;
}

#[tokio::test]
async fn source_whose_next_record_is_gone_goes_on_with_the_first_there_is() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    let members = "start = 'latest'\nwindow_ms = 0";
    let runtime = start(&puppeteer, &topic, members).await;
    topic.await_committed(0, 0).await;
    stop(runtime).await;
    topic.send_many(0, 3).await;
    topic.delete_before(0, 2).await;
    let _runtime = start(&puppeteer, &topic, members).await;
    let invocation = puppeteer.next().await;
    assert_eq!(offsets(&invocation), [2]);
    invocation.answer("null").await;
    topic.await_committed(0, 3).await;
}

async fn stop(mut runtime: Runtime) {
    runtime.signal(Signal::SIGTERM);
    soon(runtime.process.wait()).await.unwrap();
}

#[tokio::test]
async fn filter_keeps_records_from_the_function_and_passes_them_by() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    for value in [
        "{\"n\":1}",
        "{\"n\":5}",
        "no JSON",
        "{\"n\":9}",
        "{\"n\":2}",
    ] {
        topic.send(0, Some(b"k"), value.as_bytes()).await;
    }
    let filter = "filter = [{ value = { n = [{ numeric = ['>', 4] }] } }, \
                  '{\"value\":[{\"prefix\":\"no\"}]}']";
    let runtime = start(&puppeteer, &topic, filter).await;
    let invocation = puppeteer.next().await;
    assert_eq!(offsets(&invocation), [1, 2, 3]);
    invocation.answer("null").await;
    topic.await_committed(0, 5).await;
    await_counted(&runtime, "filtered", 2).await;
    await_counted(&runtime, "ok", 3).await;
}

#[tokio::test]
async fn operator_sees_lag_positions_and_every_kind_of_source() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(2).await);
    topic.send_many(1, 5).await;
    let manifest = super::manifest(&puppeteer, &topic, "batch_size = 2");
    let others = "[functions.other]\ncommand = [PUPPET]\n\
                  [[functions.other.schedule]]\nevery = '1h'\n\
                  [functions.other.continuous]\nidle_ms = 3600000\n";
    let runtime = Runtime::start(&format!("{manifest}{others}")).await;
    let continuous = puppeteer.next().await;
    let (continuous, invocation) = match continuous.event.get("records") {
        None => (continuous, puppeteer.next().await),
        Some(_) => (puppeteer.next().await, continuous),
    };
    assert_eq!(records(&invocation).len(), 2);
    let lag = format!(
        "lambda_source_lag{{function=\"puppet\",topic=\"{}\",partition=\"1\"}}",
        topic.name
    );
    eventually(async || (runtime.metric(&lag).await.as_deref() == Some("5")).then_some(())).await;
    invocation.answer("null").await;
    let second = puppeteer.next().await;
    eventually(async || (runtime.metric(&lag).await.as_deref() == Some("3")).then_some(())).await;
    let seen = source(&runtime).await;
    assert_eq!(
        (&seen["function"], &seen["state"]),
        (&json!("puppet"), &json!("running"))
    );
    let partition = &seen["partitions"][1];
    assert_eq!(
        (&partition["position"], &partition["lag"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(partition["end"], 5);

    let admin = runtime.admin.to_string();
    let table = Command::new(program())
        .args(["sources", "--admin", &admin])
        .output();
    let table = String::from_utf8(soon(table).await.unwrap().stdout).unwrap();
    let kinds: Vec<_> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    for kind in ["kafka", "schedule", "continuous"] {
        assert!(kinds.contains(&kind), "{table}");
    }
    second.answer("null").await;
    puppeteer.next().await.answer("null").await;
    continuous.answer("null").await;
}

#[tokio::test]
async fn calls_from_outside_are_served_beside_a_backlog() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(8).await);
    for partition in 0..8 {
        topic.send_many(partition, 3).await;
    }
    let runtime = start(&puppeteer, &topic, "batch_size = 1\nconcurrency = 2").await;
    let held = [puppeteer.next().await, puppeteer.next().await];
    let response = runtime.post("/puppet");
    let call = puppeteer.next().await;
    assert!(
        call.event.get("records").is_none(),
        "no third batch at once"
    );
    call.answer(r#"{"statusCode":200}"#).await;
    assert_eq!(response.await.unwrap().status(), 200);
    for invocation in held {
        invocation.answer("null").await;
    }
    for _ in 0..22 {
        puppeteer.next().await.answer("null").await;
    }
    await_counted(&runtime, "ok", 24).await;
}
