use super::*;
use crate::{
    check::store::{Event, Payment},
    history::{Answer, Attempt, BodyHash, Outcome, Phase, Shown},
    plan::{Action, Caller, Fault, Kind, Operation, Size},
};
use stack::Component;

const ID: &str = "pay_1";

/// One payment, authorized and captured, with nothing wrong.
struct Facts {
    plan: Plan,
    attempts: Vec<Attempt>,
    store: Store,
    messages: Vec<Message>,
}

fn shown(status: &str, captured: u64, version: u64) -> Shown {
    Shown {
        status: status.to_owned(),
        amount: 100,
        captured,
        refunded: 0,
        version,
    }
}

fn operation(number: u32, action: Action) -> Operation {
    Operation {
        operation: number,
        at_ms: 0,
        payment: 0,
        order_id: "order".to_owned(),
        caller: Caller::Demo,
        key: Some(format!("key-{number}")),
        action,
    }
}

fn attempt(operation: &Operation, sent_us: u64, shown: &Shown) -> Attempt {
    let body = serde_json::json!({
        "paymentId": ID,
        "status": shown.status,
        "amount": shown.amount,
        "capturedAmount": shown.captured,
        "refundedAmount": shown.refunded,
        "version": shown.version,
    });
    let answer = Answer::read(200, body.to_string().as_bytes(), false);
    Attempt {
        sent_us,
        answered_us: sent_us + 1,
        operation: operation.operation,
        payment: 0,
        payment_id: Some(ID.to_owned()),
        caller: operation.caller,
        key: operation.key.clone(),
        action: operation.action,
        request: BodyHash::of(b""),
        phase: Phase::Run,
        outcome: answer.outcome(),
        answer: Some(answer),
        cause: None,
    }
}

fn event(number: u32) -> Event {
    let topic = ["payment.authorized", "payment.captured"][number as usize].to_owned();
    let request = Some(("demo".to_owned(), format!("key-{number}")));
    Event {
        id: format!("event-{number}"),
        topic,
        request,
    }
}

fn message(seq: u64, event: &Event, shown: &Shown) -> Message {
    Message {
        topic: event.topic.clone(),
        produced_ms: i64::try_from(seq).unwrap(),
        key: ID.to_owned(),
        event_id: event.id.clone(),
        seq,
        shown: (shown.status.clone(), shown.captured, shown.refunded),
        value: String::new(),
    }
}

impl Facts {
    fn honest() -> Self {
        let operations = vec![
            operation(0, Action::Authorize { amount: 100 }),
            operation(1, Action::Capture { amount: None }),
        ];
        let states = [shown("REQUESTED", 0, 1), shown("COMPLETED", 100, 2)];
        let mut facts = Self {
            attempts: Vec::new(),
            store: Store::default(),
            messages: Vec::new(),
            plan: Plan {
                operations,
                ..Plan::new(
                    0,
                    Size {
                        operations: 0,
                        faults: 0,
                        only: None,
                    },
                )
            },
        };
        for (number, state) in (0..).zip(&states) {
            let seq = u64::from(number) + 1;
            let operation = &facts.plan.operations[number as usize];
            let attempt = attempt(operation, 10 * seq, state);
            let answer = attempt.answer.as_ref().unwrap();
            let name = ("m-demo".to_owned(), format!("key-{number}"));
            facts.store.replies.insert(name, Some((200, answer.body)));
            facts.attempts.push(attempt);
            facts.messages.push(message(seq, &event(number), state));
            facts
                .store
                .events
                .insert((ID.to_owned(), seq), event(number));
        }
        facts.store.journals.insert(ID.to_owned(), vec![1, 2]);
        let [_, shown] = states;
        let row = Payment {
            order_id: "order".to_owned(),
            shown,
        };
        facts.store.payments.insert(ID.to_owned(), row);
        facts
    }

    /// The names of the checks that find something.
    fn found(&self) -> Vec<&'static str> {
        let requests = requests(&self.attempts);
        let Self {
            plan,
            store,
            messages,
            ..
        } = self;
        let evidence = Evidence {
            plan,
            requests: &requests,
            store,
            messages,
        };
        let checks = [
            durability::check,
            uniqueness::check,
            consumer::check,
            linearizable::check,
        ];
        let violations = checks.into_iter().flat_map(|check| check(&evidence));
        let mut found: Vec<_> = violations.map(|violation| violation.check).collect();
        found.dedup();
        found
    }

    fn event(&mut self, seq: u64) -> &mut Event {
        self.store.events.get_mut(&(ID.to_owned(), seq)).unwrap()
    }
}

#[test]
fn honest_facts_break_nothing() {
    assert!(Facts::honest().found().is_empty());
}

#[test]
fn a_look_that_runs_ahead_breaks_linearizability_unless_the_database_crashed_then() {
    let mut facts = Facts::honest();
    let look = Operation {
        key: None,
        ..operation(2, Action::Read)
    };
    let early = attempt(&look, 15, &shown("COMPLETED", 100, 2));
    facts.attempts.insert(1, early);
    assert_eq!(facts.found(), ["linearizability"]);
    let fault = |at_ms, kind| Fault {
        fault: 0,
        at_ms,
        lasts_ms: 10,
        kind,
    };
    facts.plan.faults = vec![
        fault(0, Kind::StallDisk),
        fault(1, Kind::Kill(Component::Mariadb)),
    ];
    assert_eq!(facts.found(), ["linearizability"], "it crashed only later");
    facts.plan.faults.push(fault(0, Kind::StallDiskAndKill));
    assert!(facts.found().is_empty());
}

#[test]
fn a_lost_reply_breaks_durability() {
    let mut facts = Facts::honest();
    facts
        .store
        .replies
        .remove(&("m-demo".to_owned(), "key-1".to_owned()));
    assert_eq!(facts.found(), ["durability"]);
}

#[test]
fn a_reply_repeated_with_other_bytes_breaks_durability() {
    let mut facts = Facts::honest();
    let mut again = facts.attempts[1].clone();
    again.phase = Phase::Repeat;
    again.answer.as_mut().unwrap().body = BodyHash::of(b"other");
    facts.attempts.push(again);
    assert_eq!(facts.found(), ["durability"]);
}

#[test]
fn a_request_that_is_never_settled_is_found() {
    let mut facts = Facts::honest();
    facts.attempts[1].outcome = Outcome::Unknown;
    assert!(facts.found().contains(&"unknowns"));
}

#[test]
fn a_second_event_of_a_key_breaks_uniqueness() {
    let mut facts = Facts::honest();
    facts.event(1).request = Some(("demo".to_owned(), "key-1".to_owned()));
    assert_eq!(facts.found(), ["uniqueness"]);
}

#[test]
fn a_missing_journal_breaks_uniqueness() {
    let mut facts = Facts::honest();
    facts.store.journals.insert(ID.to_owned(), vec![1]);
    assert_eq!(facts.found(), ["uniqueness"]);
}

#[test]
fn a_payment_nobody_asked_for_breaks_uniqueness() {
    let mut facts = Facts::honest();
    facts.store.payments.get_mut(ID).unwrap().order_id = "another".to_owned();
    assert_eq!(facts.found(), ["uniqueness"]);
}

#[test]
fn a_lost_event_stops_consumers() {
    let mut facts = Facts::honest();
    facts.messages.remove(0);
    assert_eq!(facts.found(), ["consumers"]);
}

#[test]
fn an_event_that_the_database_does_not_hold_is_found() {
    let mut facts = Facts::honest();
    facts.messages[1].event_id = "another".to_owned();
    assert_eq!(facts.found(), ["consumers"]);
}

#[test]
fn an_event_produced_before_the_one_it_follows_is_found() {
    let mut facts = Facts::honest();
    facts.messages[1].produced_ms = 0;
    assert_eq!(facts.found(), ["consumers"]);
}

#[test]
fn an_event_sent_twice_is_fine() {
    let mut facts = Facts::honest();
    facts.messages.push(facts.messages[0].clone());
    facts.messages.push(facts.messages[1].clone());
    assert!(facts.found().is_empty());
}

#[test]
fn a_payment_that_stands_differently_breaks_linearizability_and_consumers() {
    let mut facts = Facts::honest();
    facts.store.payments.get_mut(ID).unwrap().shown.captured = 99;
    assert_eq!(facts.found(), ["consumers", "linearizability"]);
}

#[test]
fn goodput_counts_what_was_due_and_settled_in_time() {
    let mut facts = Facts::honest();
    facts.plan.operations[0].at_ms = 3_000;
    facts.plan.operations[1].at_ms = facts.plan.ends_ms - 1;
    facts.attempts[1].answered_us = facts.plan.ends_ms * 1_000 + 3_000_000;
    let goodput = Goodput::of(&facts.plan, &facts.attempts);
    assert_eq!(
        goodput,
        Goodput {
            before: (1, 1),
            after: (0, 1)
        }
    );
    assert_eq!(liveness::check(&goodput).len(), 1);
}

#[test]
fn a_run_in_which_nothing_was_good_before_the_faults_does_not_pass() {
    for before in [(0, 0), (0, 1)] {
        let goodput = Goodput {
            before,
            after: (0, 1),
        };
        assert_eq!(liveness::check(&goodput).len(), 1);
    }
    let goodput = Goodput {
        before: (10, 10),
        after: (9, 10),
    };
    assert!(liveness::check(&goodput).is_empty());
}
