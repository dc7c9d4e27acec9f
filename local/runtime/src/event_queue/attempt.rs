//! One attempt to have a function answer an event, and what follows from it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::sleep;

use super::record::{Response, record};
use super::retry::{Attempt, Condition, Next, Progress};
use super::room::Place;
use super::runner::Ended;
use super::store::{Change, Event};
use super::writer::Unkept;
use super::{Entry, EventQueue};
use crate::call::{Call, Extras, Failure, new_id};
use crate::deployment::Deployment;
use crate::manifest::{Asynchronous, Destination};
use crate::trace::Trace;

/// Pause before the disk is tried again.
pub(super) const DISK_AGAIN: Duration = Duration::from_secs(1);
/// Pause before a record without room is tried again.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

/// When an event runs again; nothing if it is over.
pub(super) type Again = Option<(SystemTime, Entry)>;

/// An event that is over.
struct Over {
    condition: Condition,
    payload: Bytes,
    response: Option<Response>,
}

/// Has the event's function run, or the record written.
pub(super) async fn attempt(queue: Arc<EventQueue>, entry: Entry) -> Ended {
    let (recipient, bytes) = (entry.event.recipient.clone(), entry.event.bytes);
    let again = match &recipient {
        Destination::Topic(topic) => queue.deliver(topic, entry).await,
        Destination::Function(name) => match queue.fleet.get(name) {
            Some(deployment) => queue.run(&deployment, entry).await,
            None => queue.wait_for_function(name, entry).await,
        },
    };
    Ended {
        recipient,
        bytes,
        again,
    }
}

impl EventQueue {
    async fn run(&self, deployment: &Deployment, mut entry: Entry) -> Again {
        let policy = deployment.asynchronous();
        let Ok(payload) = self.payload(&mut entry).await else {
            return Some((SystemTime::now() + DISK_AGAIN, entry));
        };
        let mut response = None;
        let now = SystemTime::now();
        let next = if entry.event.progress.is_too_old(&policy, now) {
            Next::Over(Condition::EventAgeExceeded)
        } else {
            let age = entry.event.progress.age(now);
            deployment.current().metrics.event_age.record(age);
            let call = call(&entry.event, payload.clone());
            let outcome = deployment.invoke_whole(call).await;
            let attempt = attempted(&outcome);
            if attempt != Attempt::Throttled {
                response = Some(Response::of(&outcome, entry.event.id));
            }
            let progress = &mut entry.event.progress;
            progress.after(attempt, &policy, SystemTime::now())
        };
        match next {
            Next::At(at) => {
                if response.is_some() {
                    let update = Change::Update(entry.key, entry.event.clone());
                    // What is not noted is one more run after a restart.
                    let _logged = self.writer().await.commit(vec![update]).await;
                }
                Some((at, entry))
            }
            Next::Over(condition) => {
                let over = Over {
                    condition,
                    payload,
                    response,
                };
                self.end(deployment, &policy, entry, over).await;
                None
            }
        }
    }

    /// The payload of an entry, from the disk if it has waited.
    pub(super) async fn payload(&self, entry: &mut Entry) -> Result<Bytes, Unkept> {
        match entry.payload.take() {
            Some(payload) => Ok(payload),
            None => self.writer().await.payload(entry.key).await,
        }
    }

    /// Removes an event that is over; in the same transaction its record is kept for the destination.
    async fn end(&self, deployment: &Deployment, policy: &Asynchronous, entry: Entry, over: Over) {
        let metrics = &deployment.current().metrics;
        let succeeded = over.condition == Condition::Success;
        if !succeeded {
            metrics.events_dropped.increment(1);
            let id = entry.event.id;
            let (name, condition) = (&deployment.name, over.condition);
            tracing::warn!(function = name, %id, ?condition, "an event is given up");
        }
        let destination = if succeeded {
            &policy.on_success
        } else {
            &policy.on_failure
        };
        let mut changes = vec![Change::Remove(entry.key)];
        let mut delivered = None;
        if let Some(destination) = destination {
            let to = destination.as_ref();
            let (change, record) = self.delivery(&deployment.name, to, &entry, over).await;
            changes.push(change);
            delivered = Some(record);
        }
        // Ends with the runtime at the latest; then the event runs again.
        while let Err(Unkept) = self.writer().await.commit(changes.clone()).await {
            if delivered.is_some() {
                metrics.destination_failures.increment(1);
            }
            sleep(DISK_AGAIN).await;
        }
        if let Some(delivered) = delivered {
            self.enter(delivered);
        }
    }

    /// The record of an event of `function` that is over, as soon as there is room for it.
    async fn delivery(
        &self,
        function: &str,
        to: &Destination,
        entry: &Entry,
        over: Over,
    ) -> (Change, Entry) {
        let now = SystemTime::now();
        let Over {
            condition,
            payload,
            response,
        } = over;
        let event = &entry.event;
        let response = response.as_ref();
        let payload = record(function, event, &payload, condition, response, now);
        let place = self.room_for(to, payload.len(), entry).await;
        let (id, origin) = match to {
            Destination::Function(_) => (new_id(), None),
            Destination::Topic(_) => (event.id, Some(function.to_owned())),
        };
        let event = Event {
            recipient: to.clone(),
            origin,
            id,
            trace: event.trace.clone(),
            tenant: event.tenant.clone(),
            bytes: payload.len(),
            progress: Progress::new(now),
        };
        self.entry(event, payload, place)
    }

    /// Waits for the place of a record of so many bytes that replaces `event`.
    async fn room_for(&self, to: &Destination, bytes: usize, event: &Entry) -> Place {
        let mut told = false;
        loop {
            let records = match to {
                Destination::Function(name) => self.fleet.get(name),
                Destination::Topic(_) => None,
            };
            let records = records.map_or(0, |it| it.records_after());
            let place = self.room.place_instead_of(&event.place, to, bytes, records);
            if let Some(place) = place {
                return place;
            }
            if !told {
                let id = event.event.id;
                tracing::warn!(destination = %to, %id, "the record of an event waits for room");
                told = true;
            }
            sleep(ROOM_AGAIN).await;
        }
    }

    /// The manifest does not have the function, but another one may.
    async fn wait_for_function(&self, name: &str, mut entry: Entry) -> Again {
        let policy = Asynchronous::default();
        let progress = &mut entry.event.progress;
        match progress.after(Attempt::Throttled, &policy, SystemTime::now()) {
            Next::At(at) => Some((at, entry)),
            Next::Over(_) => {
                tracing::error!(function = name, "an event of no function is given up");
                let _logged = self
                    .writer()
                    .await
                    .commit(vec![Change::Remove(entry.key)])
                    .await;
                None
            }
        }
    }
}

fn call(event: &Event, payload: Bytes) -> Call {
    let trace = HeaderValue::from_str(&event.trace).unwrap_or_else(|_| Trace::new().xray());
    let tenant = event.tenant.as_deref();
    let extras = tenant.map(|tenant| Extras {
        tenant: HeaderValue::from_str(tenant).ok(),
        ..Extras::default()
    });
    Call {
        id: event.id,
        payload,
        trace,
        extras: extras.map(Box::new),
    }
}

fn attempted(outcome: &Result<Bytes, Failure>) -> Attempt {
    match outcome {
        Ok(_) => Attempt::Answered,
        Err(Failure::NoInstance) => Attempt::Throttled,
        Err(failure) if failure.is_throttle() => Attempt::Throttled,
        Err(_) => Attempt::Failed,
    }
}
