//! Dead letters: somebody has decided about each.

use std::collections::HashSet;

use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    message::{BorrowedMessage, Headers},
    metadata::MetadataTopic,
};
use sqlx::{Connection, MySqlConnection};
use tokio::task::spawn_blocking;

use crate::{
    Check, Options, Sources,
    topics::{BROKER_TIMEOUT, read_topic},
};

/// Headers of a letter, which the runtime writes.
const LETTER: [&str; 2] = ["kafka_dlt-original-topic", "kafka_dlt-original-offset"];
/// Header of a message that lets a key go on, which is no letter.
const UNPARKED: &str = "kafka_dlt-unparked";
/// Parts of a name: `payment.captured`, the function, `dlq`.
const PARTS: usize = 4;
/// Letters of a topic that are remembered at once.
const LETTERS_MAX: usize = 1_000_000;

/// Partition and offset.
type Place = (i32, i64);

/// Reads every topic of dead letters, then what was decided about them.
pub(crate) async fn check(sources: &Sources, options: &Options) -> anyhow::Result<Check> {
    let mut check = Check::new("dead-letters");
    let mut db = MySqlConnection::connect(&sources.dlq_database_url).await?;
    let (brokers, prefix) = (sources.brokers.clone(), options.topic_prefix.clone());
    for topic in spawn_blocking(move || topics(&brokers, &prefix)).await?? {
        let (brokers, name) = (sources.brokers.clone(), topic.clone());
        let mut waiting = spawn_blocking(move || letters(&brokers, &name)).await??;
        for _ in &waiting {
            check.count("letters");
        }
        let name = topic.strip_prefix(&options.topic_prefix).unwrap_or(&topic);
        decide(&mut db, name, &mut waiting).await?;
        for _ in &waiting {
            check.count("waiting");
        }
        check.ensure(waiting.is_empty() || options.letters_may_wait, || {
            format!("{} dead letters wait in {topic}", waiting.len())
        });
    }
    db.close().await?;
    Ok(check)
}

/// The topics of the stack's dead letters. Those of another prefix have more parts.
fn topics(brokers: &str, prefix: &str) -> anyhow::Result<Vec<String>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()?;
    let metadata = consumer.fetch_metadata(None, BROKER_TIMEOUT)?;
    let names = metadata.topics().iter().map(MetadataTopic::name);
    let of_letters = names.filter(|name| {
        let own = name.strip_prefix(prefix);
        own.is_some_and(|own| {
            let parts: Vec<&str> = own.split('.').collect();
            parts.len() == PARTS && parts.last() == Some(&"dlq")
        })
    });
    Ok(of_letters.map(ToOwned::to_owned).collect())
}

fn letters(brokers: &str, topic: &str) -> anyhow::Result<HashSet<Place>> {
    let mut letters = HashSet::new();
    read_topic(brokers, topic, |message| {
        if letters.len() < LETTERS_MAX && is_letter(message) {
            letters.insert((message.partition(), message.offset()));
        }
    })?;
    Ok(letters)
}

fn is_letter(message: &BorrowedMessage<'_>) -> bool {
    let has = |name: &str| {
        let mut headers = message.headers().into_iter().flat_map(Headers::iter);
        headers.any(|header| header.key == name)
    };
    LETTER.into_iter().all(has) && !has(UNPARKED)
}

/// Takes away those that were replayed or purged.
async fn decide(
    db: &mut MySqlConnection,
    topic: &str,
    waiting: &mut HashSet<Place>,
) -> anyhow::Result<()> {
    if waiting.is_empty() {
        return Ok(());
    }
    let decided: Vec<Place> = sqlx::query_as(
        "SELECT kafka_partition, kafka_offset FROM dlq_decision WHERE topic = ? LIMIT ?",
    )
    .bind(topic)
    .bind(LETTERS_MAX as u64)
    .fetch_all(db)
    .await?;
    for place in decided {
        waiting.remove(&place);
    }
    Ok(())
}
