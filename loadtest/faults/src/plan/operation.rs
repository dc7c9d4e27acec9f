use serde::Serialize;
use serde_json::{Value, json};

/// What stands in every customer's name, e-mail address and phone number, and so must never be
/// found in a log or on a topic.
pub const PERSONAL_DATA: [&str; 3] = ["Shopper Kim", "@shopper.example", "010-5550-"];

/// One request that a client means to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Number in the plan.
    pub operation: u32,
    /// When it is due.
    pub at_ms: u64,
    /// Which payment of the plan it is about.
    pub payment: u32,
    /// The payment's order, unique per run.
    pub order_id: String,
    /// Who sends it.
    pub caller: Caller,
    /// The idempotency key; several operations may share one.
    pub key: Option<String>,
    /// What it asks for.
    pub action: Action,
}

/// Who signs a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Caller {
    /// A merchant.
    Demo,
    /// Another merchant.
    Other,
    /// An operator, who sees every merchant's payments.
    Ops,
}

impl Caller {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Demo, Self::Other, Self::Ops];

    /// The key it signs with.
    #[must_use]
    pub fn key_id(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Other => "other",
            Self::Ops => "ops",
        }
    }

    /// The merchant whose idempotency keys it uses.
    #[must_use]
    pub fn merchant_id(self) -> &'static str {
        match self {
            Self::Demo => "m-demo",
            Self::Other => "m-other",
            Self::Ops => "m-ops",
        }
    }
}

/// What is asked for; amounts are in minor units, `None` is the whole of what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// A new payment of the order.
    Authorize {
        /// To hold.
        amount: u64,
    },
    /// Takes what is held.
    Capture {
        /// To take.
        amount: Option<u64>,
    },
    /// Gives back.
    Refund {
        /// To give back.
        amount: Option<u64>,
    },
    /// Releases the hold.
    Void,
    /// Looks at the payment.
    Read,
    /// Turns the payment's clock: the authorization's seven days are over.
    Lapse,
}

impl Operation {
    /// The path to post to or to read.
    #[must_use]
    pub fn path(&self, payment_id: &str) -> String {
        match self.action {
            Action::Authorize { .. } => "/payments/authorize".to_owned(),
            Action::Capture { .. } => format!("/payments/capture/{payment_id}"),
            Action::Refund { .. } => format!("/payments/refund/{payment_id}"),
            Action::Void => format!("/payments/void/{payment_id}"),
            Action::Read | Action::Lapse => format!("/payments/{payment_id}"),
        }
    }

    /// The body, the same each time the operation is sent.
    #[must_use]
    pub fn body(&self) -> Option<String> {
        let body = match self.action {
            Action::Authorize { amount } => self.authorization(amount),
            Action::Capture {
                amount: Some(amount),
            }
            | Action::Refund {
                amount: Some(amount),
            } => {
                json!({ "amount": amount })
            }
            _ => return None,
        };
        Some(body.to_string())
    }

    fn authorization(&self, amount: u64) -> Value {
        let mut body = json!({ "orderId": self.order_id, "amount": amount, "currency": "KRW" });
        if self.payment.is_multiple_of(2) {
            let [name, email, phone] = PERSONAL_DATA;
            body["customer"] = json!({
                "name": format!("{name} {}", self.payment),
                "email": format!("{}{email}", self.payment),
                "phone": format!("{phone}{:04}", self.payment % 10_000),
            });
        }
        body
    }
}
