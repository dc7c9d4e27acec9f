//! What must be there before a source begins: its topics, and those of its dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;

use crate::manifest::KafkaSource;

/// How long the cluster may take to answer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The cluster's own number of replicas.
const DEFAULT_REPLICATION: TopicReplication<'_> = TopicReplication::Fixed(-1);

/// How many partitions the topics have, by name.
pub(super) type Partitions = BTreeMap<String, i32>;

/// The partitions of the source's topics.
///
/// # Errors
/// If the cluster cannot be reached, or does not know one of them.
pub(super) async fn topics(
    source: &KafkaSource,
    config: &ClientConfig,
) -> anyhow::Result<Partitions> {
    let names = source.topics.iter().map(|it| it.as_ref().clone()).collect();
    all(names, config).await
}

/// The partitions of the dead-letter topics of `topics`; those that are not there are made, with as
/// many as the topic itself has.
///
/// # Errors
/// If the cluster cannot be reached, or does not make one.
pub(super) async fn letter_topics(
    source: &KafkaSource,
    topics: &Partitions,
    config: &ClientConfig,
) -> anyhow::Result<Partitions> {
    let Some(letters) = &source.on_failure else {
        return Ok(Partitions::new());
    };
    let mut wanted = Partitions::new();
    for (topic, count) in topics {
        let most = wanted.entry(letters.of(topic)).or_default();
        *most = (*most).max(*count);
    }
    let names: Vec<_> = wanted.keys().cloned().collect();
    let there = partitions(names.clone(), config).await?;
    wanted.retain(|name, _| there.get(name) == Some(&0));
    if !wanted.is_empty() {
        make(&wanted, config).await?;
    }
    all(names, config).await
}

async fn make(wanted: &Partitions, config: &ClientConfig) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let new: Vec<_> = wanted
        .iter()
        .map(|(name, count)| NewTopic::new(name, *count, DEFAULT_REPLICATION))
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(ANSWER_WITHIN))
        .operation_timeout(Some(ANSWER_WITHIN));
    for made in admin.create_topics(&new, &options).await? {
        match made {
            Ok(topic) => tracing::info!(topic, "made the dead-letter topic"),
            // Another runtime was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => bail!("the dead-letter topic {topic} cannot be made: {error}"),
        }
    }
    Ok(())
}

/// The partitions of topics that must be there.
async fn all(names: Vec<String>, config: &ClientConfig) -> anyhow::Result<Partitions> {
    let partitions = partitions(names, config).await?;
    match partitions.iter().find(|(_, count)| **count == 0) {
        Some((name, _)) => bail!("there is no topic {name}"),
        None => Ok(partitions),
    }
}

/// The partitions of topics, none of those that are not there.
async fn partitions(names: Vec<String>, config: &ClientConfig) -> anyhow::Result<Partitions> {
    let consumer: BaseConsumer = config.create()?;
    let asked = spawn_blocking(move || {
        let mut partitions = Partitions::new();
        for name in names {
            let metadata = consumer
                .fetch_metadata(Some(&name), ANSWER_WITHIN)
                .context("the cluster cannot be reached")?;
            let topic = metadata.topics().first().filter(|it| it.error().is_none());
            let count = topic.map_or(0, |topic| topic.partitions().len());
            partitions.insert(name, i32::try_from(count)?);
        }
        Ok(partitions)
    });
    asked.await?
}
