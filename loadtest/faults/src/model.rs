//! What a payment is supposed to do, written down a second time and as short as possible: nothing
//! is shared with the functions, so a fault of theirs is not repeated here.

use crate::{
    history::{Shown, Told},
    plan::{Action, Caller},
};

/// One payment with the idempotency keys that were used for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    payment: Option<Payment>,
    /// Merchant and key of each request that took a key, with what it asked for.
    keys: Vec<(&'static str, String, Action)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Payment {
    owner: Caller,
    lapsed: bool,
    shown: Shown,
}

impl State {
    /// The state after a request, and its answer.
    #[must_use]
    pub fn after(&self, caller: Caller, key: Option<&str>, action: Action) -> (Self, Told) {
        let mut next = self.clone();
        if let Some(key) = key {
            let merchant = caller.merchant_id();
            if self
                .keys
                .iter()
                .any(|(of, taken, _)| *of == merchant && taken == key)
            {
                return (next, problem(409, "idempotency-key-reused"));
            }
            next.keys.push((merchant, key.to_owned(), action));
            next.keys.sort_unstable();
        }
        let told = next.act(caller, action);
        (next, told)
    }

    /// The state after the schedule has run, when it changes this payment.
    #[must_use]
    pub fn expired(&self) -> Option<Self> {
        let mut next = self.clone();
        let payment = next.payment.as_mut()?;
        if !payment.lapsed || payment.shown.status != "REQUESTED" {
            return None;
        }
        payment.change("EXPIRED");
        Some(next)
    }

    fn act(&mut self, caller: Caller, action: Action) -> Told {
        let Some(payment) = &mut self.payment else {
            return match action {
                Action::Authorize { amount } => self.authorize(caller, amount),
                _ => problem(404, "payment-not-found"),
            };
        };
        let stranger = caller != Caller::Ops && caller != payment.owner;
        match action {
            Action::Authorize { .. } => problem(409, "duplicate-order"),
            Action::Lapse => {
                payment.lapsed = true;
                Told::Lapsed
            }
            _ if stranger => problem(404, "payment-not-found"),
            Action::Read => payment.told(),
            Action::Capture { amount } => payment.capture(amount),
            Action::Refund { amount } => payment.refund(amount),
            Action::Void => payment.void(),
        }
    }

    fn authorize(&mut self, owner: Caller, amount: u64) -> Told {
        let shown = Shown {
            status: "REQUESTED".to_owned(),
            amount,
            captured: 0,
            refunded: 0,
            version: 1,
        };
        let payment = Payment {
            owner,
            lapsed: false,
            shown,
        };
        let told = payment.told();
        self.payment = Some(payment);
        told
    }
}

impl Payment {
    fn told(&self) -> Told {
        Told::Payment(self.shown.clone())
    }

    fn change(&mut self, status: &str) -> Told {
        status.clone_into(&mut self.shown.status);
        self.shown.version += 1;
        self.told()
    }

    fn capture(&mut self, amount: Option<u64>) -> Told {
        let amount = amount.unwrap_or(self.shown.amount);
        if self.shown.status != "REQUESTED" || self.lapsed {
            return problem(409, "payment-not-capturable");
        }
        if amount > self.shown.amount {
            return problem(422, "amount-above-authorized");
        }
        self.shown.captured = amount;
        self.change("COMPLETED")
    }

    fn refund(&mut self, amount: Option<u64>) -> Told {
        let left = self.shown.captured - self.shown.refunded;
        let amount = amount.unwrap_or(left);
        if !matches!(
            self.shown.status.as_str(),
            "COMPLETED" | "PARTIALLY_REFUNDED"
        ) {
            return problem(409, "payment-not-refundable");
        }
        if amount > left {
            return problem(422, "amount-above-captured");
        }
        self.shown.refunded += amount;
        self.change(if amount == left {
            "REFUNDED"
        } else {
            "PARTIALLY_REFUNDED"
        })
    }

    fn void(&mut self) -> Told {
        if self.shown.status != "REQUESTED" {
            return problem(409, "payment-not-voidable");
        }
        self.change("VOIDED")
    }
}

fn problem(status: u16, code: &str) -> Told {
    Told::Problem {
        status,
        code: code.to_owned(),
    }
}
