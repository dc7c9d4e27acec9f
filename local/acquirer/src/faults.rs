use std::str::FromStr;

use anyhow::{Context as _, bail};
use recon::MatchResult;

/// What may be wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A row of ours is left out.
    MissingExternal,
    /// A row that is none of ours is put in.
    MissingInternal,
    /// An amount is changed.
    Amount,
    /// A row comes twice.
    Duplicate,
    /// A row did not take place.
    Status,
    /// A row is of a day far off.
    Date,
    /// A row that cannot be read is put in.
    Invalid,
}

/// How many of which faults, and the seed of the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The same seed chooses the same.
    pub seed: u64,
    counts: Vec<(Fault, usize)>,
}

impl Fault {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::MissingExternal,
        Self::MissingInternal,
        Self::Amount,
        Self::Duplicate,
        Self::Status,
        Self::Date,
        Self::Invalid,
    ];

    /// As it is written in `--faults`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingExternal => "missing_external",
            Self::MissingInternal => "missing_internal",
            Self::Amount => "amount",
            Self::Duplicate => "duplicate",
            Self::Status => "status",
            Self::Date => "date",
            Self::Invalid => "invalid",
        }
    }

    /// What reconciliation should say.
    #[must_use]
    pub fn expected(self) -> MatchResult {
        match self {
            Self::MissingExternal => MatchResult::MissingExternal,
            Self::MissingInternal => MatchResult::MissingInternal,
            Self::Amount => MatchResult::AmountMismatch,
            Self::Duplicate => MatchResult::DuplicateExternal,
            Self::Status => MatchResult::StatusMismatch,
            Self::Date => MatchResult::DateMismatch,
            Self::Invalid => MatchResult::RowInvalid,
        }
    }
}

impl Faults {
    /// How many of a kind.
    #[must_use]
    pub fn count(&self, fault: Fault) -> usize {
        let mut counts = self.counts.iter();
        counts
            .find(|(it, _)| *it == fault)
            .map_or(0, |(_, count)| *count)
    }
}

impl FromStr for Faults {
    type Err = anyhow::Error;

    /// `seed=7,missing_external=3,…`; what is left out is 0.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut faults = Self {
            seed: 0,
            counts: Vec::new(),
        };
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, number) = part.split_once('=').with_context(|| wrong(part))?;
            if name == "seed" {
                faults.seed = number.parse().with_context(|| wrong(part))?;
                continue;
            }
            let mut all = Fault::ALL.into_iter();
            let fault = all.find(|it| it.name() == name);
            let fault = fault.with_context(|| format!("there is no fault {name:?}"))?;
            if faults.count(fault) > 0 {
                bail!("{name} is named twice");
            }
            let count = number.parse().with_context(|| wrong(part))?;
            faults.counts.push((fault, count));
        }
        Ok(faults)
    }
}

fn wrong(part: &str) -> String {
    format!("{part:?} is not NAME=NUMBER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_seed_and_counts() {
        let faults: Faults = "seed=7,missing_external=3,date=1".parse().unwrap();
        assert_eq!(faults.seed, 7);
        assert_eq!(faults.count(Fault::MissingExternal), 3);
        assert_eq!(faults.count(Fault::Date), 1);
        assert_eq!(faults.count(Fault::Amount), 0);
        for text in ["seed", "amount=x", "amount=-1", "gift=1", "date=1,date=1"] {
            assert!(text.parse::<Faults>().is_err(), "{text}");
        }
    }
}
