//! One Kafka node that is broker and controller.

use std::{fmt::Write as _, fs, time::Duration};

use anyhow::{bail, ensure};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};
use tokio::{net::TcpStream, process::Command};

use crate::{Component, Port, Stack, program};

/// The topics of payments' events.
pub const PAYMENT_TOPICS: [&str; 5] = [
    "payment.authorized",
    "payment.captured",
    "payment.refunded",
    "payment.voided",
    "payment.expired",
];
/// The other topics: of events, and of what their consumers could not use.
const OTHER_TOPICS: [&str; 17] = [
    "settlement.closed",
    "payment.captured.settlement-ingest.dlq",
    "payment.refunded.settlement-ingest.dlq",
    "settlement.closed.post-settlement.dlq",
    "recon.file-uploaded",
    "recon.unmatched",
    "recon.resolved",
    "payment.captured.recon-ingest.dlq",
    "payment.refunded.recon-ingest.dlq",
    "recon.file-uploaded.recon-match.dlq",
    "recon.resolved.post-recon.dlq",
    "payment.authorized.notify.dlq",
    "payment.captured.notify.dlq",
    "payment.refunded.notify.dlq",
    "payment.voided.notify.dlq",
    "payment.expired.notify.dlq",
    "settlement.closed.notify.dlq",
];
/// Partitions of each topic, fixed because a key must stay in its partition. Enough for six
/// consumers of one topic, few enough for a small machine.
pub const PARTITIONS: i32 = 6;
/// How long the broker may take to make the topics.
const TOPICS_WITHIN: Duration = Duration::from_secs(8);
/// A small heap, and a compiler tuned to start fast rather than to run long.
const JVM: [&str; 4] = [
    "-Xms128m",
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
];

/// Every topic. Nothing else makes topics.
pub fn topics() -> impl Iterator<Item = &'static str> {
    PAYMENT_TOPICS.into_iter().chain(OTHER_TOPICS)
}

/// The broker's command, once its storage is formatted.
///
/// # Errors
/// When the jars are missing or the storage cannot be formatted.
pub async fn command(stack: &Stack) -> anyhow::Result<Vec<String>> {
    let properties = stack.state.run_file("kafka.properties");
    fs::write(&properties, server_properties(stack)?)?;
    let properties = properties.display().to_string();
    if !stack
        .state
        .data(Component::Kafka)
        .join("meta.properties")
        .exists()
    {
        format(stack, &properties).await?;
    }
    let mut command = java(stack)?;
    command.extend(["kafka.Kafka".to_owned(), properties]);
    Ok(command)
}

/// Succeeds once the broker answers and has the topics.
///
/// # Errors
/// While it does not.
pub async fn answers(stack: &Stack) -> anyhow::Result<()> {
    let address = stack.address(Component::Kafka);
    // Without this librdkafka would wait before it connects again.
    TcpStream::connect(&address).await?;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &address)
        .create()?;
    let topics: Vec<NewTopic<'_>> = topics()
        .map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)))
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(TOPICS_WITHIN))
        .operation_timeout(Some(TOPICS_WITHIN));
    for made in admin.create_topics(&topics, &options).await? {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => bail!("cannot make topic {topic}: {error}"),
        }
    }
    Ok(())
}

async fn format(stack: &Stack, properties: &str) -> anyhow::Result<()> {
    let cluster = BASE64_URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4());
    let java = java(stack)?;
    let mut format = Command::new(&java[0]);
    format
        .args(&java[1..])
        .args(["kafka.tools.StorageTool", "format", "--ignore-formatted"])
        // Joined, for a random id may begin with a hyphen.
        .arg(format!("--cluster-id={cluster}"))
        .args(["--config", properties]);
    program::run(&mut format).await
}

fn java(stack: &Stack) -> anyhow::Result<Vec<String>> {
    let jars = stack.root.join("local/.state/kafka-libs");
    ensure!(
        jars.is_dir(),
        "{} is missing: run local/stack/install",
        jars.display()
    );
    let logging = stack.root.join("local/stack/kafka/log4j2.xml");
    let mut command = vec!["java".to_owned()];
    command.extend(JVM.map(str::to_owned));
    command.push(format!("-Dlog4j2.configurationFile={}", logging.display()));
    command.extend(["-cp".to_owned(), format!("{}/*", jars.display())]);
    Ok(command)
}

fn server_properties(stack: &Stack) -> anyhow::Result<String> {
    let [client, controller] =
        [Port::Kafka, Port::KafkaController].map(|port| stack.ports.get(port));
    let data = stack.state.data(Component::Kafka);
    let mut text = String::from(PROPERTIES);
    writeln!(text, "log.dirs={}", data.display())?;
    writeln!(
        text,
        "listeners=BROKER://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}"
    )?;
    // Clients go on from the bootstrap address to this one.
    let reached_at = stack.reached_at(Component::Kafka);
    writeln!(text, "advertised.listeners=BROKER://{reached_at}")?;
    // A fixed list of voters rather than one kept in the data: the port may change between runs.
    writeln!(text, "controller.quorum.voters=1@127.0.0.1:{controller}")?;
    Ok(text)
}

/// A broker that was killed may only come back once its session is over, hence the short one. A
/// record's time is when it was appended, so that records of several topics have one order.
const PROPERTIES: &str = "\
process.roles=broker,controller
node.id=1
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
auto.create.topics.enable=false
log.message.timestamp.type=LogAppendTime
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
default.replication.factor=1
offsets.topic.num.partitions=6
offsets.topic.replication.factor=1
share.coordinator.state.topic.num.partitions=6
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.num.partitions=6
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use toml::{Table, Value};

    use super::*;

    /// What the manifest reads, and where it puts what cannot be used.
    fn of_manifest() -> BTreeSet<String> {
        let manifest: Table = include_str!("../../../functions/functions.toml")
            .parse()
            .unwrap();
        let functions = manifest["functions"].as_table().unwrap().values();
        let sources = functions.filter_map(|it| it.get("kafka")?.as_array());
        let mut topics = BTreeSet::new();
        for source in sources.flatten() {
            let read = source["topics"].as_array().unwrap().iter();
            for topic in read.filter_map(Value::as_str) {
                let dead_letters = source["on_failure"].as_str().unwrap();
                let dead_letters = dead_letters.strip_prefix("kafka://").unwrap();
                topics.insert(dead_letters.replace("{topic}", topic));
                topics.insert(topic.to_owned());
            }
        }
        topics
    }

    #[test]
    fn every_topic_of_the_manifest_is_made() {
        let made: BTreeSet<String> = topics().map(str::to_owned).collect();
        let used = of_manifest();
        assert!(!used.is_empty());
        let missing: Vec<_> = used.difference(&made).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
