use guard::{Call, Role};
use idempotency::{Claim, IdempotencyKey, Reply};
use outbox::Request;
use payment::{Authorization, Change, MerchantId, Payment, PaymentId, Refusal, Timestamp};
use problem::{Code, Problem};
use uuid::Uuid;

use crate::reply;

/// Decides about a payment whose row is locked. It may be asked more than once.
pub type Decide = Box<dyn Fn(&Payment, Timestamp) -> Result<Change, Refusal> + Send + Sync>;

/// One command of a caller, to be carried out once however often it is sent.
pub struct Command {
    pub(crate) claim: Claim,
    pub(crate) request: Request,
    pub(crate) traceparent: String,
    pub(crate) trace_id: String,
    pub(crate) target: Target,
    /// Of the request's body, in bytes.
    pub(crate) size: usize,
}

/// What a command is about.
pub(crate) enum Target {
    /// A payment that does not exist yet, as it will stand.
    New { change: Box<Change>, reply: Reply },
    /// An existing payment.
    Existing {
        /// `None` when the path names none.
        payment_id: Option<PaymentId>,
        sees: Sees,
        decide: Decide,
    },
}

/// Whose payments a caller sees; others do not exist for it.
pub enum Sees {
    /// Every merchant's.
    All,
    /// Its own.
    Own(MerchantId),
}

impl Sees {
    /// Operators see every merchant's payments, merchants their own.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        match call.caller.role {
            Role::Operator => Self::All,
            Role::Merchant => Self::Own(call.caller.merchant_id.clone().into()),
        }
    }

    /// The one merchant whose payments are seen; `None` for all.
    #[must_use]
    pub fn merchant_id(self) -> Option<MerchantId> {
        match self {
            Self::All => None,
            Self::Own(merchant_id) => Some(merchant_id),
        }
    }

    /// Whether `payment` exists for the caller.
    #[must_use]
    pub fn allows(&self, payment: &Payment) -> bool {
        match self {
            Self::All => true,
            Self::Own(merchant_id) => payment.merchant_id == *merchant_id,
        }
    }
}

impl Command {
    /// Opens a payment for the caller's merchant.
    ///
    /// # Errors
    /// `idempotency-key-missing`; `unavailable` when the reply cannot be written.
    pub fn authorize(call: &Call, asked: Authorization) -> Result<Self, Problem> {
        let change = Box::new(Payment::authorize(
            PaymentId::generate(),
            asked,
            Timestamp::now(),
        ));
        let reply = reply::payment(&change.payment).map_err(|_| Problem::unavailable())?;
        Self::new(call, Target::New { change, reply })
    }

    /// Changes the payment that the last segment of the path names, if the caller sees it, as
    /// `decide` says.
    ///
    /// # Errors
    /// `idempotency-key-missing`.
    pub fn change(
        call: &Call,
        decide: impl Fn(&Payment, Timestamp) -> Result<Change, Refusal> + Send + Sync + 'static,
    ) -> Result<Self, Problem> {
        let segment = call.path.rsplit('/').next().unwrap_or_default();
        let target = Target::Existing {
            payment_id: segment.parse().ok(),
            sees: Sees::of(call),
            decide: Box::new(decide),
        };
        Self::new(call, target)
    }

    fn new(call: &Call, target: Target) -> Result<Self, Problem> {
        let (key, fingerprint) = call.idempotency.clone().ok_or_else(|| {
            Problem::new(
                Code::IdempotencyKeyMissing,
                "This route needs an Idempotency-Key.",
            )
        })?;
        Ok(Self {
            request: request(call, &key),
            claim: Claim {
                id: Uuid::new_v4(),
                merchant_id: call.caller.merchant_id.clone(),
                key,
                fingerprint,
            },
            traceparent: call.trace.traceparent(),
            trace_id: call.trace.trace_id().to_owned(),
            target,
            size: call.body.len(),
        })
    }

    /// Keeps the caller's reason with the change.
    #[must_use]
    pub fn with_reason(mut self, reason: Option<String>) -> Self {
        self.request.reason = reason;
        self
    }

    /// The reply, when it does not depend on what the database holds.
    pub(crate) fn known_reply(&self) -> Option<&Reply> {
        match &self.target {
            Target::New { reply, .. } => Some(reply),
            Target::Existing { .. } => None,
        }
    }

    /// The existing payment the command is about.
    pub(crate) fn payment_id(&self) -> Option<PaymentId> {
        match self.target {
            Target::New { .. } => None,
            Target::Existing { payment_id, .. } => payment_id,
        }
    }
}

fn request(call: &Call, key: &IdempotencyKey) -> Request {
    Request {
        method: call.method.to_string(),
        path: call.path.clone(),
        key_id: call.caller.key_id.clone(),
        idempotency_key: key.to_string(),
        reason: None,
    }
}
