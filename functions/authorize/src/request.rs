use std::{collections::BTreeMap, num::NonZeroU64};

use money::{Currency, Money};
use payment::{Authorization, Customer, Details, MerchantId, OrderId};
use problem::{Code, Problem};
use serde::Deserialize;
use serde_with::{MapPreventDuplicates, serde_as};
use utoipa::ToSchema;

/// Body of `POST /payments/authorize`.
#[serde_as]
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizeRequest {
    /// The merchant's own reference: 1–64 visible ASCII characters, one payment each.
    #[schema(value_type = String, min_length = 1, max_length = 64)]
    order_id: OrderId,
    /// In the currency's minor unit (KRW has none: 15000 is ₩15,000).
    #[schema(value_type = u64, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    amount: NonZeroU64,
    /// ISO 4217 code.
    #[schema(value_type = String, min_length = 3, max_length = 3)]
    currency: Currency,
    /// At most 255 characters.
    #[schema(max_length = 255)]
    description: Option<String>,
    /// Who pays.
    customer: Option<Customer>,
    /// At most 20 members; names of at most 40, values of at most 500 characters.
    #[serde_as(as = "Option<MapPreventDuplicates<_, _>>")]
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

impl AuthorizeRequest {
    /// What the merchant asks to be held.
    ///
    /// # Errors
    /// `invalid-request`, naming every member outside its limits.
    pub(crate) fn authorization(self, merchant_id: MerchantId) -> Result<Authorization, Problem> {
        let Self {
            order_id,
            amount,
            currency,
            description,
            customer,
            metadata,
        } = self;
        let details = Details {
            description,
            customer,
            metadata,
        };
        let mut errors = details.check().err().unwrap_or_default();
        let amount = Money::new(amount.get(), currency);
        if amount.is_err() {
            errors.push((
                "/amount".to_owned(),
                payment::Refused("at most 9007199254740991"),
            ));
        }
        match amount {
            Ok(amount) if errors.is_empty() => Ok(Authorization {
                merchant_id,
                order_id,
                amount,
                details,
            }),
            _ => Err(outside_limits(errors)),
        }
    }
}

fn outside_limits(errors: Vec<(String, payment::Refused)>) -> Problem {
    let problem = Problem::new(Code::InvalidRequest, "a member is outside its limits");
    errors
        .into_iter()
        .fold(problem, |problem, (pointer, refused)| {
            problem.at(pointer, refused.to_string())
        })
}
