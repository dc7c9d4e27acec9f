//! The two who meet in the dispatcher: a call that waits for an answer, and a poll for a call.

use std::mem::replace;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::Function;
use crate::call::{Failure, Finished, Outcome};
use crate::dispatch::{Delivery, InstanceId};

/// The caller's side of a call that waits or runs.
pub(super) struct Waiting {
    pub(super) function: Arc<Function>,
    pub(super) id: Uuid,
    pub(super) submitted: Instant,
    pub(super) finished: oneshot::Receiver<Finished>,
    /// Nobody need take over when this is dropped.
    pub(super) watched: bool,
}

impl Waiting {
    pub(super) async fn outcome(mut self) -> Outcome {
        let received = (&mut self.finished).await;
        self.watched = true;
        // The sender is dropped unsent only together with the whole dispatcher.
        let finished = received.unwrap_or(Finished {
            outcome: Err(Failure::Draining),
            dispatched: None,
        });
        self.function.metrics.finished(&finished, self.submitted);
        if finished.dispatched.is_some() {
            self.function.tally.ended(finished.outcome.is_err());
        }
        finished.outcome
    }
}

impl Drop for Waiting {
    /// A running call outlives its caller, and is still counted.
    fn drop(&mut self) {
        if self.watched
            || !self
                .function
                .dispatcher()
                .abandon(self.function.id, self.id)
        {
            return;
        }
        let (_, nothing) = oneshot::channel();
        let orphan = Self {
            function: Arc::clone(&self.function),
            id: self.id,
            submitted: self.submitted,
            finished: replace(&mut self.finished, nothing),
            watched: true,
        };
        tokio::spawn(orphan.outcome());
    }
}

/// A parked poll: resolves to the call, and leaves the dispatcher when dropped.
pub(crate) struct Parked {
    pub(super) function: Arc<Function>,
    pub(super) instance: InstanceId,
    pub(super) number: u64,
    pub(super) delivery: oneshot::Receiver<Delivery>,
    pub(super) over: bool,
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
            self.function.dispatcher().unpark(
                self.function.id,
                self.instance,
                self.number,
                unseen,
                now,
            );
        }
    }
}
