//! The event `aws:SelfManagedKafka`: records of one partition, written once and sent from where
//! they stand.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html>

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use rdkafka::message::{Header, Message, Timestamp};
use serde::Deserialize;

use super::headers::headers;

/// Largest event, as on AWS: 6 MiB.
pub(super) const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;
const TAIL: &[u8] = b"]}}";

/// What all events of a partition begin with.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    head: Arc<[u8]>,
    record_head: Arc<[u8]>,
}

/// Where a record stands in the text of its batch.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its offset in the partition.
    pub(super) offset: i64,
    /// Its time in milliseconds since the epoch, if it has one.
    pub(super) timestamp_ms: Option<i64>,
    record: Range<usize>,
    key: Option<Range<usize>>,
}

/// Records that are collected for an event.
#[derive(Debug)]
pub(super) struct Draft {
    text: Vec<u8>,
    head: usize,
    /// The records written so far.
    pub(super) places: Vec<Place>,
}

/// Records of one partition, with the event that has all of them.
#[derive(Debug)]
pub(super) struct Batch {
    event: Bytes,
    head: usize,
    /// The records, by offset.
    pub(super) places: Vec<Place>,
}

/// A record as the event has it.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    /// Its topic.
    pub(super) topic: String,
    /// Its partition.
    pub(super) partition: i32,
    /// Its offset.
    pub(super) offset: i64,
    /// Its time in milliseconds since the epoch.
    pub(super) timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<BTreeMap<String, Vec<i8>>>,
}

impl Shape {
    /// The events of a partition.
    pub(super) fn new(bootstrap_servers: &str, topic: &str, partition: i32) -> Self {
        let mut head = br#"{"eventSource":"aws:SelfManagedKafka","bootstrapServers":"#.to_vec();
        push_text(&mut head, bootstrap_servers);
        head.extend_from_slice(br#","records":{"#);
        push_text(&mut head, &format!("{topic}-{partition}"));
        head.extend_from_slice(b":[");
        let mut record_head = br#"{"topic":"#.to_vec();
        push_text(&mut record_head, topic);
        record_head.extend_from_slice(br#","partition":"#);
        push_number(&mut record_head, partition.into());
        record_head.extend_from_slice(br#","offset":"#);
        Self {
            head: head.into(),
            record_head: record_head.into(),
        }
    }
}

impl Draft {
    /// An event without records.
    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            text: shape.head.to_vec(),
            head: shape.head.len(),
            places: Vec::new(),
        }
    }

    /// Adds a record.
    pub(super) fn push(&mut self, shape: &Shape, message: &impl Message) {
        let text = &mut self.text;
        if !self.places.is_empty() {
            text.push(b',');
        }
        let start = text.len();
        text.extend_from_slice(&shape.record_head);
        push_number(text, message.offset());
        let timestamp = message.timestamp();
        let (time, kind) = match timestamp {
            Timestamp::CreateTime(ms) => (ms, "CREATE_TIME"),
            Timestamp::LogAppendTime(ms) => (ms, "LOG_APPEND_TIME"),
            Timestamp::NotAvailable => (0, "NO_TIMESTAMP_TYPE"),
        };
        text.extend_from_slice(br#","timestamp":"#);
        push_number(text, time);
        text.extend_from_slice(br#","timestampType":""#);
        text.extend_from_slice(kind.as_bytes());
        text.extend_from_slice(br#"","key":"#);
        let key = push_base64(text, message.key());
        text.extend_from_slice(br#","value":"#);
        push_base64(text, message.payload());
        text.extend_from_slice(br#","headers":["#);
        push_headers(text, headers(message));
        text.extend_from_slice(b"]}");
        self.places.push(Place {
            offset: message.offset(),
            timestamp_ms: timestamp.to_millis(),
            record: start..text.len(),
            key,
        });
    }

    /// Bytes of the event, if it ended here.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + TAIL.len()
    }

    /// Takes the last record out, as the first of another draft.
    pub(super) fn split_last(&mut self, shape: &Shape) -> Option<Self> {
        let last = self.places.pop()?;
        let mut draft = Self::new(shape);
        draft
            .text
            .extend_from_slice(&self.text[last.record.clone()]);
        let moved = |range: Range<usize>| {
            let start = range.start - last.record.start + draft.head;
            start..start + range.len()
        };
        draft.places.push(Place {
            record: moved(last.record.clone()),
            key: last.key.map(moved),
            ..last
        });
        let end = self.places.last().map_or(self.head, |it| it.record.end);
        self.text.truncate(end);
        Some(draft)
    }

    /// Ends the event.
    pub(super) fn finish(mut self) -> Batch {
        self.text.extend_from_slice(TAIL);
        Batch {
            event: self.text.into(),
            head: self.head,
            places: self.places,
        }
    }
}

impl Batch {
    /// The event with the records at `picked`, which are ascending.
    pub(super) fn event(&self, picked: &[usize]) -> Bytes {
        if picked.len() == self.places.len() {
            return self.event.clone();
        }
        let mut event = self.event[..self.head].to_vec();
        for (position, index) in picked.iter().enumerate() {
            if position > 0 {
                event.push(b',');
            }
            event.extend_from_slice(&self.event[self.places[*index].record.clone()]);
        }
        event.extend_from_slice(TAIL);
        event.into()
    }

    /// Bytes of the event that has only the record at `index`.
    pub(super) fn bytes_alone(&self, index: usize) -> usize {
        self.head + self.places[index].record.len() + TAIL.len()
    }

    /// The key of a record, in base64.
    pub(super) fn key(&self, index: usize) -> Option<Bytes> {
        let key = self.places[index].key.clone()?;
        Some(self.event.slice(key))
    }

    /// The record at `index`, read back.
    ///
    /// # Errors
    /// If its text is not what [`Draft::push`] writes.
    pub(super) fn record(&self, index: usize) -> serde_json::Result<Record> {
        serde_json::from_slice(&self.event[self.places[index].record.clone()])
    }
}

impl Record {
    /// Whether it has a key.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Its key as it was.
    ///
    /// # Errors
    /// If it is not base64.
    pub(super) fn key(&self) -> Result<Option<Vec<u8>>, base64::DecodeError> {
        decode(self.key.as_deref())
    }

    /// Its value as it was.
    ///
    /// # Errors
    /// If it is not base64.
    pub(super) fn value(&self) -> Result<Option<Vec<u8>>, base64::DecodeError> {
        decode(self.value.as_deref())
    }

    /// Its headers as they were, but for a null value, which is empty here.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        let unsigned = |value: &Vec<i8>| value.iter().map(|byte| byte.cast_unsigned()).collect();
        self.headers
            .iter()
            .flatten()
            .map(move |(name, value)| (name.as_str(), unsigned(value)))
    }
}

fn decode(text: Option<&str>) -> Result<Option<Vec<u8>>, base64::DecodeError> {
    text.map(|text| BASE64_STANDARD.decode(text)).transpose()
}

/// Where the text in base64 stands, without its quotes; `null` for none.
fn push_base64(text: &mut Vec<u8>, bytes: Option<&[u8]>) -> Option<Range<usize>> {
    let Some(bytes) = bytes else {
        text.extend_from_slice(b"null");
        return None;
    };
    text.push(b'"');
    let start = text.len();
    let end = start + bytes.len().div_ceil(3) * 4;
    text.resize(end, 0);
    #[expect(
        clippy::expect_used,
        reason = "four characters for each three bytes begun suffice"
    )]
    BASE64_STANDARD
        .encode_slice(bytes, &mut text[start..end])
        .expect("base64 fits");
    text.push(b'"');
    Some(start..end)
}

fn push_headers<'a>(text: &mut Vec<u8>, headers: impl Iterator<Item = Header<'a, &'a [u8]>>) {
    for (position, header) in headers.enumerate() {
        if position > 0 {
            text.push(b',');
        }
        text.push(b'{');
        push_text(text, header.key);
        text.extend_from_slice(b":[");
        for (position, byte) in header.value.unwrap_or_default().iter().enumerate() {
            if position > 0 {
                text.push(b',');
            }
            push_signed(text, byte.cast_signed());
        }
        text.extend_from_slice(b"]}");
    }
}

/// Header values are the greater part of a small record, so their digits are written by hand.
fn push_signed(text: &mut Vec<u8>, byte: i8) {
    let size = byte.unsigned_abs();
    if byte < 0 {
        text.push(b'-');
    }
    if size >= 100 {
        text.push(b'1');
    }
    if size >= 10 {
        text.push(b'0' + size / 10 % 10);
    }
    text.push(b'0' + size % 10);
}

fn push_number(text: &mut Vec<u8>, number: i64) {
    let _infallible = write!(text, "{number}");
}

fn push_text(text: &mut Vec<u8>, value: &str) {
    let _infallible = serde_json::to_writer(text, value);
}

#[cfg(test)]
mod tests;
