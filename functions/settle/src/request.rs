use chrono::{NaiveDate, TimeDelta};
use problem::{Code, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

/// Most days that one request closes.
const DAYS_MAX: TimeDelta = TimeDelta::days(92);

/// Body of `POST /settlements`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettleRequest {
    /// The first day, in Asia/Seoul.
    from: NaiveDate,
    /// The last day, itself included; today or earlier, at most 92 days after the first.
    to: NaiveDate,
    /// Of this merchant alone; of every merchant when left out.
    merchant_id: Option<String>,
}

/// The periods to close: those whose last day is among these.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) from: NaiveDate,
    pub(crate) to: NaiveDate,
    pub(crate) merchant_id: Option<String>,
}

impl SettleRequest {
    /// What is asked for.
    ///
    /// # Errors
    /// `invalid-request` when the days are in the wrong order or too many.
    pub(crate) fn asked(self) -> Result<Asked, Problem> {
        let days = self.to.signed_duration_since(self.from);
        let wrong = if days < TimeDelta::zero() {
            Some("must not be before /from")
        } else if days > DAYS_MAX {
            Some("must be at most 92 days after /from")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            let problem = Problem::new(Code::InvalidRequest, "a member is outside its limits");
            return Err(problem.at("/to", wrong));
        }
        Ok(Asked {
            from: self.from,
            to: self.to,
            merchant_id: self.merchant_id,
        })
    }
}

impl Asked {
    /// Whether a merchant's periods are asked for.
    pub(crate) fn concerns(&self, merchant_id: &str) -> bool {
        self.merchant_id
            .as_deref()
            .is_none_or(|asked| asked == merchant_id)
    }
}
