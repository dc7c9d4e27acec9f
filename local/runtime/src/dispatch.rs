//! Decides which instance takes which call, and when a call waits or is refused.
//!
//! One [`Dispatcher`] per function. It does no input or output and reads no clock, so every
//! decision can be tested: calls and polls meet here, each waiting on its own channel.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::call::{Call, Failure, Finished, Outcome};

/// Timed-out calls an instance may still answer late; older ones are forgotten.
const EXPIRED_KEPT_MAX: usize = 1024;

/// Number of an instance, unique within its function.
pub(crate) type InstanceId = u64;

/// The bounds of one function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most calls that wait.
    pub(crate) queue_max: usize,
    /// Longest wait for an instance.
    pub(crate) queue_wait: Duration,
    /// Longest run of a call, from its dispatch.
    pub(crate) timeout: Duration,
    /// Whether an instance takes one call at a time.
    pub(crate) sequential: bool,
}

/// A call handed to an instance.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The call.
    pub(crate) call: Call,
    /// Unique to this dispatch; an answer may repeat it (`Lambda-Runtime-Invocation-Id`).
    pub(crate) dispatch: u64,
    /// When the call times out.
    pub(crate) deadline: Instant,
}

/// A call on its way, as its caller sees it.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Where the outcome will arrive.
    pub(crate) finished: oneshot::Receiver<Finished>,
    /// When to ask [`Dispatcher::expire`] next.
    pub(crate) check_at: Instant,
}

/// What became of a call whose time may be over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Nothing yet: ask again at this time.
    Wait(Instant),
    /// It was taken out of the queue.
    Shed,
    /// It is given up; this instance still works on it.
    TimedOut(InstanceId),
    /// Its outcome has been sent.
    Finished,
}

/// Why an instance's request does not fit its state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A poll while a call is running, in sequential mode.
    Busy,
    /// The call is not, or no longer, this instance's.
    Unknown,
    /// The call timed out before.
    Expired,
}

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// It has not polled yet.
    Starting,
    /// It has polled.
    Ready,
}

#[derive(Debug)]
struct Instance {
    phase: Phase,
    polls: Vec<Poll>,
    running: usize,
    expired: VecDeque<Uuid>,
}

#[derive(Debug)]
struct Poll {
    number: u64,
    sender: oneshot::Sender<Delivery>,
}

#[derive(Debug)]
struct Queued {
    call: Call,
    finished: oneshot::Sender<Finished>,
    until: Instant,
}

#[derive(Debug)]
struct Running {
    instance: InstanceId,
    dispatch: u64,
    dispatched: Instant,
    deadline: Instant,
    finished: oneshot::Sender<Finished>,
}

/// Instances, parked polls, waiting and running calls of one function.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    limits: Limits,
    open: bool,
    instances: BTreeMap<InstanceId, Instance>,
    queue: VecDeque<Queued>,
    running: HashMap<Uuid, Running>,
    counter: u64,
}

impl Dispatcher {
    /// A dispatcher without instances.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: true,
            instances: BTreeMap::new(),
            queue: VecDeque::new(),
            running: HashMap::new(),
            counter: 0,
        }
    }

    /// Refuses every further call; those waiting or running go on.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// Hands a call to a parked poll, or queues it.
    ///
    /// # Errors
    /// [`Failure::Draining`] after [`Dispatcher::close`], [`Failure::QueueFull`].
    pub(crate) fn submit(&mut self, call: Call, now: Instant) -> Result<Pending, Failure> {
        if !self.open {
            return Err(Failure::Draining);
        }
        let (sender, finished) = oneshot::channel();
        let until = now + self.limits.queue_wait;
        let queued = Queued {
            call,
            finished: sender,
            until,
        };
        let Some(queued) = self.dispatch(queued, now) else {
            return Ok(Pending {
                finished,
                check_at: now + self.limits.timeout,
            });
        };
        if self.queue.len() >= self.limits.queue_max {
            return Err(Failure::QueueFull);
        }
        self.queue.push_back(queued);
        // A call dispatched later has a later deadline than `now + timeout`.
        Ok(Pending {
            finished,
            check_at: until.min(now + self.limits.timeout),
        })
    }

    /// Ends the wait of a call whose time is over.
    pub(crate) fn expire(&mut self, id: Uuid, now: Instant) -> Expiry {
        if let Some(running) = self.running.get(&id) {
            if running.deadline > now {
                return Expiry::Wait(running.deadline);
            }
            let instance = running.instance;
            self.running.remove(&id);
            self.forget(instance, id);
            return Expiry::TimedOut(instance);
        }
        let Some(position) = self.queue.iter().position(|queued| queued.call.id == id) else {
            return Expiry::Finished;
        };
        let until = self.queue[position].until;
        if until > now {
            return Expiry::Wait(until.min(now + self.limits.timeout));
        }
        self.queue.remove(position);
        Expiry::Shed
    }

    /// The caller is gone: a waiting call is dropped. True if the call is running, and so still
    /// needs somebody to watch its deadline.
    pub(crate) fn abandon(&mut self, id: Uuid) -> bool {
        self.queue.retain(|queued| queued.call.id != id);
        self.running.contains_key(&id)
    }

    /// Adds an instance that has not polled yet.
    pub(crate) fn add(&mut self, id: InstanceId) {
        let instance = Instance {
            phase: Phase::Starting,
            polls: Vec::new(),
            running: 0,
            expired: VecDeque::new(),
        };
        self.instances.insert(id, instance);
    }

    /// Takes an instance out, and fails every call it was running.
    pub(crate) fn remove(&mut self, id: InstanceId, failure: &Failure) {
        self.instances.remove(&id);
        for (_, lost) in self.running.extract_if(|_, running| running.instance == id) {
            let outcome = Err(failure.clone());
            let dispatched = Some(lost.dispatched);
            let _caller_is_gone = lost.finished.send(Finished {
                outcome,
                dispatched,
            });
        }
    }

    /// An instance asks for a call. The number names the poll for [`Dispatcher::unpark`].
    ///
    /// # Errors
    /// [`Refusal::Busy`]; [`Refusal::Unknown`] if the instance has been removed.
    pub(crate) fn park(
        &mut self,
        id: InstanceId,
        now: Instant,
    ) -> Result<(u64, oneshot::Receiver<Delivery>), Refusal> {
        self.counter += 1;
        let number = self.counter;
        let instance = self.instances.get_mut(&id).ok_or(Refusal::Unknown)?;
        if self.limits.sequential && instance.running > 0 {
            return Err(Refusal::Busy);
        }
        let (sender, receiver) = oneshot::channel();
        instance.phase = Phase::Ready;
        instance.polls.push(Poll { number, sender });
        if let Some(first) = self.queue.pop_front()
            && let Some(first) = self.dispatch(first, now)
        {
            self.queue.push_front(first);
        }
        Ok((number, receiver))
    }

    /// A poll's connection is gone; a call sent to it but never seen by it is handed out again.
    pub(crate) fn unpark(
        &mut self,
        id: InstanceId,
        number: u64,
        unseen: Option<Delivery>,
        now: Instant,
    ) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.polls.retain(|poll| poll.number != number);
        }
        let Some(delivery) = unseen else { return };
        let Some(running) = self.running.remove(&delivery.call.id) else {
            return;
        };
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.running -= 1;
        }
        let until = now + self.limits.queue_wait;
        let queued = Queued {
            call: delivery.call,
            finished: running.finished,
            until,
        };
        if let Some(queued) = self.dispatch(queued, now) {
            self.queue.push_front(queued);
        }
    }

    /// Takes an instance's answer. `dispatch` is the invocation id, if the client repeats it.
    ///
    /// # Errors
    /// [`Refusal::Expired`] after the timeout; [`Refusal::Unknown`] for a second answer, another
    /// instance's call or an earlier dispatch.
    pub(crate) fn answer(
        &mut self,
        instance: InstanceId,
        id: Uuid,
        dispatch: Option<u64>,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        let Entry::Occupied(entry) = self.running.entry(id) else {
            return Err(self.take_expired(instance, id));
        };
        let running = entry.get();
        let stale = dispatch.is_some_and(|number| number != running.dispatch);
        if stale || running.instance != instance {
            return Err(Refusal::Unknown);
        }
        let running = entry.remove();
        if let Some(instance) = self.instances.get_mut(&instance) {
            instance.running -= 1;
        }
        let dispatched = Some(running.dispatched);
        let _caller_is_gone = running.finished.send(Finished {
            outcome,
            dispatched,
        });
        Ok(())
    }

    /// Calls that are waiting.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Calls that are running.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Phase and running calls of an instance.
    pub(crate) fn instance(&self, id: InstanceId) -> Option<(Phase, usize)> {
        self.instances
            .get(&id)
            .map(|instance| (instance.phase, instance.running))
    }

    /// Sends a call to the least loaded instance with a parked poll; gives it back if none has one.
    fn dispatch(&mut self, queued: Queued, now: Instant) -> Option<Queued> {
        self.counter += 1;
        let dispatch = self.counter;
        let deadline = now + self.limits.timeout;
        let id = queued.call.id;
        let mut delivery = Delivery {
            call: queued.call,
            dispatch,
            deadline,
        };
        while let Some((instance, poll)) = self.take_poll() {
            let Err(returned) = poll.sender.send(delivery) else {
                let running = Running {
                    instance,
                    dispatch,
                    dispatched: now,
                    deadline,
                    finished: queued.finished,
                };
                self.running.insert(id, running);
                if let Some(instance) = self.instances.get_mut(&instance) {
                    instance.running += 1;
                }
                return None;
            };
            delivery = returned;
        }
        Some(Queued {
            call: delivery.call,
            ..queued
        })
    }

    /// The most recent poll, whose connection and worker are the warmest, of the least loaded
    /// instance.
    fn take_poll(&mut self) -> Option<(InstanceId, Poll)> {
        let parked = self
            .instances
            .iter_mut()
            .filter(|(_, instance)| !instance.polls.is_empty());
        let (id, instance) = parked.min_by_key(|(_, instance)| instance.running)?;
        Some((*id, instance.polls.pop()?))
    }

    fn forget(&mut self, instance: InstanceId, id: Uuid) {
        if let Some(instance) = self.instances.get_mut(&instance) {
            instance.running -= 1;
            if instance.expired.len() >= EXPIRED_KEPT_MAX {
                instance.expired.pop_front();
            }
            instance.expired.push_back(id);
        }
    }

    fn take_expired(&mut self, instance: InstanceId, id: Uuid) -> Refusal {
        let Some(instance) = self.instances.get_mut(&instance) else {
            return Refusal::Unknown;
        };
        match instance.expired.iter().position(|expired| *expired == id) {
            Some(position) => {
                instance.expired.remove(position);
                Refusal::Expired
            }
            None => Refusal::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
