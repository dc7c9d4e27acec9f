use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::{Action, Case, CaseId, ItemId, Stake, Standing, State};

/// A decision about an item.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReconDecision)]
pub struct DecisionView {
    /// Names it.
    #[schema(value_type = String)]
    case_id: CaseId,
    /// What is decided about.
    #[schema(value_type = String)]
    item_id: ItemId,
    action: Action,
    /// Why, in the operator's words.
    reason: String,
    /// Whether something is to be done about the item since; none while it is to be matched again.
    status: Option<Standing>,
    /// What the difference is worth: theirs less ours, in the currency's minor unit.
    stake: Option<i64>,
    /// ISO 4217 code.
    currency: Option<&'static str>,
    /// The decision that is approved, rejected or taken back.
    #[schema(value_type = Option<String>)]
    concerns: Option<CaseId>,
    /// The key that signed.
    key_id: String,
    /// Its holder.
    operator: String,
    before: State,
    after: State,
    #[serde(serialize_with = "milliseconds")]
    decided_at: DateTime<Utc>,
}

impl From<&Case> for DecisionView {
    fn from(case: &Case) -> Self {
        Self {
            case_id: case.id,
            item_id: case.item_id,
            action: case.action,
            reason: case.reason.clone(),
            status: case.after.status,
            stake: case.stake.map(Stake::minor),
            currency: case.stake.map(|stake| stake.currency().code()),
            concerns: case.concerns,
            key_id: case.by.key_id.clone(),
            operator: case.by.holder.clone(),
            before: case.before.clone(),
            after: case.after.clone(),
            decided_at: case.decided_at,
        }
    }
}

fn milliseconds<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
