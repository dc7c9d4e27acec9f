//! Decides which instance takes which call, and when a call waits or is refused.
//!
//! One [`Dispatcher`] for all functions. It does no input or output and reads no clock, so every
//! decision can be tested: calls and polls meet here, each waiting on its own channel.

mod budget;
mod instance;
mod lane;
mod queue;
mod scaling;

use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::oneshot;
use uuid::Uuid;

use self::budget::Budget;
use self::lane::Lane;
use self::queue::Waiting;
pub(crate) use self::scaling::{Bounds, Starts};
use crate::answer::{End, Stream};
use crate::call::{Call, Failure, Finished, Outcome};
use crate::cluster::Shares;
use crate::manifest::Priority;

/// Number of a function, or of one version of it where there are several.
pub(crate) type FunctionId = usize;

/// Number of an instance, unique within its function.
pub(crate) type InstanceId = u64;

/// The bounds of one function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How urgent its calls are.
    pub(crate) priority: Priority,
    /// Most calls that wait.
    pub(crate) queue_max: usize,
    /// Longest wait for an instance.
    pub(crate) queue_wait: Duration,
    /// Longest wait while the queue stands.
    pub(crate) queue_target: Duration,
    /// Longest run of a call, from its dispatch.
    pub(crate) timeout: Duration,
    /// Whether an instance takes one call at a time.
    pub(crate) sequential: bool,
    /// Most calls that wait or run, in all versions of the function together.
    pub(crate) reserved: Option<usize>,
    /// How many instances there are.
    pub(crate) instances: Bounds,
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
    /// It gets no further call, and ends with those it has.
    Draining,
}

/// Instances, parked polls, waiting and running calls of every function.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    open: bool,
    budget: Budget,
    /// What this host has of what is reserved, if there are others.
    shares: Option<Shares>,
    host_cpu: u32,
    lanes: Slab<Lane>,
    counter: u64,
}

impl Dispatcher {
    /// A dispatcher without functions, which runs at most `in_flight_max` calls at once.
    pub(crate) fn new(in_flight_max: Option<usize>) -> Self {
        Self {
            open: true,
            budget: Budget::new(in_flight_max),
            shares: None,
            host_cpu: 0,
            lanes: Slab::new(),
            counter: 0,
        }
    }

    /// Adds a function without instances; those of the same name are versions of one.
    pub(crate) fn register(&mut self, name: &str, limits: Limits) -> FunctionId {
        self.lanes.insert(Lane::new(name, limits))
    }

    /// Takes a function out whose number nobody will use again; its calls end with it.
    pub(crate) fn unregister(&mut self, function: FunctionId) {
        self.lanes.remove(function);
    }

    /// Changes how many calls run at once over all functions.
    pub(crate) fn set_in_flight_max(&mut self, in_flight_max: Option<usize>) {
        self.budget = Budget::new(in_flight_max);
    }

    /// Changes what this host has of what is reserved for the functions.
    pub(crate) fn set_shares(&mut self, shares: Shares) {
        self.shares = Some(shares);
    }

    /// Most calls of a function that wait or run on this host.
    pub(crate) fn reserved(&self, function: FunctionId) -> Option<usize> {
        let all = self.lanes[function].limits.reserved?;
        Some(self.shares.as_ref().map_or(all, |shares| shares.of(all)))
    }

    /// Notes how busy the host's processors are, in percent.
    pub(crate) fn set_host_cpu(&mut self, busy: u32) {
        self.host_cpu = busy;
    }

    /// Refuses every further call; those waiting or running go on.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// Why a call with an event of so many bytes would be refused now.
    pub(crate) fn refusal(
        &self,
        function: FunctionId,
        bytes: usize,
        now: Instant,
    ) -> Option<Failure> {
        if !self.open {
            Some(Failure::Draining)
        } else if self.is_reserved_for_others(function) {
            Some(Failure::Reserved)
        } else if self.is_free(function) {
            None
        } else {
            self.lanes[function].refusal(bytes, now)
        }
    }

    /// Hands a call to a parked poll, or queues it; the receiver gets its outcome.
    ///
    /// # Errors
    /// [`Failure::Draining`] after [`Dispatcher::close`], [`Failure::Reserved`],
    /// [`Failure::QueueFull`], [`Failure::NoInstance`].
    pub(crate) fn submit(
        &mut self,
        function: FunctionId,
        call: Call,
        now: Instant,
    ) -> Result<oneshot::Receiver<Finished>, Failure> {
        if let Some(failure) = self.refusal(function, call.payload.len(), now) {
            return Err(failure);
        }
        let free = self.is_free(function);
        let dispatch = self.next_number();
        let lane = &mut self.lanes[function];
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting {
            call,
            finished: sender,
            since: now,
        };
        let waiting = if free {
            lane.start(waiting, dispatch, now)
        } else {
            Some(waiting)
        };
        if let Some(waiting) = waiting {
            lane.enqueue(waiting, now);
        }
        Ok(receiver)
    }

    /// Ends the waits and runs that have lasted too long, which nothing else would end; the
    /// instances that are stuck: a call of theirs has timed out, and nothing has come from them,
    /// neither an answer nor a poll, for as long as a call may take.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<(FunctionId, InstanceId)> {
        let mut stuck = Vec::new();
        for (function, lane) in &mut self.lanes {
            lane.shed(now);
            let instances = lane.time_out(now).into_iter();
            stuck.extend(instances.map(|instance| (function, instance)));
        }
        self.start_waiting(now);
        stuck
    }

    /// The caller is gone: a waiting call is dropped. True if the call is running.
    pub(crate) fn abandon(&mut self, function: FunctionId, id: Uuid) -> bool {
        self.lanes[function].abandon(id)
    }

    /// Adds an instance that has not polled yet.
    pub(crate) fn add(&mut self, function: FunctionId, id: InstanceId, now: Instant) {
        self.lanes[function].add(id, now);
    }

    /// Takes an instance out, and fails every call it was running.
    pub(crate) fn remove(
        &mut self,
        function: FunctionId,
        id: InstanceId,
        failure: &Failure,
        now: Instant,
    ) {
        self.lanes[function].remove(id, failure);
        self.start_waiting(now);
    }

    /// An instance has failed, and `next` is started at `at`: calls that cannot be served by then
    /// fail now. A later word about the same instance replaces the earlier.
    pub(crate) fn restarts_at(&mut self, function: FunctionId, next: InstanceId, at: Instant) {
        self.lanes[function].restarts_at(next, at);
    }

    /// An instance asks for a call. The number names the poll for [`Dispatcher::unpark`].
    ///
    /// # Errors
    /// [`Refusal::Busy`]; [`Refusal::Unknown`] if the instance has been removed.
    pub(crate) fn park(
        &mut self,
        function: FunctionId,
        id: InstanceId,
        now: Instant,
    ) -> Result<(u64, oneshot::Receiver<Delivery>), Refusal> {
        let number = self.next_number();
        let receiver = self.lanes[function].park(id, number, now)?;
        self.start_waiting(now);
        Ok((number, receiver))
    }

    /// A poll's connection is gone; a call sent to it but never seen by it is handed out again.
    pub(crate) fn unpark(
        &mut self,
        function: FunctionId,
        id: InstanceId,
        number: u64,
        unseen: Option<Delivery>,
        now: Instant,
    ) {
        self.lanes[function].unpark(id, number, unseen, now);
        self.start_waiting(now);
    }

    /// Takes an instance's answer. `dispatch` is the invocation id, if the client repeats it.
    ///
    /// # Errors
    /// [`Refusal::Expired`] after the timeout; [`Refusal::Unknown`] for a second answer, another
    /// instance's call or an earlier dispatch.
    pub(crate) fn answer(
        &mut self,
        function: FunctionId,
        instance: InstanceId,
        id: Uuid,
        dispatch: Option<u64>,
        outcome: Outcome,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.lanes[function].answer(instance, id, dispatch, outcome, now)?;
        self.start_waiting(now);
        Ok(())
    }

    /// An instance begins to answer with a stream, which its caller reads; the call runs on until
    /// [`Dispatcher::answer`], whose outcome says how the stream ends. So does whatever else ends it:
    /// `end` is told.
    ///
    /// # Errors
    /// As [`Dispatcher::answer`].
    pub(crate) fn begin(
        &mut self,
        function: FunctionId,
        instance: InstanceId,
        id: Uuid,
        dispatch: Option<u64>,
        answer: (Stream, oneshot::Sender<End>),
        now: Instant,
    ) -> Result<(), Refusal> {
        self.lanes[function].begin(instance, id, dispatch, answer, now)
    }

    /// The bounds of a function's instances, which may be changed.
    pub(crate) fn bounds(&mut self, function: FunctionId) -> &mut Bounds {
        self.lanes[function].bounds()
    }

    /// How many instances of a function to start, given how many there are with those that have not
    /// polled yet or wait to be started again.
    pub(crate) fn to_start(&self, function: FunctionId, instances: usize) -> Starts {
        if self.open {
            self.lanes[function].to_start(instances, self.host_cpu)
        } else {
            Starts::default()
        }
    }

    /// Takes an instance out of service: it gets no further call.
    pub(crate) fn retire(&mut self, function: FunctionId, id: InstanceId) {
        self.lanes[function].retire(id);
    }

    /// Takes the instances out of service that have been idle for too long; they may be stopped.
    pub(crate) fn retire_idle(
        &mut self,
        function: FunctionId,
        instances: usize,
        now: Instant,
    ) -> Vec<InstanceId> {
        self.lanes[function].retire_idle(instances, now)
    }

    /// Calls of a function that are waiting.
    pub(crate) fn queued(&self, function: FunctionId) -> usize {
        self.lanes[function].queued()
    }

    /// Calls of a function that are running.
    pub(crate) fn running(&self, function: FunctionId) -> usize {
        self.lanes[function].in_flight()
    }

    /// Calls that wait or run in all versions of a function.
    pub(crate) fn calls(&self, function: FunctionId) -> usize {
        let name = &self.lanes[function].name;
        let versions = self.lanes.iter().filter(|(_, lane)| lane.name == *name);
        versions
            .map(|(_, lane)| lane.queued() + lane.in_flight())
            .sum()
    }

    /// Instances of a function that are ready, and starts that have failed since the last that did
    /// not.
    pub(crate) fn starts(&self, function: FunctionId) -> (usize, u32) {
        self.lanes[function].starts()
    }

    /// Phase and running calls of an instance.
    pub(crate) fn instance(&self, function: FunctionId, id: InstanceId) -> Option<(Phase, usize)> {
        self.lanes[function].instance(id)
    }

    /// Whether a call of this function could start at once.
    fn is_free(&self, function: FunctionId) -> bool {
        let lane = &self.lanes[function];
        lane.is_free() && self.admits(lane.limits.priority)
    }

    /// Whether as many calls wait and run as the function may have.
    fn is_reserved_for_others(&self, function: FunctionId) -> bool {
        let reserved = self.reserved(function);
        reserved.is_some_and(|most| self.calls(function) >= most)
    }

    fn admits(&self, priority: Priority) -> bool {
        let mut running = budget::Running::default();
        for (_, lane) in &self.lanes {
            running[lane.limits.priority as usize] += lane.in_flight();
        }
        self.budget.admits(priority, &running)
    }

    /// Starts the waiting calls that can, the most urgent first.
    fn start_waiting(&mut self, now: Instant) {
        for priority in Priority::MOST_URGENT_FIRST {
            while let Some(function) = self.longest_waiting(priority)
                && self.admits(priority)
            {
                let dispatch = self.next_number();
                self.lanes[function].start_first(dispatch, now);
            }
        }
    }

    /// Of the functions with a call and a poll for it, the one whose call has waited longest.
    fn longest_waiting(&self, priority: Priority) -> Option<FunctionId> {
        let lanes = self.lanes.iter();
        let of_priority = lanes.filter(|(_, lane)| lane.limits.priority == priority);
        let waiting =
            of_priority.filter_map(|(function, lane)| Some((lane.first_since()?, function)));
        waiting.min().map(|(_, function)| function)
    }

    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

#[cfg(test)]
mod tests;
