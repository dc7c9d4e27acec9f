//! Works off one partition: one batch after the other, each until every record is finished.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answer::verdict;
use super::call;
use super::collect::{Collected, Collector};
use super::consumer::Context;
use super::event::{Batch, EVENT_BYTES_MAX};
use super::letters::DeadLetters;
use super::parked::{Follower, PARKED_KEYS_MAX};
use super::progress::{Condition, Item, Loss, Progress, Rules, Step, Verdict};
use crate::deployment::Deployment;
use crate::metrics::SourceMetrics;
use crate::sources::status::{PartitionView, State, Status};

/// Most dead letters of a partition that are not acknowledged yet.
const LETTERS_AT_ONCE: usize = 1000;

/// What all partitions of a source share.
pub(super) struct Shared {
    /// The function that gets the records.
    pub(super) deployment: Arc<Deployment>,
    /// What the manifest says of failures.
    pub(super) rules: Rules,
    /// Whether the function tells which records failed.
    pub(super) partial_failures: bool,
    /// As many invocations may run at once.
    pub(super) slots: Semaphore,
    /// Where records go that are given up.
    pub(super) letters: Option<Arc<DeadLetters>>,
    /// What is told of the source.
    pub(super) status: Arc<Status>,
    /// What is counted.
    pub(super) metrics: Arc<SourceMetrics>,
}

/// Works off one partition.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// The parked keys of the topic, if keys are parked.
    pub(super) parked: Option<Follower>,
    /// No more invocations; the one that runs is waited for.
    pub(super) stop: CancellationToken,
}

impl Worker {
    /// Works until it is stopped.
    pub(super) async fn run(self, queue: StreamPartitionQueue<Context>, mut collector: Collector) {
        if let Some(parked) = &self.parked {
            let caught_up = self.stop.run_until_cancelled(parked.caught_up()).await;
            if caught_up != Some(true) {
                return;
            }
        }
        let mut messages = queue.stream();
        loop {
            self.set(State::Waiting);
            let next = collector.next(&mut messages);
            let Some(collected) = self.stop.run_until_cancelled(next).await else {
                return;
            };
            self.work_off(collected).await;
            if self.stop.is_cancelled() {
                return;
            }
        }
    }

    /// Until all records are finished, or it is stopped.
    async fn work_off(&self, collected: Collected) {
        let Collected {
            batch,
            start,
            end,
            filtered,
        } = collected;
        self.shared.metrics.filtered.increment(filtered);
        self.update(|it| {
            it.position.get_or_insert(start);
        });
        let mut progress = Progress::new(self.shared.rules, self.items(&batch), end);
        let mut pause = None;
        let mut error = String::new();
        let mut at_once = LETTERS_AT_ONCE;
        while !self.stop.is_cancelled() {
            let position = progress.position();
            self.update(|it| it.position = Some(position));
            if let Some(pause) = pause.take() {
                self.back_off(pause).await;
                continue;
            }
            match progress.step(now_ms(), |key| self.is_parked(key)) {
                Step::Done => return,
                Step::Invoke(sent) => {
                    let Some(verdict) = self.invoke(&batch, &sent, &mut error).await else {
                        return;
                    };
                    pause = progress.settle(&verdict);
                    self.shared.metrics.ok.increment(progress.take_processed());
                }
                Step::GiveUp(losses) => {
                    let count = self.give_up(&batch, &losses, &error, at_once).await;
                    pause = progress.given_up(count);
                    // Those after a refused letter would be written again with every try.
                    at_once = if pause.is_some() { 1 } else { LETTERS_AT_ONCE };
                }
            }
        }
        let position = progress.position();
        self.update(|it| it.position = Some(position));
    }

    fn items(&self, batch: &Batch) -> Vec<Item> {
        let item = |index: usize| {
            let place = &batch.places[index];
            let key = self.parked.as_ref().and_then(|_| batch.key(index));
            Item {
                offset: place.offset,
                timestamp_ms: place.timestamp_ms,
                key,
                too_large: batch.bytes_alone(index) > EVENT_BYTES_MAX,
            }
        };
        (0..batch.places.len()).map(item).collect()
    }

    fn is_parked(&self, key: &bytes::Bytes) -> bool {
        let parked = self.parked.as_ref();
        parked.is_some_and(|it| it.keys.contains(&self.topic, key))
    }

    /// Sends records; `None` if it was stopped before.
    async fn invoke(&self, batch: &Batch, sent: &[usize], error: &mut String) -> Option<Verdict> {
        let shared = &*self.shared;
        let slot = self
            .stop
            .run_until_cancelled(shared.slots.acquire())
            .await?;
        self.set(State::Running);
        if !error.is_empty() {
            shared.metrics.retries.increment(1);
        }
        let call = call(batch.event(sent));
        let id = call.id;
        let outcome = shared.deployment.invoke_whole(call).await;
        drop(slot);
        let partition = format!("{}-{}", self.topic, self.partition);
        let (verdict, reason) = verdict(&outcome, id, shared.partial_failures, &partition);
        let metrics = &shared.metrics;
        match &verdict {
            Verdict::Processed => &metrics.batches_ok,
            Verdict::Failed => &metrics.batches_failed,
            Verdict::FailedAt(_) => &metrics.batches_partial,
            Verdict::NotRun => &metrics.batches_throttled,
        }
        .increment(1);
        if let Some(reason) = reason {
            let function = &shared.deployment.name;
            tracing::warn!(function, partition, "records were not processed: {reason}");
            self.update(|it| it.last_error = Some(reason.clone()));
            *error = reason;
        }
        Some(verdict)
    }

    async fn back_off(&self, pause: Duration) {
        self.set(State::BackingOff);
        // Partitions that failed together do not come back together.
        let half = u64::try_from(pause.as_millis() / 2).unwrap_or(u64::MAX);
        let pause = Duration::from_millis(half + fastrand::u64(0..=half));
        let _stopped = self
            .stop
            .run_until_cancelled(tokio::time::sleep(pause))
            .await;
    }

    /// How many of `losses` are given up now, from the first.
    async fn give_up(&self, batch: &Batch, losses: &[Loss], error: &str, at_once: usize) -> usize {
        self.set(State::Running);
        let function = &self.shared.deployment.name;
        let Some(letters) = &self.shared.letters else {
            for Loss {
                index, condition, ..
            } in losses
            {
                let offset = batch.places[*index].offset;
                let (topic, partition) = (&*self.topic, self.partition);
                tracing::error!(
                    function,
                    topic,
                    partition,
                    offset,
                    condition = condition.name(),
                    "the record is dropped: {}",
                    condition.explain(error)
                );
            }
            let dropped = &self.shared.metrics.dropped;
            dropped.increment(losses.len() as u64);
            return losses.len();
        };
        match self.write(letters, batch, losses, error, at_once).await {
            (count, None) => count,
            (count, Some(reason)) => {
                let reason = format!("no dead letter is written: {reason}");
                tracing::error!(function, topic = &*self.topic, "{reason}");
                self.update(|it| it.last_error = Some(reason));
                count
            }
        }
    }

    /// Writes dead letters, and parks their keys.
    async fn write(
        &self,
        letters: &DeadLetters,
        batch: &Batch,
        losses: &[Loss],
        error: &str,
        at_once: usize,
    ) -> (usize, Option<String>) {
        let parked = self.parked.as_ref();
        if parked.is_some_and(|it| !it.keys.has_room()) {
            let reason = format!("{PARKED_KEYS_MAX} keys are parked, the most there may be");
            return (0, Some(reason));
        }
        let record = |loss: &Loss| Ok((batch.record(loss.index)?, *loss));
        let records: serde_json::Result<Vec<_>> = losses.iter().map(record).collect();
        let records = match records {
            Ok(records) => records,
            Err(error) => return (0, Some(error.to_string())),
        };
        let (places, reason) = letters.write(&records, error, at_once).await;
        for (place, loss) in places.iter().zip(losses) {
            if let (Some(parked), Some(key)) = (parked, batch.key(loss.index)) {
                parked.keys.park(&self.topic, &key, *place);
            }
            let metrics = &self.shared.metrics;
            match loss.condition {
                Condition::KeyParked => metrics.parked.increment(1),
                _ => metrics.dead_lettered.increment(1),
            }
        }
        (places.len(), reason)
    }

    fn set(&self, state: State) {
        self.update(|it| it.state = state);
    }

    fn update(&self, with: impl FnOnce(&mut PartitionView)) {
        self.shared.status.update(&self.topic, self.partition, with);
    }
}

/// Milliseconds since the epoch.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
}
