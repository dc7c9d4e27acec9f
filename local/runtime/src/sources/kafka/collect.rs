//! Collects the records of a partition into batches.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use rdkafka::consumer::MessageStream;
use rdkafka::message::{BorrowedMessage, Message};
use serde_json::{Map, Value, json};
use tokio::task::consume_budget;
use tokio::time::{Instant, timeout_at};

use super::consumer::Context;
use super::event::{Batch, Draft, Shape};
use super::headers::headers;
use crate::manifest::Pattern;

/// Most records looked at for one batch: with a filter most may be left out.
const LOOKED_AT_MAX: usize = 10_000;
/// How long a batch whose window has closed takes more of what is there already.
const OVERTIME: Duration = Duration::from_millis(10);

/// The bounds of a batch, and what goes into it.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Most records.
    pub(super) size: usize,
    /// Most bytes of the event, unless one record has more.
    pub(super) bytes: usize,
    /// How long the first record waits for others.
    pub(super) window: Duration,
    /// One of these must match, if there are any.
    pub(super) filter: Vec<Pattern>,
}

/// Collects one batch after the other.
pub(super) struct Collector {
    terms: Terms,
    shape: Shape,
    /// What did not fit into the batch before.
    left: Option<Draft>,
}

/// A batch, and what was left out of it.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) batch: Batch,
    /// The offset of the first record looked at.
    pub(super) start: i64,
    /// The offset after the last one.
    pub(super) end: i64,
    /// Records that the filter left out.
    pub(super) filtered: u64,
}

impl Collector {
    pub(super) fn new(terms: Terms, shape: Shape) -> Self {
        Self {
            terms,
            shape,
            left: None,
        }
    }

    /// The next batch; it may have no record, where the filter left all of them out. A batch that is
    /// not waited for is lost.
    pub(super) async fn next(&mut self, messages: &mut MessageStream<'_, Context>) -> Collected {
        let left = self.left.take();
        let mut draft = left.unwrap_or_else(|| Draft::new(&self.shape));
        let carried = draft.places.first().map(|place| place.offset);
        let mut seen = carried.map(|offset| (offset, offset + 1));
        let mut closes = carried.map(|_| Instant::now() + self.terms.window);
        let mut filtered = 0;
        let mut looked_at = 0;
        let is_over = |closes: Option<Instant>| closes.is_some_and(|it| it.elapsed() >= OVERTIME);
        while looked_at < LOOKED_AT_MAX && !self.is_full(&draft) && !is_over(closes) {
            // What is there already is taken without waiting.
            consume_budget().await;
            let Some(message) = next_message(messages, closes).await else {
                break;
            };
            looked_at += 1;
            closes.get_or_insert_with(|| Instant::now() + self.terms.window);
            let (start, _) = seen.unwrap_or((message.offset(), 0));
            seen = Some((start, message.offset() + 1));
            if !self.takes(&message) {
                filtered += 1;
                continue;
            }
            draft.push(&self.shape, &message);
            if draft.bytes() > self.terms.bytes && draft.places.len() > 1 {
                self.left = draft.split_last(&self.shape);
                seen = Some((start, message.offset()));
                break;
            }
        }
        let (start, end) = seen.unwrap_or_default();
        Collected {
            batch: draft.finish(),
            start,
            end,
            filtered,
        }
    }

    fn is_full(&self, draft: &Draft) -> bool {
        draft.places.len() >= self.terms.size || draft.bytes() >= self.terms.bytes
    }

    fn takes(&self, message: &BorrowedMessage<'_>) -> bool {
        let filter = &self.terms.filter;
        if filter.is_empty() {
            return true;
        }
        let document = document(message);
        filter.iter().any(|pattern| pattern.matches(&document))
    }
}

/// The next record, unless the batch closes before; without a time to close at it is waited for.
async fn next_message<'a>(
    messages: &mut MessageStream<'a, Context>,
    closes: Option<Instant>,
) -> Option<BorrowedMessage<'a>> {
    loop {
        let next = match (messages.next().now_or_never(), closes) {
            (Some(next), _) => next,
            (None, None) => messages.next().await,
            (None, Some(closes)) => timeout_at(closes, messages.next()).await.ok()?,
        };
        match next? {
            Ok(message) => return Some(message),
            Err(error) => tracing::warn!("reading from Kafka: {error}"),
        }
    }
}

/// A record as patterns see it: the value is JSON, or a text if it is not, and so are the headers.
fn document(message: &impl Message) -> Value {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes));
    let value = |bytes| serde_json::from_slice(bytes).unwrap_or_else(|_| text(bytes));
    let headers: Map<_, _> = headers(message)
        .map(|header| (header.key.to_owned(), header.value.map(text).into()))
        .collect();
    json!({
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp().to_millis(),
        "key": message.key().map(text),
        "value": message.payload().map(value),
        "headers": headers,
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;

    #[test]
    fn patterns_see_a_json_value_and_texts() {
        let headers = OwnedHeaders::new().insert(Header {
            key: "h",
            value: Some("x"),
        });
        let message = |value: &str, key: Option<&str>| {
            OwnedMessage::new(
                Some(value.into()),
                key.map(Into::into),
                "t".to_owned(),
                Timestamp::CreateTime(5),
                1,
                2,
                Some(headers.clone()),
            )
        };
        let expected = json!({
            "topic": "t", "partition": 1, "offset": 2, "timestamp": 5,
            "key": "17", "value": {"a": 1}, "headers": {"h": "x"},
        });
        assert_eq!(document(&message(r#"{"a":1}"#, Some("17"))), expected);
        let plain = document(&message("plain", None));
        assert_eq!(plain["value"], "plain");
        assert_eq!(plain["key"], Value::Null);
    }
}
