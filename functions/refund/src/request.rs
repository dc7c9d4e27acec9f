use std::num::NonZeroU64;

use money::Currency;
use payment::Portion;
use problem::{Code, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

const REASON_CHARS_MAX: usize = 255;

/// Body of `POST /payments/refund/{paymentId}`; none is the same as `{}`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundRequest {
    /// In the currency's minor unit; all that is captured and not yet refunded when left out.
    #[schema(value_type = Option<u64>, minimum = 1)]
    amount: Option<NonZeroU64>,
    /// Must be the payment's, when named.
    #[schema(value_type = Option<String>)]
    currency: Option<Currency>,
    /// Shown in the payment's timeline; at most 255 characters.
    #[schema(max_length = 255)]
    reason: Option<String>,
}

impl RefundRequest {
    /// How much is asked for, and why.
    ///
    /// # Errors
    /// `invalid-request` when the reason is too long.
    pub(crate) fn portion_and_reason(self) -> Result<(Portion, Option<String>), Problem> {
        if self
            .reason
            .as_ref()
            .is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX)
        {
            let problem = Problem::new(Code::InvalidRequest, "a member is outside its limits");
            return Err(problem.at("/reason", "must be at most 255 characters"));
        }
        Ok((
            Portion {
                amount: self.amount,
                currency: self.currency,
            },
            self.reason,
        ))
    }
}
