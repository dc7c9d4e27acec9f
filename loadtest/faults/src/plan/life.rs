use fastrand::Rng;

use super::{Action, Caller, Operation};

/// Plans the operations of one payment.
type Template = fn(&mut Life<'_>);

/// The largest amount of a payment, in minor units.
const AMOUNT_MAX: u64 = 1_000_000;
/// The most clients that send one key at once.
const TWINS_MAX: u32 = 4;
/// Templates of a payment's life, and how often each is drawn.
const LIVES: [(u32, Template); 11] = [
    (18, whole),
    (14, in_parts),
    (9, voided),
    (13, refunds_above_the_capture_at_once),
    (14, twins),
    (10, key_with_another_body),
    (8, order_authorized_twice),
    (8, capture_against_void),
    (6, refusals),
    (5, strangers),
    (5, lapsed),
];

/// A payment's operations while they are planned.
struct Life<'r> {
    rng: &'r mut Rng,
    payment: u32,
    owner: Caller,
    amount: u64,
    at_ms: u64,
    keys: u32,
    operations: Vec<Operation>,
}

/// At least `count` operations over `ends_ms`, by time.
pub(super) fn schedule(rng: &mut Rng, count: usize, ends_ms: u64) -> Vec<Operation> {
    let run = rng.u32(..);
    let mut all = Vec::with_capacity(count);
    let mut payment = 0;
    while all.len() < count {
        let mut life = Life::new(rng, payment);
        draw(life.rng)(&mut life);
        let (length, mut operations) = (life.at_ms, life.operations);
        let begins = rng.u64(..ends_ms).min(ends_ms.saturating_sub(length));
        for operation in &mut operations {
            operation.at_ms += begins;
            operation.order_id = format!("order-{run:08x}-{payment}");
        }
        all.append(&mut operations);
        payment += 1;
    }
    all.sort_by_key(|operation| operation.at_ms);
    for (number, operation) in (0..).zip(&mut all) {
        operation.operation = number;
    }
    all
}

fn draw(rng: &mut Rng) -> Template {
    let mut lot = rng.u32(..LIVES.iter().map(|(weight, _)| weight).sum::<u32>());
    for (weight, life) in LIVES {
        if lot < weight {
            return life;
        }
        lot -= weight;
    }
    whole
}

impl<'r> Life<'r> {
    fn new(rng: &'r mut Rng, payment: u32) -> Self {
        let owner = if rng.bool() {
            Caller::Demo
        } else {
            Caller::Other
        };
        let amount = rng.u64(10..=AMOUNT_MAX);
        Self {
            rng,
            payment,
            owner,
            amount,
            at_ms: 0,
            keys: 0,
            operations: Vec::new(),
        }
    }

    /// Lets time pass: mostly moments, sometimes long enough for a fault to come and go.
    fn later(&mut self) {
        self.at_ms += match self.rng.u32(..10) {
            0..6 => self.rng.u64(20..500),
            6..9 => self.rng.u64(500..4_000),
            _ => self.rng.u64(4_000..15_000),
        };
    }

    /// Either at once or later.
    fn perhaps_later(&mut self) {
        if self.rng.bool() {
            self.later();
        }
    }

    fn fresh_key(&mut self) -> String {
        self.keys += 1;
        format!(
            "key-{:016x}-{}-{}",
            self.rng.u64(..),
            self.payment,
            self.keys
        )
    }

    fn send(&mut self, caller: Caller, key: Option<&str>, action: Action) {
        self.operations.push(Operation {
            operation: 0,
            at_ms: self.at_ms,
            payment: self.payment,
            order_id: String::new(),
            caller,
            key: key.map(str::to_owned),
            action,
        });
    }

    /// The owner asks with a fresh key.
    fn ask(&mut self, action: Action) {
        let key = self.fresh_key();
        self.send(self.owner, Some(&key), action);
    }

    /// Several clients of the owner send one key at once.
    fn ask_at_once(&mut self, action: Action) {
        let key = self.fresh_key();
        for _ in 0..self.rng.u32(2..=TWINS_MAX) {
            self.send(self.owner, Some(&key), action);
        }
    }

    fn read(&mut self) {
        self.send(self.owner, None, Action::Read);
    }

    fn authorize(&mut self) {
        let amount = self.amount;
        self.ask(Action::Authorize { amount });
        self.later();
    }

    fn capture(&mut self) {
        self.ask(Action::Capture { amount: None });
        self.later();
    }

    fn refund(&mut self, amount: u64) {
        self.ask(Action::Refund {
            amount: Some(amount.max(1)),
        });
    }
}

fn whole(life: &mut Life<'_>) {
    life.authorize();
    life.capture();
    life.read();
    for _ in 0..life.rng.u32(..3) {
        life.later();
        life.refund(life.amount / 4);
    }
    life.perhaps_later();
    life.ask(Action::Refund { amount: None });
    life.later();
    life.read();
}

fn in_parts(life: &mut Life<'_>) {
    life.authorize();
    let captured = life.rng.u64(1..=life.amount);
    life.ask(Action::Capture {
        amount: Some(captured),
    });
    for _ in 0..life.rng.u32(1..=4) {
        life.later();
        life.refund(captured / 3);
        life.perhaps_later();
        life.read();
    }
}

fn voided(life: &mut Life<'_>) {
    life.authorize();
    life.ask(Action::Void);
    life.perhaps_later();
    life.read();
    life.ask(Action::Capture { amount: None });
    life.later();
    life.ask(Action::Void);
}

fn refunds_above_the_capture_at_once(life: &mut Life<'_>) {
    life.authorize();
    life.capture();
    for _ in 0..life.rng.u32(2..=3) {
        life.refund(life.amount / 10 * 6 + 1);
    }
    life.perhaps_later();
    life.read();
    life.later();
    life.refund(life.amount / 10);
    life.read();
}

fn twins(life: &mut Life<'_>) {
    let amount = life.amount;
    life.ask_at_once(Action::Authorize { amount });
    life.later();
    life.ask_at_once(Action::Capture {
        amount: Some(amount.div_ceil(2)),
    });
    life.perhaps_later();
    life.ask_at_once(Action::Refund {
        amount: Some(amount.div_ceil(8)),
    });
    life.later();
    life.read();
}

fn key_with_another_body(life: &mut Life<'_>) {
    let key = life.fresh_key();
    let (owner, amount) = (life.owner, life.amount);
    life.send(owner, Some(&key), Action::Authorize { amount });
    life.perhaps_later();
    life.send(owner, Some(&key), Action::Authorize { amount: amount + 1 });
    life.later();
    life.capture();
    let key = life.fresh_key();
    for part in [2, 3, 2] {
        life.send(
            owner,
            Some(&key),
            Action::Refund {
                amount: Some(amount.div_ceil(part)),
            },
        );
        life.perhaps_later();
    }
    life.read();
}

fn order_authorized_twice(life: &mut Life<'_>) {
    let amount = life.amount;
    life.ask(Action::Authorize { amount });
    life.perhaps_later();
    life.ask(Action::Authorize { amount });
    life.later();
    life.capture();
    life.ask(Action::Authorize { amount });
    life.read();
}

fn capture_against_void(life: &mut Life<'_>) {
    life.authorize();
    life.ask(Action::Capture { amount: None });
    life.ask(Action::Void);
    life.read();
    life.later();
    life.refund(life.amount);
    life.read();
}

fn refusals(life: &mut Life<'_>) {
    life.authorize();
    life.refund(1);
    life.ask(Action::Capture {
        amount: Some(life.amount + 1),
    });
    life.perhaps_later();
    life.capture();
    life.ask(Action::Capture { amount: None });
    life.ask(Action::Void);
    life.refund(life.amount + 1);
    life.later();
    life.read();
}

fn strangers(life: &mut Life<'_>) {
    life.authorize();
    let stranger = match life.owner {
        Caller::Demo => Caller::Other,
        _ => Caller::Demo,
    };
    let key = life.fresh_key();
    life.send(stranger, Some(&key), Action::Capture { amount: None });
    life.perhaps_later();
    life.send(Caller::Ops, Some(&key), Action::Capture { amount: None });
    life.later();
    life.send(stranger, Some(&key), Action::Refund { amount: Some(1) });
    life.send(life.owner, Some(&key), Action::Refund { amount: Some(1) });
    life.send(Caller::Ops, None, Action::Read);
}

fn lapsed(life: &mut Life<'_>) {
    life.authorize();
    life.send(life.owner, None, Action::Lapse);
    life.perhaps_later();
    match life.rng.u32(..3) {
        0 => life.ask(Action::Capture { amount: None }),
        1 => life.ask(Action::Void),
        _ => life.read(),
    }
    life.later();
    life.read();
}
