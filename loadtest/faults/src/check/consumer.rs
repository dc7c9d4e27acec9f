//! A consumer that ignores what it knows and waits at a gap arrives at what the database holds.

use std::collections::{BTreeMap, HashMap};

use super::{Evidence, Message, Violation};

const CHECK: &str = "consumers";

/// What a consumer knows of one payment.
#[derive(Default)]
struct Projection<'a> {
    seq: u64,
    last: Option<&'a Message>,
    /// Later changes that came first: the topics are read side by side.
    waiting: BTreeMap<u64, &'a Message>,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut projections: HashMap<&str, Projection<'_>> = HashMap::new();
    let mut violations = Vec::new();
    for message in evidence.messages {
        violations.extend(foreign(evidence, message));
        let projection = projections.entry(&message.key).or_default();
        violations.extend(projection.take(message));
    }
    for (payment_id, projection) in &projections {
        violations.extend(projection.unlike(evidence, payment_id));
    }
    for payment_id in evidence.store.payments.keys() {
        if !projections.contains_key(payment_id.as_str()) {
            violations.push(violation(format!("no event of {payment_id} is on a topic")));
        }
    }
    violations
}

/// A message that is not the event the database holds.
fn foreign(evidence: &Evidence<'_>, message: &Message) -> Option<Violation> {
    let event = evidence
        .store
        .events
        .get(&(message.key.clone(), message.seq));
    let same =
        event.is_some_and(|event| event.id == message.event_id && event.topic == message.topic);
    (!same).then(|| {
        violation(format!(
            "{} holds what no row tells: {}",
            message.topic, message.value
        ))
    })
}

impl<'a> Projection<'a> {
    /// Takes a message in; later changes never come before earlier ones on one topic, nor were they
    /// produced before.
    fn take(&mut self, message: &'a Message) -> Option<Violation> {
        if message.seq <= self.seq || self.waiting.contains_key(&message.seq) {
            return None;
        }
        let overtaken = self
            .waiting
            .values()
            .any(|later| later.topic == message.topic && later.seq > message.seq);
        self.waiting.insert(message.seq, message);
        while let Some(next) = self.waiting.remove(&(self.seq + 1)) {
            self.seq += 1;
            let before = self.last.replace(next);
            if before.is_some_and(|before| before.produced_ms > next.produced_ms) {
                return Some(violation(format!(
                    "seq {} of {} was produced too early",
                    next.seq, next.key
                )));
            }
        }
        overtaken.then(|| violation(format!("seq {} of {} came late", message.seq, message.key)))
    }

    fn unlike(&self, evidence: &Evidence<'_>, payment_id: &str) -> Option<Violation> {
        let row = evidence.store.payments.get(payment_id)?;
        let row = (
            row.shown.version,
            (
                row.shown.status.clone(),
                row.shown.captured,
                row.shown.refunded,
            ),
        );
        let last = self.last.map(|last| (self.seq, last.shown.clone()));
        let same = self.waiting.is_empty() && last.as_ref() == Some(&row);
        (!same).then(|| {
            let waiting: Vec<_> = self.waiting.keys().collect();
            violation(format!(
                "{payment_id} is {row:?}, consumers arrive at {last:?}, waiting {waiting:?}"
            ))
        })
    }
}

fn violation(what: String) -> Violation {
    Violation {
        check: CHECK,
        payment: None,
        what,
    }
}
