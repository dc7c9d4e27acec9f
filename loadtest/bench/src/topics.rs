//! A consumer of new payments' events, to know when they arrive.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::task::spawn_blocking;

use crate::{
    figures::{Figures, Latency},
    target::variable,
};

const TOPIC: &str = "payment.authorized";
/// How long the broker may take to tell of the topic, and the consumer to read what is left of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the consumer looks whether it shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Arrivals that are kept at most.
const ARRIVALS_MAX: usize = 2_000_000;

/// Payments by id, and when their event arrived.
pub(crate) type Arrivals = HashMap<String, Instant>;

/// Reads the topic on a thread of its own, from where it ended at the start.
pub(crate) struct Consumer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Arrivals>>,
}

impl Consumer {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let brokers = variable("KAFKA_BROKERS")?;
        let reader = spawn_blocking(move || Reader::at_the_end(&brokers)).await??;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Ok(Self {
            stop,
            thread: thread::spawn(move || reader.read(&stopped)),
        })
    }

    /// Reads what the topic holds by now and tells what arrived.
    pub(crate) async fn arrivals(self) -> anyhow::Result<Arrivals> {
        self.stop.store(true, Ordering::Relaxed);
        let arrivals = spawn_blocking(|| self.thread.join()).await?;
        arrivals.map_err(|_| anyhow!("the consumer panicked"))?
    }
}

/// From the answer to the consumer; an event that was here before the answer took no time. `None`
/// when no payment was both answered and consumed.
pub(crate) fn answered_to_consumed(figures: &Figures, arrivals: &Arrivals) -> Option<Latency> {
    let answered = figures.answered.iter();
    Latency::of_all(answered.filter_map(|(payment_id, answered)| {
        let arrived = arrivals.get(payment_id)?;
        Some(arrived.saturating_duration_since(*answered))
    }))
}

struct Reader {
    consumer: BaseConsumer,
    /// The next offset of each partition.
    next: BTreeMap<i32, i64>,
    arrivals: Arrivals,
}

impl Reader {
    fn at_the_end(brokers: &str) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .create()?;
        let next = ends(&consumer)?;
        let mut places = TopicPartitionList::new();
        for (partition, end) in &next {
            places.add_partition_offset(TOPIC, *partition, Offset::Offset(*end))?;
        }
        consumer.assign(&places)?;
        Ok(Self {
            consumer,
            next,
            arrivals: Arrivals::new(),
        })
    }

    fn read(mut self, stop: &AtomicBool) -> anyhow::Result<Arrivals> {
        while !stop.load(Ordering::Relaxed) {
            self.poll()?;
        }
        let ends = ends(&self.consumer)?;
        let began = Instant::now();
        while self.next != ends {
            ensure!(began.elapsed() < PATIENCE, "{TOPIC} is not read to its end");
            self.poll()?;
        }
        Ok(self.arrivals)
    }

    fn poll(&mut self) -> anyhow::Result<()> {
        let Some(message) = self.consumer.poll(LOOK_EVERY) else {
            return Ok(());
        };
        let arrived = Instant::now();
        let message = message?;
        self.next.insert(message.partition(), message.offset() + 1);
        let payment_id = str::from_utf8(message.key().context("an event without a key")?)?;
        ensure!(
            self.arrivals.len() < ARRIVALS_MAX,
            "more than {ARRIVALS_MAX} events"
        );
        self.arrivals
            .entry(payment_id.to_owned())
            .or_insert(arrived);
        Ok(())
    }
}

/// The end of each partition.
fn ends(consumer: &BaseConsumer) -> anyhow::Result<BTreeMap<i32, i64>> {
    let metadata = consumer.fetch_metadata(Some(TOPIC), PATIENCE)?;
    let topic = metadata.topics().first().context("the topic is missing")?;
    let partitions = topic.partitions().iter().map(|partition| {
        let (_, end) = consumer.fetch_watermarks(TOPIC, partition.id(), PATIENCE)?;
        Ok((partition.id(), end))
    });
    partitions.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_was_here_before_the_answer_took_no_time() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut figures = Figures::default();
        for (payment_id, answered) in [("pay_a", at(10)), ("pay_b", at(10)), ("pay_c", at(10))] {
            figures.answered.push((payment_id.to_owned(), answered));
        }
        let arrived = [("pay_a".to_owned(), at(5)), ("pay_b".to_owned(), at(30))];
        let latency = answered_to_consumed(&figures, &Arrivals::from(arrived)).unwrap();
        assert_eq!(latency.count, 2);
        assert!(latency.p50_ms < 0.01 && (latency.max_ms - 20.0).abs() < 0.1);
    }
}
