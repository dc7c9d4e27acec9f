//! A member of the consumer group: takes partitions, commits what is finished of them, and gives
//! them away once nothing of them is in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use futures_util::future::join_all;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::collect::{Collector, Terms};
use super::commit::{COMMITTED_WITHIN, Place, commit, commit_now, finished};
use super::consumer::{Context, Rebalance, client_config, member_config, settled_within};
use super::event::{EVENT_BYTES_MAX, Shape};
use super::letters::DeadLetters;
use super::parked::{Follower, follow_letters};
use super::prepare;
use super::progress::Rules;
use super::worker::{Shared, Worker};
use super::{Source, lag, start};
use crate::producer::ACKNOWLEDGED_WITHIN;
use crate::sources::status::State;

/// How often offsets are committed, at most.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// How often the ends of the partitions are asked for.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long leaving the group may take.
const LEFT_WITHIN: Duration = Duration::from_secs(10);
/// Most bytes of the events of all partitions together, and the least of one.
const EVENTS_BYTES_MAX: usize = 256 * 1024 * 1024;
const EVENT_BYTES_MIN: usize = 256 * 1024;

/// How a member ended.
pub(super) enum Outcome {
    /// It was stopped.
    Stopped,
    /// It cannot go on; another one can.
    Broken(anyhow::Error),
}

/// A member of the group.
pub(super) struct Member {
    source: Arc<Source>,
    consumer: Arc<StreamConsumer<Context>>,
    rebalances: mpsc::UnboundedReceiver<Rebalance>,
    shared: Arc<Shared>,
    terms: Terms,
    /// Topic → who knows its parked keys.
    followers: BTreeMap<String, Follower>,
    workers: BTreeMap<Place, Running>,
    /// Partitions that are about to be read.
    takes: JoinSet<anyhow::Result<TopicPartitionList>>,
    /// Partitions that are about to be given away.
    releases: JoinSet<TopicPartitionList>,
    /// Those of which a batch may be in flight.
    draining: BTreeSet<Place>,
    look: Option<JoinHandle<()>>,
    commit: Option<JoinHandle<()>>,
    // Ended when dropped.
    _readers: JoinSet<()>,
}

/// A worker that runs.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Member {
    /// Joins the group once the cluster and the topics are there.
    ///
    /// # Errors
    /// If they are not.
    pub(super) async fn join(source: &Arc<Source>) -> anyhow::Result<Self> {
        let (config, client) = (&source.config, source.client());
        let cluster = client_config(config, &client);
        let topics = prepare::topics(config, &cluster).await?;
        let letter_topics = prepare::letter_topics(config, &topics, &cluster).await?;
        let letters = DeadLetters::of(config, &client)?.map(Arc::new);
        if let Some(letters) = &letters {
            let _same = source.status.letters.set(Arc::clone(letters));
        }
        let (followers, readers) = follow_letters(source, &topics, &letter_topics)?;
        let count = topics
            .values()
            .map(|count| usize::try_from(*count))
            .sum::<Result<usize, _>>()?;
        let (sender, rebalances) = mpsc::unbounded_channel();
        let context = Context::new(sender);
        let member = member_config(config, &client, count, drain_max(source));
        let consumer = StreamConsumer::from_config_and_context(&member, context)?;
        let names: Vec<_> = topics.keys().map(String::as_str).collect();
        consumer.subscribe(&names)?;
        source.status.set(State::Waiting);
        Ok(Self {
            consumer: Arc::new(consumer),
            rebalances,
            shared: Arc::new(shared(source, letters)),
            terms: terms(source, count),
            followers,
            workers: BTreeMap::new(),
            takes: JoinSet::new(),
            releases: JoinSet::new(),
            draining: BTreeSet::new(),
            look: None,
            commit: None,
            _readers: readers,
            source: Arc::clone(source),
        })
    }

    /// Reads until the source is stopped or the member cannot go on.
    pub(super) async fn run(mut self) -> Outcome {
        let consumer = Arc::clone(&self.consumer);
        let stop = self.source.stop.clone();
        let mut commits = interval(COMMIT_EVERY);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outcome = loop {
            tokio::select! {
                () = stop.cancelled() => break Outcome::Stopped,
                Some(change) = self.rebalances.recv() => match change {
                    Rebalance::Assigned(partitions) => self.begin_take(partitions),
                    Rebalance::Revoked(partitions) => self.begin_release(partitions),
                },
                Some(Ok(taken)) = self.takes.join_next() => {
                    let taken = taken.and_then(|it| self.take(&it).map_err(Into::into));
                    if let Err(error) = taken {
                        break Outcome::Broken(error);
                    }
                }
                Some(Ok(released)) = self.releases.join_next() => self.release(&released),
                event = consumer.recv() => if let Some(error) = fatal(event) {
                    break Outcome::Broken(error);
                },
                _ = commits.tick() => {
                    if self.workers.values().any(|worker| worker.task.is_finished()) {
                        break Outcome::Broken(anyhow!("nobody works on a partition any more"));
                    }
                    self.commit();
                }
                _ = looks.tick() => {
                    if let Some(error) = self.overdue() {
                        break Outcome::Broken(error);
                    }
                    self.look();
                }
            }
        };
        drop(consumer);
        self.leave().await;
        outcome
    }

    /// Finds out where to begin in more partitions.
    fn begin_take(&mut self, partitions: TopicPartitionList) {
        let (source, consumer) = (Arc::clone(&self.source), Arc::clone(&self.consumer));
        self.takes
            .spawn(start::places(source, consumer, partitions));
    }

    /// Reads more partitions.
    fn take(&mut self, partitions: &TopicPartitionList) -> KafkaResult<()> {
        for place in partitions.elements() {
            let (topic, partition) = (Arc::from(place.topic()), place.partition());
            // Before the first record can come.
            let queue = self.consumer.split_partition_queue(&topic, partition);
            let Some(queue) = queue else { continue };
            let position = match place.offset() {
                Offset::Offset(position) => Some(position),
                _ => None,
            };
            self.source
                .status
                .add_partition(&topic, partition, position);
            let stop = CancellationToken::new();
            let worker = Worker {
                shared: Arc::clone(&self.shared),
                topic: Arc::clone(&topic),
                partition,
                parked: self.followers.get(&*topic).cloned(),
                stop: stop.clone(),
            };
            let shape = Shape::new(&self.source.config.bootstrap_servers, &topic, partition);
            let collector = Collector::new(self.terms.clone(), shape);
            let task = tokio::spawn(worker.run(queue, collector));
            self.workers
                .insert((topic, partition), Running { stop, task });
        }
        tracing::info!(
            function = self.source.deployment.name,
            "reads {} more partitions",
            partitions.count()
        );
        self.consumer.incremental_assign(partitions)
    }

    /// Begins no more invocations with records of these partitions.
    fn begin_release(&mut self, partitions: TopicPartitionList) {
        let place = |place: &Place| partitions.find_partition(&place.0, place.1).is_some();
        let workers = self.workers.extract_if(.., |key, _| place(key));
        let (places, running): (Vec<_>, Vec<_>) = workers.unzip();
        self.draining.extend(places.iter().cloned());
        let drained = drain(running, drain_max(&self.source));
        let (source, consumer) = (Arc::clone(&self.source), Arc::clone(&self.consumer));
        self.releases.spawn(async move {
            drained.await;
            commit_now(&source, consumer, places).await;
            partitions
        });
    }

    /// Gives partitions away of which nothing is in flight.
    fn release(&mut self, partitions: &TopicPartitionList) {
        Rebalance::Revoked(partitions.clone()).answer(&*self.consumer);
        for place in partitions.elements() {
            let topic = Arc::from(place.topic());
            self.source
                .status
                .remove_partition(&topic, place.partition());
            lag::forget(&self.source, &topic, place.partition());
            self.draining.remove(&(topic, place.partition()));
        }
        tracing::info!(
            function = self.source.deployment.name,
            "gave {} partitions away",
            partitions.count()
        );
    }

    /// Commits what is finished and not committed yet, unless a commit is still going on.
    fn commit(&mut self) {
        if self.commit.as_ref().is_none_or(JoinHandle::is_finished) {
            let places = self.workers.keys().chain(&self.draining);
            let places: Vec<_> = places.cloned().collect();
            let (source, consumer) = (Arc::clone(&self.source), Arc::clone(&self.consumer));
            self.commit = finished(&source, &places)
                .map(|_| spawn_blocking(move || commit(&source, &consumer, &places)));
        }
    }

    /// Why the member is given up, if its group has not had it for too long.
    fn overdue(&self) -> Option<anyhow::Error> {
        let longest = settled_within(drain_max(&self.source));
        let settled = &self.consumer.context().settled;
        settled
            .is_overdue(longest, Instant::now())
            .then(|| anyhow!("the group has not taken the member back within {longest:?}"))
    }

    /// Asks how far the partitions go, unless the answer before is still awaited.
    fn look(&mut self) {
        if self.look.as_ref().is_none_or(JoinHandle::is_finished) {
            let (source, consumer) = (Arc::clone(&self.source), Arc::clone(&self.consumer));
            self.look = Some(spawn_blocking(move || lag::look(&source, &*consumer)));
        }
    }

    /// Ends what is in flight, commits, and leaves the group.
    async fn leave(mut self) {
        let (places, running): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.workers).into_iter().unzip();
        self.draining.extend(places.iter().cloned());
        let mut releases = std::mem::take(&mut self.releases);
        let drained = drain(running, drain_max(&self.source));
        let ended = async {
            drained.await;
            let mut all = Vec::new();
            while let Some(Ok(released)) = releases.join_next().await {
                all.push(released);
            }
            all
        };
        for released in self.commit_until(ended).await {
            self.release(&released);
        }
        commit_now(&self.source, Arc::clone(&self.consumer), places.clone()).await;
        for (topic, partition) in &places {
            self.source.status.remove_partition(topic, *partition);
            lag::forget(&self.source, topic, *partition);
        }
        self.consumer.context().close();
        self.answer_group().await;
        // Who still has the consumer would keep it in the group.
        for call in [self.commit.take(), self.look.take()].into_iter().flatten() {
            let _ended = timeout(COMMITTED_WITHIN, call).await;
        }
        // Waits for the group to let it go; one that is stuck may never do.
        let left = spawn_blocking(move || drop(self));
        let _left = timeout(LEFT_WITHIN, left).await;
    }

    /// Answers what nobody has answered yet; nothing more is read.
    async fn answer_group(&mut self) {
        while let Some(Ok(taken)) = self.takes.join_next().await {
            // Without an answer the group could not be left.
            let partitions = taken.unwrap_or_default();
            Rebalance::Assigned(partitions).answer(&*self.consumer);
        }
        while let Ok(change) = self.rebalances.try_recv() {
            change.answer(&*self.consumer);
        }
    }

    /// Commits what gets finished until `ended`.
    async fn commit_until<T>(&mut self, ended: impl Future<Output = T>) -> T {
        let mut ended = pin!(ended);
        let mut commits = interval(COMMIT_EVERY);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = &mut ended => return ended,
                _ = commits.tick() => self.commit(),
            }
        }
    }
}

/// Why a member cannot go on, out of what is told besides records: each partition has a queue of its
/// own before it is read.
fn fatal(event: KafkaResult<BorrowedMessage<'_>>) -> Option<anyhow::Error> {
    match event {
        Err(KafkaError::MessageConsumptionFatal(error)) => Some(anyhow!("{error}")),
        Err(error) => {
            tracing::warn!("reading from Kafka: {error}");
            None
        }
        Ok(message) => {
            let (topic, partition) = (message.topic(), message.partition());
            Some(anyhow!("a record of {topic}-{partition} that nobody reads"))
        }
    }
}

fn shared(source: &Source, letters: Option<Arc<DeadLetters>>) -> Shared {
    let config = &source.config;
    let function = source.deployment.function();
    let of_one = function.config.concurrency.unwrap_or(1) as usize;
    let of_all = of_one * function.config.max_instances as usize;
    let slots = config.concurrency.unwrap_or(of_all);
    Shared {
        deployment: Arc::clone(&source.deployment),
        rules: Rules {
            max_retries: config.max_retries,
            max_age: config.max_age,
            bisect: config.bisect,
        },
        partial_failures: config.partial_failures,
        slots: Semaphore::new(slots),
        letters,
        status: Arc::clone(&source.status),
        metrics: Arc::clone(&source.metrics),
    }
}

fn terms(source: &Source, partitions: usize) -> Terms {
    Terms {
        size: source.config.batch_size,
        bytes: (EVENTS_BYTES_MAX / partitions).clamp(EVENT_BYTES_MIN, EVENT_BYTES_MAX),
        window: source.config.window,
        filter: source.config.filter.clone(),
    }
}

/// How long a batch in flight is waited for.
fn drain_max(source: &Source) -> Duration {
    let function = source.deployment.function();
    function.config.queue_wait + function.config.timeout + ACKNOWLEDGED_WITHIN
}

/// Stops workers, and waits for what they have in flight.
async fn drain(running: Vec<Running>, longest: Duration) {
    for worker in &running {
        worker.stop.cancel();
    }
    let aborts: Vec<_> = running.iter().map(|it| it.task.abort_handle()).collect();
    let ended = join_all(running.into_iter().map(|it| it.task));
    if timeout(longest, ended).await.is_err() {
        tracing::error!("batches were still in flight after {longest:?}");
        aborts.iter().for_each(tokio::task::AbortHandle::abort);
    }
}
