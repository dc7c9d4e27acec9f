use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What came of a row of theirs, or of a transaction of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MatchResult {
    /// Both sides say the same.
    Matched,
    /// Both sides say the same, but for a difference that the profile tolerates.
    MatchedTolerance,
    /// Ours only: a file that speaks for its day does not have it.
    MissingExternal,
    /// Theirs only.
    MissingInternal,
    /// The amounts differ.
    AmountMismatch,
    /// An earlier row is the same transaction.
    DuplicateExternal,
    /// It did not take place for them, or is of the other kind.
    StatusMismatch,
    /// The days are further apart than the profile allows.
    DateMismatch,
    /// The currencies differ.
    CurrencyMismatch,
    /// Several transactions of ours could be it.
    Ambiguous,
    /// The row cannot be read.
    RowInvalid,
    /// A later file speaks for the same days.
    Superseded,
}

/// Whether something is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Standing {
    /// Somebody should look at it.
    Open,
    /// A second operator should decide.
    Pending,
    /// Nothing.
    Closed,
}

impl Standing {
    /// As JSON and the database have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Pending => "PENDING",
            Self::Closed => "CLOSED",
        }
    }
}

impl FromStr for Standing {
    type Err = UnknownResult;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = [Self::Open, Self::Pending, Self::Closed].into_iter();
        all.find(|it| it.name() == name).ok_or(UnknownResult)
    }
}

impl MatchResult {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::Matched,
        Self::MatchedTolerance,
        Self::MissingExternal,
        Self::MissingInternal,
        Self::AmountMismatch,
        Self::DuplicateExternal,
        Self::StatusMismatch,
        Self::DateMismatch,
        Self::CurrencyMismatch,
        Self::Ambiguous,
        Self::RowInvalid,
        Self::Superseded,
    ];

    /// As JSON and the database have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Matched => "MATCHED",
            Self::MatchedTolerance => "MATCHED_TOLERANCE",
            Self::MissingExternal => "MISSING_EXTERNAL",
            Self::MissingInternal => "MISSING_INTERNAL",
            Self::AmountMismatch => "AMOUNT_MISMATCH",
            Self::DuplicateExternal => "DUPLICATE_EXTERNAL",
            Self::StatusMismatch => "STATUS_MISMATCH",
            Self::DateMismatch => "DATE_MISMATCH",
            Self::CurrencyMismatch => "CURRENCY_MISMATCH",
            Self::Ambiguous => "AMBIGUOUS",
            Self::RowInvalid => "ROW_INVALID",
            Self::Superseded => "SUPERSEDED",
        }
    }

    /// Whether something is to be done about it, unless that is decided.
    #[must_use]
    pub fn standing(self) -> Standing {
        match self {
            Self::Matched | Self::MatchedTolerance | Self::Superseded => Standing::Closed,
            _ => Standing::Open,
        }
    }
}

impl fmt::Display for MatchResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Not the name of a result, or of a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a result")]
pub struct UnknownResult;

impl FromStr for MatchResult {
    type Err = UnknownResult;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|it| it.name() == name).ok_or(UnknownResult)
    }
}
