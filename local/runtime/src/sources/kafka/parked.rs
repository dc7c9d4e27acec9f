//! Which keys are parked: those with a dead letter that nobody has taken back.
//!
//! The dead-letter topic itself is what remembers them. A letter that parks its key has the header
//! `kafka_dlt-parked`; a message with the header `kafka_dlt-unparked` ends that. Who reads the topic
//! from its beginning knows every parked key, so a restart or another member of the group does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use super::Source;
use super::consumer::{Reader, reader_config};
use super::headers::headers;
use super::letters::{GROUP, ORIGINAL_TOPIC, PARKED, UNPARKED};
use super::prepare::{ANSWER_WITHIN, Partitions};
use crate::function::locked;

/// Most keys that are parked in one dead-letter topic. Above it nothing is given up any more, as the
/// order of a key would be lost with it.
pub(super) const PARKED_KEYS_MAX: usize = 100_000;
/// Most partitions that wait to begin.
const WAITING_MAX: usize = 64;

/// How often a dead-letter topic is asked for partitions that are new.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// A place in a dead-letter topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LetterPlace {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// The keys parked in a dead-letter topic; a key is its text in base64.
#[derive(Default)]
pub(super) struct ParkedKeys(Mutex<Fold>);

/// What the messages of the topic come to so far.
#[derive(Default)]
struct Fold {
    /// Topic → key → offset of its last letter.
    keys: HashMap<String, HashMap<Bytes, i64>>,
    /// Partition of the dead-letter topic → the offset after the last message read.
    positions: HashMap<i32, i64>,
}

/// What a message says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Parked,
    /// Unless a later letter than that at this offset has come.
    Unparked(i64),
}

impl ParkedKeys {
    /// Whether the records of `topic` with this key are parked.
    pub(super) fn contains(&self, topic: &str, key: &Bytes) -> bool {
        let fold = locked(&self.0);
        fold.keys.get(topic).is_some_and(|it| it.contains_key(key))
    }

    /// Whether another key can be parked.
    pub(super) fn has_room(&self) -> bool {
        locked(&self.0).len() < PARKED_KEYS_MAX
    }

    /// A letter that parks a key is acknowledged.
    pub(super) fn park(&self, topic: &str, key: &Bytes, place: LetterPlace) {
        locked(&self.0).park(topic, key, place);
    }

    fn positions(&self, partitions: i32) -> Vec<(i32, i64)> {
        let fold = locked(&self.0);
        let position = |partition| (partition, fold.positions.get(&partition).copied());
        (0..partitions)
            .map(position)
            .map(|(partition, offset)| (partition, offset.unwrap_or(-1)))
            .collect()
    }
}

impl Fold {
    fn len(&self) -> usize {
        self.keys.values().map(HashMap::len).sum()
    }

    /// Takes what this process wrote itself, unless it has been read by now: then what followed has
    /// been read, too.
    fn park(&mut self, topic: &str, key: &Bytes, place: LetterPlace) {
        let position = self.positions.get(&place.partition);
        if position.is_none_or(|position| place.offset >= *position) {
            self.insert(topic, key, place.offset);
        }
    }

    /// Takes the next message of the topic.
    fn read(&mut self, topic: &str, key: &Bytes, place: LetterPlace, mark: Mark) {
        self.passed(place);
        match mark {
            Mark::Parked => self.insert(topic, key, place.offset),
            Mark::Unparked(last) => {
                if let Some(keys) = self.keys.get_mut(topic)
                    && keys.get(key).is_some_and(|offset| *offset <= last)
                {
                    keys.remove(key);
                }
            }
        }
    }

    fn passed(&mut self, place: LetterPlace) {
        self.positions.insert(place.partition, place.offset + 1);
    }

    fn insert(&mut self, topic: &str, key: &Bytes, offset: i64) {
        let keys = self.keys.entry(topic.to_owned()).or_default();
        // A slice of an event would keep all of it in memory.
        keys.insert(Bytes::copy_from_slice(key), offset);
    }
}

/// Asks a [`follow`] that runs.
#[derive(Clone)]
pub(super) struct Follower {
    /// What it has read.
    pub(super) keys: Arc<ParkedKeys>,
    requests: mpsc::Sender<oneshot::Sender<()>>,
}

impl Follower {
    /// Keys that nobody reads yet, and where the reader is asked.
    pub(super) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (requests, asked) = mpsc::channel(WAITING_MAX);
        let keys = Arc::default();
        (Self { keys, requests }, asked)
    }

    /// Waits until everything is read that is in the topic now; false if the reader has ended.
    pub(super) async fn caught_up(&self) -> bool {
        let (done, read) = oneshot::channel();
        self.requests.send(done).await.is_ok() && read.await.is_ok()
    }
}

/// Reads the dead letters of each topic, if keys are parked; topic → who knows them, and the readers,
/// which end when dropped.
///
/// # Errors
/// If no reader can be made.
pub(super) fn follow_letters(
    source: &Source,
    topics: &Partitions,
    letter_topics: &Partitions,
) -> anyhow::Result<(BTreeMap<String, Follower>, JoinSet<()>)> {
    let mut readers = JoinSet::new();
    let mut followers = BTreeMap::new();
    let config = &source.config;
    let Some(letters) = config.on_failure.as_ref().filter(|_| config.park_key) else {
        return Ok((followers, readers));
    };
    let mut by_letters = BTreeMap::new();
    for (name, partitions) in letter_topics {
        let settings = reader_config(config, &source.client());
        let consumer = StreamConsumer::from_config_and_context(&settings, Reader)?;
        let (follower, asked) = Follower::new();
        let (group, keys) = (config.group.clone(), Arc::clone(&follower.keys));
        readers.spawn(follow(
            consumer,
            name.clone(),
            *partitions,
            group,
            keys,
            asked,
        ));
        by_letters.insert(name.clone(), follower);
    }
    for topic in topics.keys() {
        if let Some(follower) = by_letters.get(&letters.of(topic)) {
            followers.insert(topic.clone(), follower.clone());
        }
    }
    Ok((followers, readers))
}

/// Reads the `partitions` of the dead-letter topic `topic`, and those that come, into `keys`, and tells
/// those who ask when everything is read that was there when they asked. Ends when nobody can ask any
/// more.
async fn follow(
    consumer: StreamConsumer<Reader>,
    topic: String,
    mut partitions: i32,
    group: String,
    keys: Arc<ParkedKeys>,
    mut asked: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let consumer = Arc::new(consumer);
    let mut counts = interval(COUNT_EVERY);
    counts.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    let mut behind = BTreeSet::new();
    loop {
        tokio::select! {
            request = asked.recv() => {
                let Some(request) = request else { return };
                waiting.push(request);
                while let Ok(request) = asked.try_recv() {
                    waiting.push(request);
                }
                partitions = count(&consumer, &topic, partitions).await;
                // Whoever is assigned a partition anew is told when he reaches its end.
                assign(&consumer, &topic, &keys.positions(partitions));
                behind = (0..partitions).collect();
            }
            _ = counts.tick() => {
                let known = partitions;
                partitions = count(&consumer, &topic, known).await;
                if partitions > known {
                    assign(&consumer, &topic, &keys.positions(partitions));
                    behind.extend(known..partitions);
                }
            }
            message = consumer.recv() => match message {
                Ok(message) => take(&message, &group, &keys),
                Err(KafkaError::PartitionEOF(partition)) => {
                    behind.remove(&partition);
                }
                Err(error) => tracing::warn!(topic, "reading the dead letters: {error}"),
            }
        }
        if behind.is_empty() {
            for done in waiting.drain(..) {
                let _gone = done.send(());
            }
        }
    }
}

/// How many partitions a topic has; as many as are `known`, if the cluster does not tell.
async fn count(consumer: &Arc<StreamConsumer<Reader>>, topic: &str, known: i32) -> i32 {
    let (consumer, topic) = (Arc::clone(consumer), topic.to_owned());
    let asked = spawn_blocking(move || {
        let metadata = consumer.fetch_metadata(Some(&topic), ANSWER_WITHIN).ok()?;
        i32::try_from(metadata.topics().first()?.partitions().len()).ok()
    });
    let found = asked.await.ok().flatten();
    found.map_or(known, |count| count.max(known))
}

fn assign(consumer: &StreamConsumer<Reader>, topic: &str, positions: &[(i32, i64)]) {
    if let Err(error) = try_assign(consumer, topic, positions) {
        tracing::error!(topic, "cannot read the dead letters: {error}");
    }
}

fn try_assign(
    consumer: &StreamConsumer<Reader>,
    topic: &str,
    positions: &[(i32, i64)],
) -> KafkaResult<()> {
    let mut places = TopicPartitionList::new();
    for (partition, offset) in positions {
        let offset = match offset {
            -1 => Offset::Beginning,
            offset => Offset::Offset(*offset),
        };
        places.add_partition_offset(topic, *partition, offset)?;
    }
    consumer.assign(&places)
}

fn take(message: &BorrowedMessage<'_>, group: &str, keys: &ParkedKeys) {
    let place = LetterPlace {
        partition: message.partition(),
        offset: message.offset(),
    };
    let header = |name| {
        let value = headers(message).filter(|it| it.key == name).last()?.value;
        Some(std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default())
    };
    let mark = if let Some(last) = header(UNPARKED) {
        Some(Mark::Unparked(last.parse().unwrap_or(i64::MAX)))
    } else {
        header(PARKED).map(|_| Mark::Parked)
    };
    let mut fold = locked(&keys.0);
    match (mark, message.key(), header(ORIGINAL_TOPIC)) {
        (Some(mark), Some(key), Some(topic)) if header(GROUP) == Some(group) => {
            let key = BASE64_STANDARD.encode(key).into();
            fold.read(topic, &key, place, mark);
        }
        _ => fold.passed(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Bytes = Bytes::from_static(b"a");

    fn at(offset: i64) -> LetterPlace {
        LetterPlace {
            partition: 0,
            offset,
        }
    }

    fn is_parked(fold: &Fold) -> bool {
        fold.keys.get("t").is_some_and(|it| it.contains_key(&KEY))
    }

    #[test]
    fn last_message_of_a_key_decides() {
        let mut fold = Fold::default();
        fold.read("t", &KEY, at(3), Mark::Parked);
        assert!(is_parked(&fold));
        assert!(!fold.keys.contains_key("u"), "per topic");
        fold.read("t", &KEY, at(4), Mark::Unparked(i64::MAX));
        assert!(!is_parked(&fold));
        fold.read("t", &KEY, at(5), Mark::Parked);
        assert!(is_parked(&fold));
    }

    #[test]
    fn letters_after_the_last_one_taken_back_keep_a_key_parked() {
        let mut fold = Fold::default();
        fold.read("t", &KEY, at(3), Mark::Parked);
        fold.read("t", &KEY, at(4), Mark::Parked);
        fold.read("t", &KEY, at(5), Mark::Unparked(3));
        assert!(is_parked(&fold));
        fold.read("t", &KEY, at(6), Mark::Unparked(4));
        assert!(!is_parked(&fold));
    }

    #[test]
    fn own_letter_counts_at_once_unless_what_followed_is_read() {
        let mut fold = Fold::default();
        fold.park("t", &KEY, at(3));
        assert!(is_parked(&fold));

        let mut late = Fold::default();
        late.read("t", &KEY, at(3), Mark::Parked);
        late.read("t", &KEY, at(4), Mark::Unparked(i64::MAX));
        late.park("t", &KEY, at(3));
        assert!(!is_parked(&late));
    }
}
