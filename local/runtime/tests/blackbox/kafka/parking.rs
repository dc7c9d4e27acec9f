//! Keys that are parked.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::process::Command;

use super::topic::{Letter, Topic};
use super::{counted, failed, records, start};
use crate::harness::{Puppeteer, Runtime, eventually, program, soon};

const MEMBERS: &str = "partial_failures = true\nmax_retries = 0\npark_key = true\nwindow_ms = 50\n";

/// Key and value of the records of an event.
fn texts(event: &Value) -> Vec<(String, String)> {
    let partition = event["records"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap();
    let text = |value: &Value| {
        let bytes = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let record = |record: &Value| (text(&record["key"]), text(&record["value"]));
    partition.as_array().unwrap().iter().map(record).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    expected.iter().map(owned).collect()
}

async fn send(topic: &Topic, records: &[(&str, &str)]) {
    for (key, value) in records {
        topic.send(0, Some(key.as_bytes()), value.as_bytes()).await;
    }
}

async fn unpark(runtime: &Runtime, topic: &Topic, key: &str) {
    let admin = runtime.admin.to_string();
    let arguments = [
        "sources",
        "unpark",
        "puppet",
        &topic.name,
        key,
        "--admin",
        &admin,
    ];
    let output = soon(Command::new(program()).args(arguments).output())
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Sends records of the keys a and b until those of a come, too; how often they did not.
async fn await_unparked(puppeteer: &Puppeteer, topic: &Topic) -> u32 {
    let mut parked = 0;
    // The reader of the dead letters is told in its own time.
    eventually(async || {
        send(topic, &[("a", "4"), ("b", "4")]).await;
        let invocation = puppeteer.next().await;
        let got = texts(&invocation.event);
        invocation.answer("null").await;
        let is_back = got.iter().any(|(key, _)| key == "a");
        parked += u32::from(!is_back);
        is_back.then_some(())
    })
    .await;
    parked
}

#[tokio::test]
async fn later_records_of_a_dead_letters_key_follow_it_until_it_is_taken_back() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    send(&topic, &[("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")]).await;
    let members = format!("{MEMBERS}{}", Topic::on_failure());
    let mut runtime = start(&puppeteer, &topic, &members).await;
    let first = puppeteer.next().await;
    assert_eq!(records(&first).len(), 4);
    first.answer(&failed(&topic, &[0])).await;
    let rest = puppeteer.next().await;
    assert_eq!(texts(&rest.event), pairs(&[("b", "1"), ("b", "2")]));
    rest.answer("null").await;
    topic.await_committed(0, 4).await;
    assert_eq!(counted(&runtime, "parked").await, 1);

    // Another runtime knows, too.
    runtime.signal(Signal::SIGTERM);
    soon(runtime.process.wait()).await.unwrap();
    send(&topic, &[("a", "3"), ("b", "3")]).await;
    let runtime = start(&puppeteer, &topic, &members).await;
    let later = puppeteer.next().await;
    assert_eq!(texts(&later.event), pairs(&[("b", "3")]));
    later.answer("null").await;
    topic.await_committed(0, 6).await;

    let letters = topic.letters(3).await;
    let conditions: Vec<_> = letters.iter().map(|it| it.header("condition")).collect();
    assert_eq!(conditions, ["RetriesExhausted", "KeyParked", "KeyParked"]);
    let values: Vec<_> = letters.iter().map(Letter::value).collect();
    assert_eq!(values, [b"1", b"2", b"3"]);

    unpark(&runtime, &topic, "a").await;
    assert!(await_unparked(&puppeteer, &topic).await < 10);
}

#[tokio::test]
async fn key_parked_by_a_killed_runtime_stays_parked() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    send(&topic, &[("a", "1")]).await;
    let members = format!("{MEMBERS}{}", Topic::on_failure());
    let mut runtime = start(&puppeteer, &topic, &members).await;
    puppeteer.next().await.answer("fail").await;
    topic.letters(1).await;
    runtime.signal(Signal::SIGKILL);
    soon(runtime.process.wait()).await.unwrap();
    send(&topic, &[("a", "2"), ("b", "2")]).await;
    let _runtime = start(&puppeteer, &topic, &members).await;
    let next = puppeteer.next().await;
    assert_eq!(texts(&next.event), pairs(&[("b", "2")]));
    next.answer("null").await;
    topic.await_committed(0, 3).await;
}

#[tokio::test]
async fn partitions_that_a_dead_letter_topic_gets_later_are_read() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    send(&topic, &[("a", "1")]).await;
    let members = format!("{MEMBERS}{}", Topic::on_failure());
    let _runtime = start(&puppeteer, &topic, &members).await;
    puppeteer.next().await.answer("fail").await;
    topic.letters(1).await;
    send(&topic, &[("a", "2"), ("b", "2")]).await;
    let next = puppeteer.next().await;
    assert_eq!(texts(&next.event), pairs(&[("b", "2")]), "a is parked");
    next.answer("null").await;
    topic.unpark_in_new_partition(2, "a").await;
    await_unparked(&puppeteer, &topic).await;
}
