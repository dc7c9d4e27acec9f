//! Decisions about items: what may be decided, what is at stake, and what holds of it.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use money::{Currency, MINOR_MAX};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CaseId, ItemId, MatchResult, Standing, item_table::Item};

/// Most decisions of operators about one item.
pub const CASES_MAX: usize = 200;
/// Whose money it is when a row is none of our transactions, and so of no merchant.
pub const HOUSE: &str = "house";

/// What is decided about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is forgotten what came of it, and the file is matched again.
    Reprocess,
    /// The row is a transaction of ours.
    Link,
    /// Their version counts.
    Accept,
    /// The difference is ours to bear.
    WriteOff,
    /// The last decision is taken back.
    Reopen,
    /// What another operator decided takes effect.
    Approve,
    /// What another operator decided does not take effect.
    Reject,
}

/// How an item stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReconItemState)]
pub struct State {
    /// What came of it; none before it is matched.
    pub result: Option<MatchResult>,
    /// Whether something is to be done about it; none before it is matched.
    pub status: Option<Standing>,
    /// Our transaction.
    pub transaction_key: Option<String>,
}

/// What a difference is worth: theirs less ours, never nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    minor: i64,
    currency: Currency,
}

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The key that signed.
    pub key_id: String,
    /// Its holder, who may have several.
    pub holder: String,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Names it.
    pub id: CaseId,
    /// What is decided about.
    pub item_id: ItemId,
    /// The item's file.
    pub file_no: u32,
    /// What.
    pub action: Action,
    /// Why, in the operator's words.
    pub reason: String,
    /// What it is worth, if anything.
    pub stake: Option<Stake>,
    /// Whose money that is: a merchant, or [`HOUSE`].
    pub account_of: String,
    /// Whether it takes effect only when a second operator approves it.
    pub waits: bool,
    /// The decision that is approved, rejected or taken back.
    pub concerns: Option<CaseId>,
    /// Who.
    pub by: Operator,
    /// How the item stood.
    pub before: State,
    /// How it stands since.
    pub after: State,
    /// When.
    pub decided_at: DateTime<Utc>,
}

impl Action {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Reprocess,
        Self::Link,
        Self::Accept,
        Self::WriteOff,
        Self::Reopen,
        Self::Approve,
        Self::Reject,
    ];

    /// As JSON and the database have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reprocess => "reprocess",
            Self::Link => "link",
            Self::Accept => "accept",
            Self::WriteOff => "write-off",
            Self::Reopen => "reopen",
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

/// Not the name of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an action")]
pub struct UnknownAction;

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|it| it.name() == name).ok_or(UnknownAction)
    }
}

impl State {
    /// How an item stands.
    #[must_use]
    pub fn of(item: &Item) -> Self {
        Self {
            result: item.result(),
            status: item.standing(),
            transaction_key: item.transaction().map(|key| key.to_string()),
        }
    }
}

impl Stake {
    /// So much, in the currency's minor unit; `None` for nothing, or for more than an amount can be.
    #[must_use]
    pub fn new(minor: i64, currency: Currency) -> Option<Self> {
        let amount = (1..=MINOR_MAX).contains(&minor.unsigned_abs());
        amount.then_some(Self { minor, currency })
    }

    /// What an item's difference is worth. What did not take place is worth nothing.
    #[must_use]
    pub fn of(item: &Item) -> Option<Self> {
        let (theirs, ours) = match item.result()? {
            MatchResult::MissingInternal | MatchResult::DuplicateExternal => (theirs(item)?, 0),
            MatchResult::AmountMismatch => (theirs(item)?, ours(item)?),
            MatchResult::MissingExternal => (0, ours(item)?),
            MatchResult::StatusMismatch if item.done == Some(false) => (0, ours(item)?),
            _ => return None,
        };
        let currency = item.our_currency.as_ref().or(item.currency.as_ref())?;
        Self::new(theirs.checked_sub(ours)?, currency.parse().ok()?)
    }

    /// In the currency's minor unit: above zero when theirs is more.
    #[must_use]
    pub fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }
}

/// What the file says it is worth.
fn theirs(item: &Item) -> Option<i64> {
    let amount = item.amount.filter(|_| item.done == Some(true));
    worth(item.kind.as_deref()?, amount.unwrap_or_default())
}

/// What we say it is worth.
fn ours(item: &Item) -> Option<i64> {
    worth(item.our_kind.as_deref()?, item.our_amount?)
}

fn worth(kind: &str, amount: u64) -> Option<i64> {
    let amount = i64::try_from(amount).ok()?;
    Some(if kind == "REFUND" { -amount } else { amount })
}

/// Which of an item's decisions hold, in their order: the last of them is the one to take back. A row
/// that is matched again or linked is no longer what it was linked to.
#[must_use]
pub fn in_effect(cases: &[Case]) -> Vec<&Case> {
    let mut holding: Vec<&Case> = Vec::new();
    for case in cases {
        match case.action {
            Action::Accept | Action::WriteOff if !case.waits => holding.push(case),
            Action::Accept | Action::WriteOff | Action::Reject => {}
            Action::Link => holding = vec![case],
            Action::Approve => {
                holding.extend(cases.iter().find(|it| Some(it.id) == case.concerns));
            }
            Action::Reopen => holding.retain(|it| Some(it.id) != case.concerns),
            Action::Reprocess => holding.clear(),
        }
    }
    holding
}

#[cfg(test)]
mod tests;
