use std::collections::HashMap;

use crate::{
    history::{Answer, Attempt, Outcome, Told},
    plan::{Action, Caller},
};

/// Everything that was sent for one effect: the attempts that share payment, caller, key and
/// action, or a single look at a payment.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The operation of the plan that asked for it first.
    pub operation: u32,
    /// Which payment of the plan.
    pub payment: u32,
    /// Who sent it.
    pub caller: Caller,
    /// Its idempotency key.
    pub key: Option<&'a str>,
    /// What it asked for.
    pub action: Action,
    /// When it was first sent, in microseconds; it has no effect before.
    pub begins_us: u64,
    /// How many of its attempts ended without telling anything.
    pub unknown: usize,
    /// When an answer first settled it; its effect is not later.
    pub settled_us: Option<u64>,
    /// Every answer that settles it.
    pub answers: Vec<&'a Answer>,
}

impl Request<'_> {
    /// What it was told; `None` while that is not known.
    #[must_use]
    pub fn told(&self) -> Option<&Told> {
        self.answers.first()?.told.as_ref()
    }

    /// Whether its answer is kept under its key.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        let reused = matches!(
            self.told(),
            Some(Told::Problem { code, .. }) if code == "idempotency-key-reused"
        );
        self.key.is_some() && !reused
    }
}

/// Gathers attempts into requests, in the order of their first sends.
#[must_use]
pub fn requests(attempts: &[Attempt]) -> Vec<Request<'_>> {
    let mut places = HashMap::new();
    let mut requests: Vec<Request<'_>> = Vec::new();
    let mut sorted: Vec<&Attempt> = attempts.iter().collect();
    sorted.sort_by_key(|attempt| attempt.sent_us);
    for attempt in sorted {
        // Only a key makes two operations one effect.
        let alone = attempt.key.is_none().then_some(attempt.operation);
        let name = (
            attempt.payment,
            attempt.caller,
            attempt.key.as_deref(),
            attempt.action,
            alone,
        );
        let place = *places.entry(name).or_insert(requests.len());
        if place == requests.len() {
            requests.push(first(attempt));
        }
        let request = &mut requests[place];
        request.unknown += usize::from(attempt.outcome == Outcome::Unknown);
        if let Some(answer) = attempt.settled() {
            let ended = attempt.answered_us;
            request.settled_us = Some(request.settled_us.map_or(ended, |us| us.min(ended)));
            request.answers.push(answer);
        }
    }
    requests
}

fn first(attempt: &Attempt) -> Request<'_> {
    Request {
        operation: attempt.operation,
        payment: attempt.payment,
        caller: attempt.caller,
        key: attempt.key.as_deref(),
        action: attempt.action,
        begins_us: attempt.sent_us,
        unknown: 0,
        settled_us: None,
        answers: Vec::new(),
    }
}
