use std::{fmt, str::FromStr};

use rdkafka::message::{Headers, Message};

/// What the names of the headers begin with that the runtime adds.
const PREFIX: &str = "kafka_dlt-";
pub(crate) const ORIGINAL_TOPIC: &str = "kafka_dlt-original-topic";
const ORIGINAL_PARTITION: &str = "kafka_dlt-original-partition";
const ORIGINAL_OFFSET: &str = "kafka_dlt-original-offset";
const ORIGINAL_TIMESTAMP: &str = "kafka_dlt-original-timestamp";
pub(crate) const GROUP: &str = "kafka_dlt-consumer-group";
const EXCEPTION: &str = "kafka_dlt-exception-message";
const ATTEMPTS: &str = "kafka_dlt-attempts";
const CONDITION: &str = "kafka_dlt-condition";
const PARKED: &str = "kafka_dlt-parked";
pub(crate) const UNPARKED: &str = "kafka_dlt-unparked";

/// Where a message is in its dead-letter topic; as text `PARTITION-OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LetterId {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// A text that names no letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be PARTITION-OFFSET")]
pub(crate) struct InvalidLetterId;

impl FromStr for LetterId {
    type Err = InvalidLetterId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = || {
            let (partition, offset) = text.split_once('-')?;
            let id = Self {
                partition: partition.parse().ok()?,
                offset: offset.parse().ok()?,
            };
            (id.to_string() == text && id.partition >= 0 && id.offset >= 0).then_some(id)
        };
        id().ok_or(InvalidLetterId)
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

/// Whose letters have an order, and are parked together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chain {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) key: Vec<u8>,
}

/// The place that a letter had before it was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Original {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since the epoch.
    pub(crate) timestamp_ms: i64,
}

/// A record that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) id: LetterId,
    /// When it was given up, in milliseconds since the epoch.
    pub(crate) time_ms: Option<i64>,
    pub(crate) group: String,
    pub(crate) original: Original,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// The record's own.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) condition: String,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    pub(crate) parked: bool,
}

/// A message of a dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Letter(Letter),
    /// The key is parked no longer, unless a letter after that offset has come.
    Unparked(Chain, i64),
}

impl Entry {
    /// Reads a message; `None` for one that the runtime did not write.
    pub(crate) fn read(message: &impl Message) -> Option<Self> {
        let headers = headers(message);
        let text = |name: &str| {
            let mut named = headers.iter().filter(|(it, _)| it == name);
            String::from_utf8(named.next_back()?.1.clone()).ok()
        };
        let (group, topic) = (text(GROUP)?, text(ORIGINAL_TOPIC)?);
        let key = message.key().map(<[u8]>::to_vec);
        if let Some(last) = text(UNPARKED) {
            let key = key?;
            // Without an offset it holds in any case.
            let last = last.parse().unwrap_or(i64::MAX);
            return Some(Self::Unparked(Chain { group, topic, key }, last));
        }
        Some(Self::Letter(Letter {
            id: LetterId {
                partition: message.partition(),
                offset: message.offset(),
            },
            time_ms: message.timestamp().to_millis(),
            group,
            original: Original {
                topic,
                partition: text(ORIGINAL_PARTITION)?.parse().ok()?,
                offset: text(ORIGINAL_OFFSET)?.parse().ok()?,
                timestamp_ms: text(ORIGINAL_TIMESTAMP)?.parse().ok()?,
            },
            key,
            value: message.payload().map(<[u8]>::to_vec),
            condition: text(CONDITION).unwrap_or_default(),
            reason: text(EXCEPTION).unwrap_or_default(),
            attempts: text(ATTEMPTS).and_then(|it| it.parse().ok()).unwrap_or(0),
            parked: text(PARKED).is_some(),
            headers: own(headers),
        }))
    }
}

impl Letter {
    /// Its chain; `None` without a key, when it has no order to others.
    pub(crate) fn chain(&self) -> Option<Chain> {
        Some(Chain {
            group: self.group.clone(),
            topic: self.original.topic.clone(),
            key: self.key.clone()?,
        })
    }

    /// Bytes of what it carries.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, it)| name.len() + it.len());
        let [key, value] = [&self.key, &self.value].map(|it| it.as_ref().map_or(0, Vec::len));
        headers.sum::<usize>() + key + value
    }
}

fn headers(message: &impl Message) -> Vec<(String, Vec<u8>)> {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    headers
        .map(|it| (it.key.to_owned(), it.value.unwrap_or_default().to_vec()))
        .collect()
}

fn own(mut headers: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    headers.retain(|(name, _)| !name.starts_with(PREFIX));
    headers
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage, Timestamp};

    use super::*;

    fn message(headers: &[(&str, &str)]) -> OwnedMessage {
        let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, it)| {
            let value = Some(*it);
            all.insert(Header { key, value })
        });
        OwnedMessage::new(
            Some(b"v".to_vec()),
            Some(b"k".to_vec()),
            "t.f.dlq".to_owned(),
            Timestamp::LogAppendTime(7),
            2,
            41,
            Some(headers),
        )
    }

    const LETTER: [(&str, &str); 10] = [
        ("ce_id", "e"),
        (ORIGINAL_TOPIC, "t"),
        (ORIGINAL_PARTITION, "3"),
        (ORIGINAL_OFFSET, "9"),
        (ORIGINAL_TIMESTAMP, "5"),
        (GROUP, "g"),
        (EXCEPTION, "no such event"),
        (ATTEMPTS, "4"),
        (CONDITION, "RetriesExhausted"),
        (PARKED, "true"),
    ];

    #[test]
    fn letter_is_read_with_what_the_runtime_wrote() {
        let Some(Entry::Letter(letter)) = Entry::read(&message(&LETTER)) else {
            panic!("a letter");
        };
        assert_eq!(letter.id.to_string(), "2-41");
        let original = Original {
            topic: "t".to_owned(),
            partition: 3,
            offset: 9,
            timestamp_ms: 5,
        };
        assert_eq!(letter.original, original);
        assert_eq!(letter.headers, [("ce_id".to_owned(), b"e".to_vec())]);
        assert_eq!((letter.attempts, letter.parked), (4, true));
        assert_eq!(letter.reason, "no such event");
    }

    #[test]
    fn mark_of_an_unparked_key_is_no_letter() {
        let chain = Chain {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            key: b"k".to_vec(),
        };
        for (value, last) in [("41", 41), ("", i64::MAX)] {
            let mark = [(ORIGINAL_TOPIC, "t"), (GROUP, "g"), (UNPARKED, value)];
            let expected = Entry::Unparked(chain.clone(), last);
            assert_eq!(Entry::read(&message(&mark)), Some(expected));
        }
    }

    #[test]
    fn what_the_runtime_did_not_write_is_passed_over() {
        assert_eq!(Entry::read(&message(&[])), None);
        assert_eq!(Entry::read(&message(&LETTER[..4])), None);
    }

    #[test]
    fn id_is_read_as_it_is_written() {
        assert_eq!(
            "2-41".parse(),
            Ok(LetterId {
                partition: 2,
                offset: 41
            })
        );
        for text in ["", "1", "1-", "-1-2", "1--2", "01-2", "1-2-3", "1-+2"] {
            assert_eq!(text.parse::<LetterId>(), Err(InvalidLetterId), "{text}");
        }
    }
}
