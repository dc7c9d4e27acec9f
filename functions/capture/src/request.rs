use std::num::NonZeroU64;

use money::Currency;
use payment::Portion;
use serde::Deserialize;
use utoipa::ToSchema;

/// Body of `POST /payments/capture/{paymentId}`; none is the same as `{}`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    /// In the currency's minor unit; the authorized amount when left out.
    #[schema(value_type = Option<u64>, minimum = 1)]
    amount: Option<NonZeroU64>,
    /// Must be the payment's, when named.
    #[schema(value_type = Option<String>)]
    currency: Option<Currency>,
}

impl CaptureRequest {
    /// How much is asked for.
    pub(crate) fn portion(&self) -> Portion {
        Portion {
            amount: self.amount,
            currency: self.currency,
        }
    }
}
