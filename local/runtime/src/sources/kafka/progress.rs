//! Decides what becomes of the records of a batch: which are sent, halved, sent again, given up.
//!
//! A [`Progress`] does no input or output and reads no clock. It is asked for a [`Step`], told what
//! came of it, and asked again, until [`Step::Done`]. Records are decided in their order, so the
//! first that is not finished bounds what may be committed.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

/// First and longest pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What the manifest says of failures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Most retries of a record.
    pub(super) max_retries: Option<u32>,
    /// How old a record may be when it is sent.
    pub(super) max_age: Option<Duration>,
    /// Whether records that failed together are halved.
    pub(super) bisect: bool,
}

/// What is known of a record.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its offset.
    pub(super) offset: i64,
    /// Its time in milliseconds since the epoch; without one it is never too old.
    pub(super) timestamp_ms: Option<i64>,
    /// Its key, where that may be parked.
    pub(super) key: Option<Bytes>,
    /// Whether no event can hold it.
    pub(super) too_large: bool,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Every record is finished.
    Done,
    /// Send these records; tell [`Progress::settle`].
    Invoke(Vec<usize>),
    /// Give these records up, in this order; tell [`Progress::given_up`].
    GiveUp(Vec<Loss>),
}

/// A record that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    /// Its position in the batch.
    pub(super) index: usize,
    /// Why.
    pub(super) condition: Condition,
    /// How often it was sent.
    pub(super) attempts: u32,
}

/// Why a record is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It failed once more than it may be retried.
    RetriesExhausted,
    /// It is older than it may be.
    RecordAgeExceeded,
    /// A record of its key was given up before.
    KeyParked,
    /// An event with only this record would be too large.
    RecordTooLarge,
}

/// What came of sending records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are processed.
    Processed,
    /// They failed together.
    Failed,
    /// Those with these offsets failed.
    FailedAt(Vec<i64>),
    /// No instance saw them.
    NotRun,
}

/// The records of one batch and what has become of them.
#[derive(Debug)]
pub(super) struct Progress {
    rules: Rules,
    records: Vec<Tracked>,
    /// Records that are sent together, by position.
    parts: VecDeque<Range<usize>>,
    /// The offset after the batch.
    end: i64,
    sent: Vec<usize>,
    given_up: Vec<Loss>,
    /// Failures since a record was last finished.
    failures: u32,
    /// Records processed since that was last asked.
    processed: u64,
}

#[derive(Debug)]
struct Tracked {
    item: Item,
    attempts: u32,
    finished: bool,
}

impl Condition {
    /// Its name in a dead letter.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RetriesExhausted => "RetriesExhausted",
            Self::RecordAgeExceeded => "RecordAgeExceeded",
            Self::KeyParked => "KeyParked",
            Self::RecordTooLarge => "RecordTooLarge",
        }
    }

    /// What a dead letter says of it, where `error` is why records failed last.
    pub(super) fn explain(self, error: &str) -> &str {
        match self {
            Self::KeyParked => "an earlier record of the key is a dead letter",
            Self::RecordTooLarge => "the record is too large for an event",
            Self::RecordAgeExceeded if error.is_empty() => "the record is too old",
            Self::RetriesExhausted | Self::RecordAgeExceeded => error,
        }
    }
}

impl Progress {
    /// Records by offset, of which none is finished; `end` is the offset after them and after the
    /// records that were left out.
    pub(super) fn new(rules: Rules, items: Vec<Item>, end: i64) -> Self {
        let tracked = |item| Tracked {
            item,
            attempts: 0,
            finished: false,
        };
        let records: Vec<_> = items.into_iter().map(tracked).collect();
        Self {
            rules,
            parts: std::iter::once(0..records.len()).collect(),
            records,
            end,
            sent: Vec::new(),
            given_up: Vec::new(),
            failures: 0,
            processed: 0,
        }
    }

    /// The offset up to which everything is finished.
    pub(super) fn position(&self) -> i64 {
        let unfinished = self.records.iter().find(|record| !record.finished);
        unfinished.map_or(self.end, |record| record.item.offset)
    }

    /// How many records were processed since this was last asked.
    pub(super) fn take_processed(&mut self) -> u64 {
        std::mem::take(&mut self.processed)
    }

    /// What to do at the time `now_ms`, in milliseconds since the epoch.
    pub(super) fn step(&mut self, now_ms: i64, is_parked: impl Fn(&Bytes) -> bool) -> Step {
        let Some(part) = self.first_part() else {
            return Step::Done;
        };
        let mut losses = self.losses(0..self.records.len(), |record| {
            let parked = record.item.key.as_ref().is_some_and(&is_parked);
            parked.then_some(Condition::KeyParked)
        });
        if losses.is_empty() {
            let first_to_send = self.first_to_send(part.clone(), now_ms);
            losses = self.losses(part.start..first_to_send, |it| self.fate(it, now_ms));
        }
        if !losses.is_empty() {
            self.given_up.clone_from(&losses);
            return Step::GiveUp(losses);
        }
        let unfinished = part.filter(|index| !self.records[*index].finished);
        self.sent = unfinished
            .take_while(|index| self.fate(&self.records[*index], now_ms).is_none())
            .collect();
        Step::Invoke(self.sent.clone())
    }

    /// Takes what came of the records that were sent; how long to pause before the next step.
    pub(super) fn settle(&mut self, verdict: &Verdict) -> Option<Duration> {
        let sent = std::mem::take(&mut self.sent);
        match verdict {
            Verdict::NotRun => self.fail_to_send(),
            Verdict::Processed => {
                self.process(&sent);
                None
            }
            Verdict::FailedAt(offsets) if let Some(lowest) = self.lowest(&sent, offsets) => {
                let (before, after) = sent.split_at(lowest);
                self.process(before);
                for index in after {
                    let record = &mut self.records[*index];
                    record.attempts += u32::from(offsets.contains(&record.item.offset));
                }
                self.fail_to_send()
            }
            Verdict::Failed | Verdict::FailedAt(_) if self.rules.bisect && sent.len() > 1 => {
                self.halve(&sent);
                None
            }
            Verdict::Failed | Verdict::FailedAt(_) => {
                for index in sent {
                    self.records[index].attempts += 1;
                }
                self.fail_to_send()
            }
        }
    }

    /// The first `count` of the records to give up are given up, the others could not be; how long
    /// to pause before the next step.
    pub(super) fn given_up(&mut self, count: usize) -> Option<Duration> {
        let losses = std::mem::take(&mut self.given_up);
        let given_up: Vec<_> = losses[..count].iter().map(|loss| loss.index).collect();
        self.finish(&given_up);
        (count < losses.len()).then(|| self.fail())
    }

    /// The first part with a record that is not finished, beginning with it.
    fn first_part(&mut self) -> Option<Range<usize>> {
        loop {
            let part = self.parts.front_mut()?;
            let records = &self.records;
            match part.clone().find(|index| !records[*index].finished) {
                Some(first) => {
                    part.start = first;
                    return Some(part.clone());
                }
                None => self.parts.pop_front(),
            };
        }
    }

    /// The first record of `part` that can be sent, or its end.
    fn first_to_send(&self, part: Range<usize>, now_ms: i64) -> usize {
        let can_be_sent = |index: &usize| {
            let record = &self.records[*index];
            !record.finished && self.fate(record, now_ms).is_none()
        };
        let end = part.end;
        part.into_iter().find(can_be_sent).unwrap_or(end)
    }

    fn losses(
        &self,
        range: Range<usize>,
        condition: impl Fn(&Tracked) -> Option<Condition>,
    ) -> Vec<Loss> {
        let loss = |index: usize| {
            let record = &self.records[index];
            let condition = condition(record).filter(|_| !record.finished)?;
            Some(Loss {
                index,
                condition,
                attempts: record.attempts,
            })
        };
        range.filter_map(loss).collect()
    }

    /// Why a record cannot be sent.
    fn fate(&self, record: &Tracked, now_ms: i64) -> Option<Condition> {
        let time = record.item.timestamp_ms;
        let age_ms = time.map_or(0, |time| now_ms.saturating_sub(time));
        let is_old = |max: Duration| u128::try_from(age_ms).is_ok_and(|it| it > max.as_millis());
        if record.item.too_large {
            Some(Condition::RecordTooLarge)
        } else if self.is_exhausted(record) {
            Some(Condition::RetriesExhausted)
        } else if self.rules.max_age.is_some_and(is_old) {
            Some(Condition::RecordAgeExceeded)
        } else {
            None
        }
    }

    fn is_exhausted(&self, record: &Tracked) -> bool {
        let max = self.rules.max_retries;
        max.is_some_and(|max| record.attempts > max)
    }

    /// The position in `sent` of the lowest of `offsets`, if all of them were sent.
    fn lowest(&self, sent: &[usize], offsets: &[i64]) -> Option<usize> {
        let position = |offset: &i64| {
            sent.binary_search_by_key(offset, |index| self.records[*index].item.offset)
        };
        let positions: Result<Vec<_>, _> = offsets.iter().map(position).collect();
        positions.ok()?.into_iter().min()
    }

    fn halve(&mut self, sent: &[usize]) {
        let Some(part) = self.parts.pop_front() else {
            return;
        };
        let middle = sent[sent.len() / 2];
        self.parts.push_front(middle..part.end);
        self.parts.push_front(part.start..middle);
    }

    fn process(&mut self, indexes: &[usize]) {
        self.processed += indexes.len() as u64;
        self.finish(indexes);
    }

    fn finish(&mut self, indexes: &[usize]) {
        for index in indexes {
            self.records[*index].finished = true;
            self.failures = 0;
        }
    }

    /// Counts a failure; the pause after it.
    fn fail(&mut self) -> Duration {
        let doublings = self.failures.min(u32::BITS / 2);
        self.failures = self.failures.saturating_add(1);
        PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX)
    }

    /// Counts a failure; the pause after it, unless a record is to be given up next.
    fn fail_to_send(&mut self) -> Option<Duration> {
        let pause = self.fail();
        let next = self.records.iter().find(|record| !record.finished)?;
        (!self.is_exhausted(next)).then_some(pause)
    }
}

#[cfg(test)]
mod tests;
