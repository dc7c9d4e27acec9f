//! A function: its configuration, its calls and its instances.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout_at;
use uuid::Uuid;

use crate::call::{Call, Failure, Finished, Outcome};
use crate::dispatch::{Delivery, Dispatcher, Expiry, InstanceId, Limits, Pending, Phase, Refusal};
use crate::instance::Instance;
use crate::manifest::FunctionConfig;
use crate::metrics::FunctionMetrics;

/// Region and account that stand in names; nothing is ever sent there.
const ARN_PREFIX: &str = "arn:aws:lambda:ap-northeast-2:000000000000:function:";

/// A function and everything that runs it.
pub(crate) struct Function {
    /// Its table in the manifest.
    pub(crate) config: FunctionConfig,
    /// Its Amazon resource name.
    pub(crate) arn: String,
    /// What is counted.
    pub(crate) metrics: FunctionMetrics,
    /// Wakes its continuous source.
    pub(crate) wake: Notify,
    dispatcher: Mutex<Dispatcher>,
    instances: Mutex<BTreeMap<InstanceId, Arc<Instance>>>,
    instance_counter: AtomicU64,
}

/// An instance as `ps` shows it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstanceView {
    /// Its name.
    pub(crate) name: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// The address of its Runtime API.
    pub(crate) address: String,
    /// Where it may serve metrics.
    pub(crate) metrics_address: String,
    /// `starting` or `ready`.
    pub(crate) state: String,
    /// Calls it is running.
    pub(crate) in_flight: usize,
}

impl Function {
    /// A function without instances.
    pub(crate) fn new(config: FunctionConfig, metrics: FunctionMetrics) -> Self {
        let limits = Limits {
            queue_max: config.queue_max,
            queue_wait: config.queue_wait,
            timeout: config.timeout,
            sequential: config.concurrency.is_none(),
        };
        Self {
            arn: format!("{ARN_PREFIX}{}", config.name),
            config,
            metrics,
            wake: Notify::new(),
            dispatcher: Mutex::new(Dispatcher::new(limits)),
            instances: Mutex::default(),
            instance_counter: AtomicU64::new(0),
        }
    }

    /// Calls the function. A caller that stops waiting takes its call out of the queue; once an
    /// instance has it, the call runs on to its end or its timeout.
    pub(crate) async fn invoke(self: &Arc<Self>, call: Call) -> Outcome {
        let submitted = Instant::now();
        let id = call.id;
        let submission = self.dispatcher().submit(call, submitted);
        match submission {
            Ok(pending) => {
                let function = Arc::clone(self);
                let waiting = Waiting {
                    function,
                    id,
                    submitted,
                    pending,
                    watched: false,
                };
                waiting.outcome().await
            }
            Err(failure) => {
                let finished = failed(failure, None);
                self.metrics.finished(&finished, submitted);
                finished.outcome
            }
        }
    }

    /// Refuses every further call.
    pub(crate) fn close(&self) {
        self.dispatcher().close();
    }

    /// Calls waiting and running.
    pub(crate) fn load(&self) -> (usize, usize) {
        let dispatcher = self.dispatcher();
        (dispatcher.queued(), dispatcher.running())
    }

    /// The number of a new instance.
    pub(crate) fn next_instance(&self) -> InstanceId {
        self.instance_counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a started instance.
    pub(crate) fn add_instance(&self, instance: Arc<Instance>) {
        self.metrics.cold_starts.increment(1);
        self.dispatcher().add(instance.id);
        locked(&self.instances).insert(instance.id, instance);
    }

    /// Takes an instance out and fails its calls.
    pub(crate) fn remove_instance(&self, id: InstanceId, failure: &Failure) {
        locked(&self.instances).remove(&id);
        self.dispatcher().remove(id, failure);
    }

    /// Phase and running calls of an instance; `None` once it is removed.
    pub(crate) fn instance_state(&self, id: InstanceId) -> Option<(Phase, usize)> {
        self.dispatcher().instance(id)
    }

    /// Waits for a call on behalf of an instance.
    ///
    /// # Errors
    /// As [`Dispatcher::park`].
    pub(crate) fn park(self: &Arc<Self>, instance: InstanceId) -> Result<Parked, Refusal> {
        let (number, delivery) = self.dispatcher().park(instance, Instant::now())?;
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
        self.dispatcher().answer(instance, id, dispatch, outcome)
    }

    /// The instances as `ps` shows them.
    pub(crate) fn instances(&self) -> Vec<InstanceView> {
        let dispatcher = self.dispatcher();
        let view = |instance: &Arc<Instance>| {
            let (phase, in_flight) = dispatcher.instance(instance.id)?;
            let state = match phase {
                Phase::Starting => "starting",
                Phase::Ready => "ready",
            };
            Some(InstanceView {
                name: instance.name.to_string(),
                pid: instance.pid(),
                address: instance.address.to_string(),
                metrics_address: instance.metrics_address().to_string(),
                state: state.to_owned(),
                in_flight,
            })
        };
        locked(&self.instances).values().filter_map(view).collect()
    }

    fn dispatcher(&self) -> MutexGuard<'_, Dispatcher> {
        locked(&self.dispatcher)
    }

    /// What a timeout means for the instance: one at a time, it is stuck, so it is replaced.
    fn instance_overran(&self, id: InstanceId) {
        if self.config.concurrency.is_none()
            && let Some(instance) = locked(&self.instances).get(&id)
        {
            instance.kill.notify_one();
        }
    }
}

/// No code panics while it holds one of these locks, so a poisoned one is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The caller's side of a call that waits or runs.
struct Waiting {
    function: Arc<Function>,
    id: Uuid,
    submitted: Instant,
    pending: Pending,
    /// Nobody need take over when this is dropped.
    watched: bool,
}

impl Waiting {
    async fn outcome(mut self) -> Outcome {
        let finished = self.finished().await;
        self.watched = true;
        self.function.metrics.finished(&finished, self.submitted);
        finished.outcome
    }

    async fn finished(&mut self) -> Finished {
        loop {
            let received = timeout_at(self.pending.check_at.into(), &mut self.pending.finished);
            if let Ok(finished) = received.await {
                // The sender is dropped unsent only together with the whole function.
                return finished.unwrap_or_else(|_| failed(Failure::Draining, None));
            }
            let now = Instant::now();
            let expiry = self.function.dispatcher().expire(self.id, now);
            match expiry {
                Expiry::Wait(until) => self.pending.check_at = until,
                // The outcome was sent just now, and is waiting in the channel.
                Expiry::Finished => {}
                Expiry::Shed => return failed(Failure::QueueWait, None),
                Expiry::TimedOut(instance) => {
                    self.function.instance_overran(instance);
                    let timeout = self.function.config.timeout;
                    return failed(Failure::TimedOut(timeout), now.checked_sub(timeout));
                }
            }
        }
    }
}

fn failed(failure: Failure, dispatched: Option<Instant>) -> Finished {
    Finished {
        outcome: Err(failure),
        dispatched,
    }
}

impl Drop for Waiting {
    /// A running call outlives its caller: a task of its own goes on watching the deadline.
    fn drop(&mut self) {
        if self.watched || !self.function.dispatcher().abandon(self.id) {
            return;
        }
        let (_, nothing) = oneshot::channel();
        let finished = std::mem::replace(&mut self.pending.finished, nothing);
        let orphan = Self {
            function: Arc::clone(&self.function),
            id: self.id,
            submitted: self.submitted,
            pending: Pending {
                finished,
                check_at: self.pending.check_at,
            },
            watched: true,
        };
        tokio::spawn(orphan.outcome());
    }
}

/// A parked poll: resolves to the call, and leaves the dispatcher when dropped.
pub(crate) struct Parked {
    function: Arc<Function>,
    instance: InstanceId,
    number: u64,
    delivery: oneshot::Receiver<Delivery>,
    over: bool,
}

impl Future for Parked {
    /// `None` if the instance was removed meanwhile.
    type Output = Option<Delivery>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.delivery).poll(context);
        self.over = polled.is_ready();
        polled.map(Result::ok)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if !self.over {
            let unseen = self.delivery.try_recv().ok();
            let now = Instant::now();
            self.function
                .dispatcher()
                .unpark(self.instance, self.number, unseen, now);
        }
    }
}
