//! Whether what clients of one payment were told could have come from the model, each request
//! taking effect at one moment between its first send and its first answer.
//!
//! Source: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with Lowe's memory of
//! configurations seen.

use std::collections::{HashMap, HashSet};

use stack::Component;

use super::{Evidence, Request, Violation};
use crate::{
    history::Told,
    model::State,
    plan::{Action, Caller, Fault, Kind},
};

const CHECK: &str = "linearizability";
/// How much later than planned a fault may begin and end, in milliseconds.
const INJECTED_WITHIN_MS: u64 = 2_000;
/// Configurations looked at per payment.
const CONFIGURATIONS_MAX: usize = 200_000;
/// Requests of one payment; a configuration is a bit for each.
const REQUESTS_MAX: usize = 64;

/// What the search says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    NotLinearizable,
    /// The bound was met first.
    Undecided,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut histories: HashMap<u32, Vec<Request<'_>>> = HashMap::new();
    let mut ids: HashMap<u32, &str> = HashMap::new();
    for request in evidence.requests {
        if !may_be_early(&evidence.plan.faults, request) {
            let history = histories.entry(request.payment).or_default();
            history.push(request.clone());
        }
        let id = request
            .answers
            .iter()
            .find_map(|answer| answer.payment_id.as_deref());
        if let Some(id) = id {
            ids.insert(request.payment, id);
        }
    }
    let mut violations = Vec::new();
    for (payment, history) in histories {
        let row = ids
            .get(&payment)
            .and_then(|id| evidence.store.payments.get(*id));
        let last = row.map(|row| Told::Payment(row.shown.clone()));
        let what = match verdict(&history, last.as_ref()) {
            Verdict::Linearizable => continue,
            Verdict::NotLinearizable => "no order of the requests explains their answers",
            Verdict::Undecided => "the search was given up",
        };
        let what = what.to_owned();
        violations.push(Violation {
            check: CHECK,
            payment: Some(payment),
            what,
        });
    }
    violations
}

/// Whether a look may have been shown what a crash of the database then took back: a commit is visible
/// a moment before its log is on the disk, or for as long as the disk takes no write, and a `GET` does
/// not wait for it (docs/architecture.md).
fn may_be_early(faults: &[Fault], request: &Request<'_>) -> bool {
    let crashes = |fault: &&Fault| {
        let kind = fault.kind;
        matches!(
            kind,
            Kind::Kill(Component::Mariadb) | Kind::StallDiskAndKill
        )
    };
    let begins_ms = request.begins_us / 1_000;
    let ends_ms = request.settled_us.map_or(begins_ms, |us| us / 1_000);
    let meets = |fault: &Fault| {
        let until_ms = fault.at_ms + fault.lasts_ms + INJECTED_WITHIN_MS;
        begins_ms <= until_ms && ends_ms >= fault.at_ms
    };
    request.action == Action::Read && faults.iter().filter(crashes).any(meets)
}

/// Searches an order of `history` after which the payment stands as in `last`.
#[must_use]
pub fn verdict(history: &[Request<'_>], last: Option<&Told>) -> Verdict {
    // A look without an answer tells nothing and changes nothing.
    let matters =
        |request: &&Request<'_>| request.settled_us.is_some() || request.action != Action::Read;
    let history: Vec<&Request<'_>> = history.iter().filter(matters).collect();
    if history.len() > REQUESTS_MAX {
        return Verdict::Undecided;
    }
    let settled = history
        .iter()
        .enumerate()
        .filter(|(_, it)| it.settled_us.is_some());
    let settled = settled.fold(0, |all, (place, _)| all | bit(place));
    let mut seen = HashSet::new();
    let mut open = vec![(0, State::default())];
    while let Some((done, state)) = open.pop() {
        if seen.len() >= CONFIGURATIONS_MAX {
            return Verdict::Undecided;
        }
        if !seen.insert((done, state.clone())) {
            continue;
        }
        if done & settled == settled && ends(&state, last) {
            return Verdict::Linearizable;
        }
        open.extend(state.expired().map(|state| (done, state)));
        open.extend(next(&history, done, &state));
    }
    Verdict::NotLinearizable
}

fn bit(place: usize) -> u64 {
    1 << place
}

/// Each request that may be the next to take effect, because none that is left was answered before
/// it was sent, and that is told what it was told.
fn next<'h>(
    history: &'h [&Request<'_>],
    done: u64,
    state: &'h State,
) -> impl Iterator<Item = (u64, State)> + use<'h> {
    let left = move || {
        let all = history.iter().enumerate();
        all.filter(move |(place, _)| done & bit(*place) == 0)
    };
    let horizon = left().filter_map(|(_, request)| request.settled_us).min();
    left().filter_map(move |(place, request)| {
        if horizon.is_some_and(|first| request.begins_us > first) {
            return None;
        }
        let (next, told) = state.after(request.caller, request.key, request.action);
        let same = request.told().is_none_or(|seen| *seen == told);
        same.then_some((done | bit(place), next))
    })
}

fn ends(state: &State, last: Option<&Told>) -> bool {
    let (_, told) = state.after(Caller::Ops, None, Action::Read);
    match last {
        Some(last) => told == *last,
        None => matches!(told, Told::Problem { .. }),
    }
}

#[cfg(test)]
mod tests;
