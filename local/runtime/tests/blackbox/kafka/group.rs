//! Several members, and members and brokers that go and come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::topic::{KAFKA, Topic, stack};
use super::{counted, offsets, records, source, start};
use crate::harness::{Invocation, Puppeteer, Runtime, eventually, soon};

/// Processes everything, and notes what it has seen: partition → offsets in their order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<i64, Vec<i64>>>>);

impl Seen {
    fn note(&self, invocation: &Invocation) {
        let partition = records(invocation)[0]["partition"].as_i64().unwrap();
        let mut seen = self.0.lock().unwrap();
        seen.entry(partition)
            .or_default()
            .extend(offsets(invocation));
    }

    /// Answers every invocation a moment later.
    async fn serve(self, puppeteer: Puppeteer) {
        loop {
            let invocation = puppeteer.next().await;
            self.note(&invocation);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                invocation.answer("null").await;
            });
        }
    }

    fn distinct(&self) -> usize {
        let seen = self.0.lock().unwrap();
        let distinct = |offsets: &Vec<i64>| offsets.iter().collect::<BTreeSet<_>>().len();
        seen.values().map(distinct).sum()
    }

    /// Every partition began at its start and left nothing out, though it may have gone back; how
    /// many records came again.
    fn assert_in_order(&self) -> usize {
        let mut again = 0;
        for (partition, offsets) in &*self.0.lock().unwrap() {
            let mut next = 0;
            for offset in offsets {
                assert!(*offset <= next, "partition {partition}: {next} is missing");
                again += usize::from(*offset < next);
                next = next.max(offset + 1);
            }
        }
        again
    }
}

/// The partitions that a runtime reads.
async fn partitions(runtime: &Runtime) -> usize {
    source(runtime).await["partitions"]
        .as_array()
        .unwrap()
        .len()
}

#[tokio::test]
async fn rebalance_under_load_loses_nothing_and_keeps_the_order() {
    const PARTITIONS: i32 = 6;
    const BATCH: usize = 10;
    let (puppeteer, topic) = (
        Puppeteer::new().await,
        Arc::new(Topic::new(PARTITIONS).await),
    );
    let members = format!("batch_size = {BATCH}\nwindow_ms = 10");
    let manifest = super::manifest(&puppeteer, &topic, &members);
    let seen = Seen::default();
    tokio::spawn(seen.clone().serve(puppeteer));
    let sent = Arc::new(Mutex::new(0));
    let sender = tokio::spawn({
        let (topic, sent) = (Arc::clone(&topic), Arc::clone(&sent));
        async move {
            loop {
                let sends = (0..PARTITIONS).map(|partition| topic.send_many(partition, 5));
                futures_util::future::join_all(sends).await;
                *sent.lock().unwrap() += 5 * usize::try_from(PARTITIONS).unwrap();
            }
        }
    });
    let first = Runtime::start(&manifest).await;
    eventually(async || (partitions(&first).await == 6).then_some(())).await;
    let mut second = Runtime::start(&manifest).await;
    eventually(async || (partitions(&second).await == 3).then_some(())).await;
    assert_eq!(partitions(&first).await, 3, "the load is shared");
    let before = seen.distinct();
    eventually(async || (seen.distinct() > before + 200).then_some(())).await;
    second.signal(Signal::SIGTERM);
    soon(second.process.wait()).await.unwrap();
    eventually(async || (partitions(&first).await == 6).then_some(())).await;
    sender.abort();
    let _aborted = sender.await;
    let all = *sent.lock().unwrap();
    eventually(async || (seen.distinct() >= all).then_some(())).await;
    assert_eq!(
        seen.assert_in_order(),
        0,
        "every batch was finished before its partition went"
    );
}

#[tokio::test]
async fn runtime_killed_with_a_batch_in_flight_loses_none_of_it() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.send_many(0, 6).await;
    let mut runtime = start(&puppeteer, &topic, "batch_size = 3").await;
    puppeteer.next().await.answer("null").await;
    let held = puppeteer.next().await;
    assert_eq!(offsets(&held), [3, 4, 5]);
    topic.await_committed(0, 3).await;
    runtime.signal(Signal::SIGKILL);
    soon(runtime.process.wait()).await.unwrap();
    let _runtime = start(&puppeteer, &topic, "batch_size = 3").await;
    let again = puppeteer.next().await;
    assert_eq!(offsets(&again), [3, 4, 5]);
    again.answer("null").await;
    topic.await_committed(0, 6).await;
}

#[tokio::test]
async fn stopping_runtime_finishes_and_commits_the_batch_in_flight() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.send_many(0, 4).await;
    let mut runtime = start(&puppeteer, &topic, "batch_size = 2").await;
    let held = puppeteer.next().await;
    runtime.signal(Signal::SIGTERM);
    runtime
        .await_line(|line| line["message"].as_str().unwrap().starts_with("stopping"))
        .await;
    held.answer("null").await;
    let status = soon(runtime.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(topic.committed(0).await, Some(2));
    // The group was left, not merely abandoned: nobody waits for the session to end.
    let began = std::time::Instant::now();
    let _runtime = start(&puppeteer, &topic, "").await;
    assert_eq!(offsets(&puppeteer.next().await), [2, 3]);
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn slow_handler_keeps_its_partition() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(2).await);
    topic.send_many(0, 1).await;
    let runtime = start(&puppeteer, &topic, "window_ms = 0").await;
    let held = puppeteer.next().await;
    // Longer than the session: heartbeats do not wait for the function.
    tokio::time::sleep(Duration::from_secs(12)).await;
    topic.send_many(1, 1).await;
    let other = puppeteer.next().await;
    assert_eq!(records(&other)[0]["partition"], 1);
    other.answer("null").await;
    held.answer("null").await;
    topic.await_committed(0, 1).await;
    assert_eq!(partitions(&runtime).await, 2);
    assert_eq!(counted(&runtime, "ok").await, 2);
}

#[tokio::test]
async fn source_waits_for_a_topic_that_is_not_there() {
    // Or another test stops Kafka meanwhile.
    let (puppeteer, _kafka) = (Puppeteer::new().await, KAFKA.read().await);
    let source_of = "[kafka]\nbootstrap_servers = '${KAFKA_BROKERS}'\n\
                     [[functions.puppet.kafka]]\ntopics = ['test-not-there']\n";
    let runtime = Runtime::start(&puppeteer.manifest("", source_of)).await;
    eventually(async || {
        let seen = source(&runtime).await;
        let told = seen["lastError"] == "there is no topic test-not-there";
        (told && seen["state"] == "unreachable").then_some(())
    })
    .await;
}

#[tokio::test]
async fn source_goes_on_by_itself_when_kafka_is_back() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::alone(1).await);
    topic.send_many(0, 1).await;
    let runtime = start(&puppeteer, &topic, "window_ms = 0").await;
    let held = puppeteer.next().await;
    stack("stop").await;
    eventually(async || (source(&runtime).await["state"] == "unreachable").then_some(())).await;
    held.answer("null").await;
    stack("start").await;
    // What could not be committed may come again.
    let seen = Seen::default();
    tokio::spawn(seen.clone().serve(puppeteer));
    topic.await_committed(0, 1).await;
    topic.send_many(0, 1).await;
    topic.await_committed(0, 2).await;
    eventually(async || (source(&runtime).await["state"] == "waiting").then_some(())).await;
    assert!(seen.distinct() > 0);
}
