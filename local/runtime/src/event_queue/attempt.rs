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
use crate::manifest::Asynchronous;
use crate::trace::Trace;

/// Pause before the disk is tried again.
const DISK_AGAIN: Duration = Duration::from_secs(1);
/// Pause before a record without room is tried again.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

/// When an event runs again; nothing if it is over.
type Again = Option<(SystemTime, Entry)>;

/// An event that is over.
struct Over {
    condition: Condition,
    payload: Bytes,
    response: Option<Response>,
}

/// Has the event's function run.
pub(super) async fn attempt(queue: Arc<EventQueue>, entry: Entry) -> Ended {
    let function = entry.event.function.clone();
    let again = match queue.fleet.get(&function) {
        Some(deployment) => queue.run(&deployment, entry).await,
        None => queue.wait_for_function(entry).await,
    };
    Ended { function, again }
}

impl EventQueue {
    async fn run(&self, deployment: &Deployment, mut entry: Entry) -> Again {
        let policy = deployment.asynchronous();
        let payload = match entry.payload.take() {
            Some(payload) => Ok(payload),
            None => self.writer().await.payload(entry.key).await,
        };
        let Ok(payload) = payload else {
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

    /// Removes an event that is over; in the same transaction its record becomes an event of the
    /// destination.
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
        if let Some(function) = destination {
            let (change, record) = self.delivery(function.as_ref(), &entry, over).await;
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

    /// The record of an event that is over, for `function`, as soon as there is room for it.
    async fn delivery(&self, function: &str, over_event: &Entry, over: Over) -> (Change, Entry) {
        let now = SystemTime::now();
        let Over {
            condition,
            payload,
            response,
        } = over;
        let event = &over_event.event;
        let payload = record(event, &payload, condition, response.as_ref(), now);
        drop(response);
        let place = self.room_for(function, payload.len(), over_event).await;
        let event = Event {
            function: function.to_owned(),
            id: new_id(),
            trace: event.trace.clone(),
            tenant: event.tenant.clone(),
            bytes: payload.len(),
            progress: Progress::new(now),
        };
        self.entry(event, payload, place)
    }

    /// Waits for the place of a record of so many bytes that replaces `event`.
    async fn room_for(&self, function: &str, bytes: usize, event: &Entry) -> Place {
        let mut told = false;
        loop {
            let destination = self.fleet.get(function);
            let records = destination.map_or(0, |it| it.records_after());
            let place = self
                .room
                .place_instead_of(&event.place, function, bytes, records);
            if let Some(place) = place {
                return place;
            }
            if !told {
                let id = event.event.id;
                tracing::warn!(function, %id, "the record of an event waits for room");
                told = true;
            }
            sleep(ROOM_AGAIN).await;
        }
    }

    /// The manifest does not have the function, but another one may.
    async fn wait_for_function(&self, mut entry: Entry) -> Again {
        let policy = Asynchronous::default();
        let progress = &mut entry.event.progress;
        match progress.after(Attempt::Throttled, &policy, SystemTime::now()) {
            Next::At(at) => Some((at, entry)),
            Next::Over(_) => {
                let name = &entry.event.function;
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
