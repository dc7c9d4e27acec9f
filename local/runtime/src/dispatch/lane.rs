//! One function: its instances with their parked polls, its waiting and its running calls.

use std::collections::hash_map::{Entry, OccupiedEntry};
use std::collections::{BTreeMap, HashMap};
use std::mem::{replace, take};
use std::time::Instant;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::instance::{Instance, Poll};
use super::queue::{Queue, Waiting};
use super::scaling::{Bounds, Scaling, Starts};
use super::{Delivery, InstanceId, Limits, Phase, Refusal};
use crate::answer::{Answer, End, Stream};
use crate::call::{Failure, Finished, Outcome};

/// Starts in a row that ended before a first poll, after which the next is not waited for.
const FAILED_STARTS_MAX: u32 = 5;

#[derive(Debug)]
struct Running {
    instance: InstanceId,
    dispatch: u64,
    submitted: Instant,
    dispatched: Instant,
    deadline: Instant,
    caller: Caller,
}

/// Who waits for a running call.
#[derive(Debug)]
enum Caller {
    /// For its answer.
    Answer(oneshot::Sender<Finished>),
    /// For the end of its streamed answer.
    End(oneshot::Sender<End>),
}

impl Running {
    fn end(self, outcome: Outcome) {
        let _caller_is_gone = match self.caller {
            Caller::Answer(caller) => {
                let dispatched = Some(self.dispatched);
                let finished = Finished {
                    outcome,
                    dispatched,
                };
                caller.send(finished).is_ok()
            }
            Caller::End(caller) => caller.send(outcome.map(drop)).is_ok(),
        };
    }
}

/// The dispatcher's share for one function, or one version of it.
#[derive(Debug)]
pub(super) struct Lane {
    /// The function's, which other versions of it have, too.
    pub(super) name: Box<str>,
    pub(super) limits: Limits,
    instances: BTreeMap<InstanceId, Instance>,
    queue: Queue,
    running: HashMap<Uuid, Running>,
    /// When the instances that are not there are started.
    starts: HashMap<InstanceId, Instant>,
    failed_starts: u32,
    scaling: Scaling,
}

impl Lane {
    pub(super) fn new(name: &str, limits: Limits) -> Self {
        Self {
            name: name.into(),
            limits,
            instances: BTreeMap::new(),
            queue: Queue::default(),
            running: HashMap::new(),
            starts: HashMap::new(),
            failed_starts: 0,
            scaling: Scaling::new(limits.instances),
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.running.len()
    }

    pub(super) fn instance(&self, id: InstanceId) -> Option<(Phase, usize)> {
        let instance = self.instances.get(&id)?;
        let phase = if instance.retired {
            Phase::Draining
        } else {
            instance.phase
        };
        Some((phase, instance.running))
    }

    /// Why an event of so many bytes could not wait here.
    pub(super) fn refusal(&self, bytes: usize, now: Instant) -> Option<Failure> {
        if self.is_hopeless(now + self.limits.queue_wait) {
            Some(Failure::NoInstance)
        } else if self.queue.is_full(bytes, &self.limits) {
            Some(Failure::QueueFull)
        } else {
            None
        }
    }

    /// Whether a call could start at once, before none that waits.
    pub(super) fn is_free(&self) -> bool {
        self.queue.is_empty() && self.has_poll()
    }

    /// Since when the first call has waited, if a poll is there for it.
    pub(super) fn first_since(&self) -> Option<Instant> {
        self.queue.first_since().filter(|_| self.has_poll())
    }

    pub(super) fn enqueue(&mut self, waiting: Waiting, now: Instant) {
        self.queue.push(waiting, now);
    }

    /// Sends the first call that still waits to an instance.
    pub(super) fn start_first(&mut self, dispatch: u64, now: Instant) {
        self.shed(now);
        if let Some(first) = self.queue.pop()
            && let Some(first) = self.start(first, dispatch, now)
        {
            self.queue.push_first(first, now);
        }
    }

    /// Sends a call to the least loaded instance with a parked poll; gives it back if none has one. A
    /// call that may not begin any more fails.
    pub(super) fn start(
        &mut self,
        waiting: Waiting,
        dispatch: u64,
        now: Instant,
    ) -> Option<Waiting> {
        if waiting.call.has_lost_its_lease(now) {
            waiting.fail(Failure::LeaseLost);
            return None;
        }
        let id = waiting.call.id;
        let deadline = now + self.limits.timeout;
        let mut delivery = Delivery {
            call: waiting.call,
            dispatch,
            deadline,
        };
        while let Some((instance, poll)) = self.take_poll() {
            let Err(returned) = poll.sender.send(delivery) else {
                let running = Running {
                    instance,
                    dispatch,
                    submitted: waiting.since,
                    dispatched: now,
                    deadline,
                    caller: Caller::Answer(waiting.finished),
                };
                self.running.insert(id, running);
                if let Some(instance) = self.instances.get_mut(&instance) {
                    instance.running += 1;
                }
                return None;
            };
            delivery = returned;
        }
        Some(Waiting {
            call: delivery.call,
            ..waiting
        })
    }

    /// Ends the waits that have lasted too long.
    pub(super) fn shed(&mut self, now: Instant) {
        let served = self.is_served();
        self.queue.shed(&self.limits, served, now);
    }

    /// Gives up the calls that have run too long; the instances that are stuck, once each.
    pub(super) fn time_out(&mut self, now: Instant) -> Vec<InstanceId> {
        let failure = Failure::TimedOut(self.limits.timeout);
        let overdue: Vec<_> = self
            .running
            .extract_if(|_, running| running.deadline <= now)
            .collect();
        for (id, running) in overdue {
            if let Some(instance) = self.instances.get_mut(&running.instance) {
                instance.overran(id, now);
            }
            running.end(Err(failure.clone()));
        }
        self.take_stuck(now)
    }

    /// A call that takes too long says little about an instance that answers others meanwhile,
    /// and everything about one that has been silent for as long as a call may take. It gets no
    /// further call.
    fn take_stuck(&mut self, now: Instant) -> Vec<InstanceId> {
        let mut stuck = Vec::new();
        for (id, instance) in &mut self.instances {
            if instance.has_overrun && now.duration_since(instance.heard) >= self.limits.timeout {
                instance.has_overrun = false;
                instance.polls.clear();
                stuck.push(*id);
            }
        }
        stuck
    }

    /// Drops a waiting call. True if the call is running.
    pub(super) fn abandon(&mut self, id: Uuid) -> bool {
        !self.queue.remove(id) && self.running.contains_key(&id)
    }

    pub(super) fn add(&mut self, id: InstanceId, now: Instant) {
        self.instances.insert(id, Instance::starting(now));
        self.starts.remove(&id);
    }

    pub(super) fn remove(&mut self, id: InstanceId, failure: &Failure) {
        self.instances.remove(&id);
        for (_, lost) in self.running.extract_if(|_, running| running.instance == id) {
            lost.end(Err(failure.clone()));
        }
    }

    /// An instance has failed; `next` is started at `at`.
    pub(super) fn restarts_at(&mut self, next: InstanceId, at: Instant) {
        self.starts.insert(next, at);
        self.failed_starts += 1;
        let mut queue = take(&mut self.queue);
        queue.fail(&Failure::NoInstance, |since| {
            self.is_hopeless(since + self.limits.queue_wait)
        });
        self.queue = queue;
    }

    pub(super) fn park(
        &mut self,
        id: InstanceId,
        number: u64,
        now: Instant,
    ) -> Result<oneshot::Receiver<Delivery>, Refusal> {
        let instance = self.instances.get_mut(&id).ok_or(Refusal::Unknown)?;
        if instance.retired {
            return Err(Refusal::Unknown);
        }
        if self.limits.sequential && instance.running > 0 {
            return Err(Refusal::Busy);
        }
        instance.is_heard(now);
        if instance.phase == Phase::Starting {
            instance.phase = Phase::Ready;
            self.scaling
                .started(now.duration_since(instance.idle_since));
            instance.idle_since = now;
            self.failed_starts = 0;
            self.queue.is_served_from(now);
        }
        let (sender, receiver) = oneshot::channel();
        instance.polls.push(Poll { number, sender });
        Ok(receiver)
    }

    pub(super) fn unpark(
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
            instance.ended_a_call(now);
        }
        // What has not been seen has not been answered either.
        let Caller::Answer(finished) = running.caller else {
            return;
        };
        let waiting = Waiting {
            call: delivery.call,
            finished,
            since: running.submitted,
        };
        self.queue.push_first(waiting, now);
    }

    pub(super) fn answer(
        &mut self,
        instance: InstanceId,
        id: Uuid,
        dispatch: Option<u64>,
        outcome: Outcome,
        now: Instant,
    ) -> Result<(), Refusal> {
        let running = self.running(instance, id, dispatch, now)?.remove();
        self.scaling
            .answered(now.duration_since(running.dispatched));
        if let Some(instance) = self.instances.get_mut(&instance) {
            instance.ended_a_call(now);
        }
        running.end(outcome);
        Ok(())
    }

    /// The answer begins, and its caller gets the rest from `answer`; the call runs on. `end` is told
    /// how it ends.
    pub(super) fn begin(
        &mut self,
        instance: InstanceId,
        id: Uuid,
        dispatch: Option<u64>,
        (answer, end): (Stream, oneshot::Sender<End>),
        now: Instant,
    ) -> Result<(), Refusal> {
        let mut entry = self.running(instance, id, dispatch, now)?;
        let running = entry.get_mut();
        if matches!(running.caller, Caller::End(_)) {
            return Err(Refusal::Unknown);
        }
        let caller = replace(&mut running.caller, Caller::End(end));
        if let Caller::Answer(caller) = caller {
            let dispatched = Some(running.dispatched);
            let outcome = Ok(Answer::Stream(answer));
            let _caller_is_gone = caller.send(Finished {
                outcome,
                dispatched,
            });
        }
        Ok(())
    }

    /// The running call that an instance speaks of.
    fn running(
        &mut self,
        instance: InstanceId,
        id: Uuid,
        dispatch: Option<u64>,
        now: Instant,
    ) -> Result<OccupiedEntry<'_, Uuid, Running>, Refusal> {
        let mut known = self.instances.get_mut(&instance);
        if let Some(known) = &mut known {
            known.is_heard(now);
        }
        let Entry::Occupied(entry) = self.running.entry(id) else {
            let expired = known.is_some_and(|it| it.take_expired(id));
            return Err(if expired {
                Refusal::Expired
            } else {
                Refusal::Unknown
            });
        };
        let running = entry.get();
        let stale = dispatch.is_some_and(|number| number != running.dispatch);
        if stale || running.instance != instance {
            Err(Refusal::Unknown)
        } else {
            Ok(entry)
        }
    }

    pub(super) fn bounds(&mut self) -> &mut Bounds {
        &mut self.scaling.bounds
    }

    /// Ready instances, and starts that have failed since the last that did not.
    pub(super) fn starts(&self) -> (usize, u32) {
        (self.ready().count(), self.failed_starts)
    }

    /// How many instances to start, given how many there are, and how busy the host is.
    pub(super) fn to_start(&self, instances: usize, host_cpu: u32) -> Starts {
        // What waits while a poll is parked waits for the host's budget.
        let queued = if self.has_poll() { 0 } else { self.queued() };
        let ready = self.ready().count();
        let starting = instances.saturating_sub(ready);
        self.scaling.to_start(queued, ready, starting, host_cpu)
    }

    /// Takes instances that have been idle for too long out of service.
    pub(super) fn retire_idle(&mut self, instances: usize, now: Instant) -> Vec<InstanceId> {
        let idle: Vec<_> = self
            .ready()
            .filter(|(_, instance)| instance.running == 0)
            .map(|(id, instance)| (*id, now.duration_since(instance.idle_since)))
            .collect();
        let retired = self.scaling.stop_idle(instances, idle.into_iter(), now);
        for id in &retired {
            self.retire(*id);
        }
        retired
    }

    /// Takes an instance out of service.
    pub(super) fn retire(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.retired = true;
            instance.polls.clear();
        }
    }

    fn ready(&self) -> impl Iterator<Item = (&InstanceId, &Instance)> {
        let instances = self.instances.iter();
        instances.filter(|(_, it)| it.phase == Phase::Ready && !it.retired)
    }

    /// Whether it is known that no instance will take a call before `until`.
    fn is_hopeless(&self, until: Instant) -> bool {
        if self.is_served() {
            return false;
        }
        let next = self.starts.values().min();
        let too_late = self.instances.is_empty() && next.is_some_and(|next| *next > until);
        too_late || self.failed_starts >= FAILED_STARTS_MAX
    }

    fn is_served(&self) -> bool {
        self.ready().next().is_some()
    }

    fn has_poll(&self) -> bool {
        self.instances.values().any(|it| !it.polls.is_empty())
    }

    /// The most recent poll, whose connection and worker are the warmest, of the first instance that
    /// has room to spare, so that those not needed stay idle; else of the least loaded one.
    fn take_poll(&mut self) -> Option<(InstanceId, Poll)> {
        let filled = self.scaling.bounds.filled_first();
        let parked = self
            .instances
            .iter_mut()
            .filter(|(_, instance)| !instance.polls.is_empty());
        let (id, instance) = parked.min_by_key(|(_, it)| it.running.saturating_sub(filled))?;
        Some((*id, instance.polls.pop()?))
    }
}
