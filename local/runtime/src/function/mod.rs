//! A function: its configuration, its calls and its instances.

mod version;
mod view;
mod waiting;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use self::version::{Hold, Series, Tally, Version};
pub(crate) use self::view::InstanceView;
pub(crate) use self::waiting::Parked;
use self::waiting::Waiting;
use crate::answer;
use crate::call::{Call, Failure, Outcome};
use crate::dispatch::{Bounds, Dispatcher, FunctionId, InstanceId, Limits, Phase, Refusal};
use crate::instance::Instance;
use crate::manifest::FunctionConfig;
use crate::metrics::FunctionMetrics;

/// Region and account that stand in names; nothing is ever sent there.
const ARN_PREFIX: &str = "arn:aws:lambda:ap-northeast-2:000000000000:function:";

/// Longest wait for the instances of a new version, as AWS waits for an initialization.
const START_MAX: Duration = Duration::from_secs(10);

/// The dispatcher that all functions share.
pub(crate) type SharedDispatcher = Arc<Mutex<Dispatcher>>;

/// One version of a function, and everything that runs it.
pub(crate) struct Function {
    /// Its number among all that run.
    pub(crate) id: FunctionId,
    /// Which of the function's versions it is.
    pub(crate) version: Version,
    /// What its instances are and get.
    pub(crate) config: FunctionConfig,
    /// Its Amazon resource name.
    pub(crate) arn: String,
    /// What is counted, together with the other versions.
    pub(crate) metrics: FunctionMetrics,
    /// How its own calls have ended.
    pub(crate) tally: Arc<Tally>,
    /// Tells that instances may have to be started or stopped.
    pub(crate) demand: Notify,
    /// Tells that an instance has become ready or failed.
    progress: Notify,
    retired: CancellationToken,
    holds: AtomicUsize,
    dispatcher: SharedDispatcher,
    instances: Mutex<BTreeMap<InstanceId, Arc<Instance>>>,
}

impl Function {
    /// A version without instances, whose calls go through `dispatcher`.
    pub(crate) fn new(
        config: FunctionConfig,
        version: Version,
        metrics: FunctionMetrics,
        dispatcher: SharedDispatcher,
    ) -> Self {
        // Those that attach are nobody's to start or to stop here.
        let (min, max) = if config.attached {
            (0, 0)
        } else {
            (config.min_instances, config.max_instances)
        };
        let limits = Limits {
            priority: config.priority,
            queue_max: config.queue_max,
            queue_wait: config.queue_wait,
            queue_target: config.queue_target,
            timeout: config.timeout,
            sequential: config.concurrency.is_none(),
            reserved: config.reserved_concurrency,
            instances: Bounds {
                min: min as usize,
                max: max as usize,
                concurrency: config.concurrency.unwrap_or(1) as usize,
                idle: config.idle,
            },
        };
        let id = locked(&dispatcher).register(&config.name, limits);
        Self {
            id,
            version,
            arn: arn(&config.name, None),
            config,
            metrics,
            tally: Arc::default(),
            demand: Notify::new(),
            progress: Notify::new(),
            retired: CancellationToken::new(),
            holds: AtomicUsize::new(0),
            dispatcher,
            instances: Mutex::default(),
        }
    }

    /// Refuses a call before its event is made, if it would be refused anyway.
    ///
    /// # Errors
    /// As [`Dispatcher::submit`].
    pub(crate) fn precheck(&self) -> Result<(), Failure> {
        match self.dispatcher().refusal(self.id, 0, Instant::now()) {
            None => Ok(()),
            Some(failure) => {
                self.metrics.failed(&failure);
                Err(failure)
            }
        }
    }

    /// Calls the function. A caller that stops waiting takes its call out of the queue; once an
    /// instance has it, the call runs on to its end or its timeout.
    pub(crate) async fn invoke(self: &Arc<Self>, call: Call) -> Outcome {
        let submitted = Instant::now();
        let id = call.id;
        let submission = self.dispatcher().submit(self.id, call, submitted);
        self.ask_for_instances();
        match submission {
            Ok(finished) => {
                let function = Arc::clone(self);
                let waiting = Waiting {
                    function,
                    id,
                    submitted,
                    finished,
                    watched: false,
                };
                waiting.outcome().await
            }
            Err(failure) => {
                self.metrics.failed(&failure);
                Err(failure)
            }
        }
    }

    /// Calls waiting and running.
    pub(crate) fn load(&self) -> (usize, usize) {
        let dispatcher = self.dispatcher();
        (dispatcher.queued(self.id), dispatcher.running(self.id))
    }

    /// Calls waiting and running in all versions.
    pub(crate) fn calls(&self) -> usize {
        self.dispatcher().calls(self.id)
    }

    /// Instances that are ready.
    pub(crate) fn ready(&self) -> usize {
        self.dispatcher().starts(self.id).0
    }

    /// The number of a new instance.
    pub(crate) fn next_instance(&self) -> InstanceId {
        self.version
            .series
            .instances
            .fetch_add(1, Ordering::Relaxed)
            + 1
    }

    /// Tells whoever starts instances that one may be needed.
    fn ask_for_instances(&self) {
        let mut dispatcher = self.dispatcher();
        let Bounds { min, max, .. } = *dispatcher.bounds(self.id);
        if min < max && dispatcher.queued(self.id) > 0 {
            self.demand.notify_one();
        }
    }

    /// Most calls that wait or run on this host, if there is a bound.
    pub(crate) fn reserved(&self) -> Option<usize> {
        self.dispatcher().reserved(self.id)
    }

    /// The least and the most instances it has.
    pub(crate) fn bounds(&self) -> (usize, usize) {
        let Bounds { min, max, .. } = *self.dispatcher().bounds(self.id);
        (min, max)
    }

    /// Changes the least and the most instances it has, until the runtime ends.
    pub(crate) fn set_bounds(&self, min: usize, max: usize) {
        let mut dispatcher = self.dispatcher();
        let bounds = dispatcher.bounds(self.id);
        (bounds.min, bounds.max) = (min, max);
        self.demand.notify_one();
    }

    /// How many instances to start, given how many there are.
    pub(crate) fn to_start(&self, instances: usize) -> usize {
        let starts = self.dispatcher().to_start(self.id, instances);
        if starts.held_back > 0 {
            self.metrics.starts_held_back.increment(1);
        }
        starts.now
    }

    /// Has an instance get no further call.
    pub(crate) fn retire_instance(&self, id: InstanceId) {
        self.dispatcher().retire(self.id, id);
    }

    /// Stops instances that have been idle for too long.
    pub(crate) fn retire_idle(&self, instances: usize) {
        let retired = self
            .dispatcher()
            .retire_idle(self.id, instances, Instant::now());
        let running = locked(&self.instances);
        for instance in retired.iter().filter_map(|id| running.get(id)) {
            instance.retire.notify_one();
        }
    }

    /// An instance has polled for the first time, so long after its start.
    pub(crate) fn has_started(&self, after: Duration) {
        self.metrics.started(after);
        self.progress.notify_waiters();
        self.ask_for_instances();
    }

    /// Waits until the instances that are kept running are ready.
    ///
    /// # Errors
    /// If one has failed, or they are not within [`START_MAX`].
    pub(crate) async fn started(&self) -> Result<(), NotStarted> {
        let all_ready = async {
            loop {
                let progress = self.progress.notified();
                let (ready, failed) = self.dispatcher().starts(self.id);
                if ready >= self.bounds().0 {
                    return Ok(());
                } else if failed > 0 {
                    return Err(NotStarted::Failed);
                }
                progress.await;
            }
        };
        timeout(START_MAX, all_ready)
            .await
            .unwrap_or(Err(NotStarted::TooSlow))
    }

    /// Nobody else gets a [`Hold`]; its instances end with the last hold and the last call.
    pub(crate) fn retire(&self) {
        self.retired.cancel();
        self.demand.notify_one();
    }

    /// Waits until it is retired.
    pub(crate) async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// Whether it is retired, and nothing is left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.retired.is_cancelled()
            && self.holds.load(Ordering::Relaxed) == 0
            && self.load() == (0, 0)
    }

    /// Adds a started instance.
    pub(crate) fn add_instance(&self, instance: Arc<Instance>) {
        self.metrics.cold_starts.increment(1);
        self.dispatcher().add(self.id, instance.id, Instant::now());
        locked(&self.instances).insert(instance.id, instance);
    }

    /// Takes an instance out and fails its calls.
    pub(crate) fn remove_instance(&self, id: InstanceId, failure: &Failure) {
        locked(&self.instances).remove(&id);
        self.dispatcher()
            .remove(self.id, id, failure, Instant::now());
    }

    /// Tells when the instance `next` is started, after one has failed.
    pub(crate) fn restarts_in(&self, next: InstanceId, pause: Duration) {
        let at = Instant::now() + pause;
        self.dispatcher().restarts_at(self.id, next, at);
        self.progress.notify_waiters();
    }

    /// Phase and running calls of an instance; `None` once it is removed.
    pub(crate) fn instance_state(&self, id: InstanceId) -> Option<(Phase, usize)> {
        self.dispatcher().instance(self.id, id)
    }

    /// Waits for a call on behalf of an instance.
    ///
    /// # Errors
    /// As [`Dispatcher::park`].
    pub(crate) fn park(self: &Arc<Self>, instance: InstanceId) -> Result<Parked, Refusal> {
        let (number, delivery) = self.dispatcher().park(self.id, instance, Instant::now())?;
        Ok(Parked {
            function: Arc::clone(self),
            instance,
            number,
            delivery,
            over: false,
        })
    }

    /// Takes an instance's answer.
    ///
    /// # Errors
    /// As [`Dispatcher::answer`].
    pub(crate) fn answer(
        &self,
        instance: InstanceId,
        id: Uuid,
        dispatch: Option<u64>,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        self.dispatcher()
            .answer(self.id, instance, id, dispatch, outcome, Instant::now())
    }

    /// An instance begins to answer with a stream of what `content_type` names. The pieces go into the
    /// sender, until [`Function::answer`] ends the stream.
    ///
    /// # Errors
    /// As [`Dispatcher::answer`].
    pub(crate) fn begin(
        self: &Arc<Self>,
        instance: InstanceId,
        id: Uuid,
        dispatch: Option<u64>,
        content_type: Option<HeaderValue>,
    ) -> Result<mpsc::Sender<Bytes>, Refusal> {
        let (writer, stream) = answer::stream(content_type);
        let (end, ended) = oneshot::channel();
        let now = Instant::now();
        let answer = (stream, end);
        self.dispatcher()
            .begin(self.id, instance, id, dispatch, answer, now)?;
        let function = Arc::clone(self);
        tokio::spawn(async move {
            let end = ended.await.unwrap_or(Err(Failure::CutOff));
            function.metrics.streamed(now.elapsed(), &end);
            if end.is_err() {
                function.tally.was_bad();
            }
            let _reader_is_gone = writer.end.send(end);
        });
        Ok(writer.pieces)
    }

    /// How many instances there are.
    pub(crate) fn instance_count(&self) -> usize {
        locked(&self.instances).len()
    }

    fn dispatcher(&self) -> MutexGuard<'_, Dispatcher> {
        locked(&self.dispatcher)
    }

    /// Ends an instance that is stuck; another takes its place.
    pub(crate) fn kill_instance(&self, id: InstanceId) {
        if let Some(instance) = locked(&self.instances).get(&id) {
            tracing::error!(
                function = self.config.name,
                instance = &*instance.name,
                "the instance is stuck and is replaced"
            );
            instance.kill.notify_one();
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // The next scrape sets them again, if another version lives.
        self.metrics.queued.set(0.0);
        self.metrics.in_flight.set(0.0);
        self.metrics.instances_ready.set(0.0);
        self.dispatcher().unregister(self.id);
    }
}

/// Why a version's instances are not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotStarted {
    /// One has ended before its first poll.
    Failed,
    /// They take too long.
    TooSlow,
}

/// The Amazon resource name of a function, or of one of its versions.
pub(crate) fn arn(function: &str, qualifier: Option<&str>) -> String {
    match qualifier {
        None => format!("{ARN_PREFIX}{function}"),
        Some(qualifier) => format!("{ARN_PREFIX}{function}:{qualifier}"),
    }
}

/// No code panics while it holds one of these locks, so a poisoned one is as good as any.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
