//! A request has one effect, one journal and one event, or none of them.

use std::collections::{HashMap, HashSet};

use super::{Evidence, Violation};
use crate::history::Told;

const CHECK: &str = "uniqueness";

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    [effects(evidence), payments(evidence), strangers(evidence)].concat()
}

/// Each key that was told of success has caused one event, and no other key any.
fn effects(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut events: HashMap<(&str, &str), u32> = HashMap::new();
    for event in evidence.store.events.values() {
        if let Some((key_id, key)) = &event.request {
            *events.entry((key_id, key)).or_default() += 1;
        }
    }
    let mut violations = Vec::new();
    for request in evidence.requests {
        let Some(key) = request.key.filter(|_| request.is_stored()) else {
            continue;
        };
        let expected = u32::from(matches!(request.told(), Some(Told::Payment(_))));
        let told = events.remove(&(request.caller.key_id(), key)).unwrap_or(0);
        if told != expected {
            let what = format!("{:?} with key {key} caused {told} events", request.action);
            violations.push(Violation {
                check: CHECK,
                payment: Some(request.payment),
                what,
            });
        }
    }
    let unasked = events.keys().map(|(_, key)| Violation {
        check: CHECK,
        payment: None,
        what: format!("an event was caused with key {key}, which was never told of success"),
    });
    violations.extend(unasked);
    violations
}

/// Journals and events of a payment have the numbers from 1 to its version.
fn payments(evidence: &Evidence<'_>) -> Vec<Violation> {
    let numbers = evidence.plan.operations.iter();
    let numbers: HashMap<&str, u32> = numbers
        .map(|operation| (operation.order_id.as_str(), operation.payment))
        .collect();
    let mut events: HashMap<&str, Vec<u64>> = HashMap::new();
    for (payment_id, seq) in evidence.store.events.keys() {
        events.entry(payment_id).or_default().push(*seq);
    }
    let none = Vec::new();
    let mut violations = Vec::new();
    for (payment_id, row) in &evidence.store.payments {
        let payment = numbers.get(row.order_id.as_str()).copied();
        let expected: Vec<u64> = (1..=row.shown.version).collect();
        let events = events.remove(payment_id.as_str()).unwrap_or_default();
        let journals = evidence.store.journals.get(payment_id).unwrap_or(&none);
        for (kind, found) in [("events", &events), ("journals", journals)] {
            if *found != expected {
                let what = format!("{payment_id} has {kind} {found:?}, not {expected:?}");
                violations.push(Violation {
                    check: CHECK,
                    payment,
                    what,
                });
            }
        }
        if payment.is_none() {
            let what = format!("{payment_id} is of an order that was never authorized");
            violations.push(Violation {
                check: CHECK,
                payment,
                what,
            });
        }
    }
    let lone = events.keys().map(|payment_id| Violation {
        check: CHECK,
        payment: None,
        what: format!("events of {payment_id}, which does not exist"),
    });
    violations.extend(lone);
    violations
}

/// Replies are stored for keys that were sent, and for no others.
fn strangers(evidence: &Evidence<'_>) -> Vec<Violation> {
    let sent = evidence.requests.iter();
    let sent: HashSet<(&str, &str)> = sent
        .filter_map(|request| Some((request.caller.merchant_id(), request.key?)))
        .collect();
    let stored = evidence.store.replies.keys();
    stored
        .filter(|(merchant, key)| !sent.contains(&(merchant.as_str(), key.as_str())))
        .map(|(merchant, key)| Violation {
            check: CHECK,
            payment: None,
            what: format!("a reply is stored for key {key} of {merchant}, which was never sent"),
        })
        .collect()
}
