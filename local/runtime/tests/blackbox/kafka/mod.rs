//! The Kafka event source, and destinations of events, on the Kafka of `local/stack/private`.

mod destinations;
mod failures;
mod group;
mod parking;
mod source;
mod topic;

use serde_json::{Value, json};

use self::topic::Topic;
use crate::harness::{Invocation, Puppeteer, Runtime, eventually};

/// The manifest of a puppet that gets the records of `topic`; `members` go into its source.
fn manifest(puppeteer: &Puppeteer, topic: &Topic, members: &str) -> String {
    let source = format!(
        "[kafka]\nbootstrap_servers = '${{KAFKA_BROKERS}}'\n\
         [[functions.puppet.kafka]]\ntopics = ['{name}']\ngroup = '{name}'\n{members}\n",
        name = topic.name
    );
    puppeteer.manifest("concurrency = 8", &source)
}

async fn start(puppeteer: &Puppeteer, topic: &Topic, members: &str) -> Runtime {
    Runtime::start(&manifest(puppeteer, topic, members)).await
}

/// The records of an event, which are of one partition.
fn records(invocation: &Invocation) -> &Vec<Value> {
    let partitions = invocation.event["records"].as_object().unwrap();
    assert_eq!(partitions.len(), 1);
    partitions.values().next().unwrap().as_array().unwrap()
}

/// The offsets of an event.
fn offsets(invocation: &Invocation) -> Vec<i64> {
    let offset = |record: &Value| record["offset"].as_i64().unwrap();
    records(invocation).iter().map(offset).collect()
}

/// An answer by which the records with these offsets of partition 0 failed.
fn failed(topic: &Topic, offsets: &[i64]) -> String {
    let partition = format!("{}-0", topic.name);
    let failure =
        |offset: &i64| json!({"itemIdentifier": {"partition": partition, "offset": offset}});
    let failures: Vec<_> = offsets.iter().map(failure).collect();
    json!({ "batchItemFailures": failures }).to_string()
}

/// The only Kafka source, as `GET /sources` shows it.
async fn source(runtime: &Runtime) -> Value {
    let sources: Vec<Value> = serde_json::from_str(&runtime.admin("/sources").await).unwrap();
    sources
        .into_iter()
        .find(|it| it["kind"] == "kafka")
        .unwrap()
}

/// How many records had this result.
async fn counted(runtime: &Runtime, result: &str) -> u64 {
    let name = format!("lambda_source_records_total{{function=\"puppet\",result=\"{result}\"}}");
    runtime.metric(&name).await.unwrap().parse().unwrap()
}

/// Waits until so many records had this result.
async fn await_counted(runtime: &Runtime, result: &str, count: u64) {
    eventually(async || (counted(runtime, result).await == count).then_some(())).await;
}
