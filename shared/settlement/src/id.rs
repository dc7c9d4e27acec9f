use std::{fmt, str::FromStr};

use serde::Serialize;
use uuid::Uuid;

const SETTLEMENT_ID_PREFIX: &str = "stl_";

/// Names one settlement: `stl_` and 32 hexadecimal digits of a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SettlementId(Uuid);

/// Not the id of any settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a settlement id")]
pub struct InvalidSettlementId;

impl SettlementId {
    /// A fresh id; later ids sort after earlier ones, to the millisecond.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// For the database.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for SettlementId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl FromStr for SettlementId {
    type Err = InvalidSettlementId;

    /// Accepts only what [`SettlementId`] displays: one settlement has one id.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix(SETTLEMENT_ID_PREFIX)
            .ok_or(InvalidSettlementId)?;
        let id = Self(Uuid::try_parse(digits).map_err(|_| InvalidSettlementId)?);
        (id.to_string() == text)
            .then_some(id)
            .ok_or(InvalidSettlementId)
    }
}

impl fmt::Display for SettlementId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SETTLEMENT_ID_PREFIX}{}", self.0.simple())
    }
}

impl Serialize for SettlementId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_displayed_is_an_id() {
        let id = SettlementId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "stl_",
            "pay_018f0000000070008000000000000001",
            "stl_018F0000000070008000000000000001X",
            "stl_018f0000-0000-7000-8000-000000000001",
            "stl_018F0000000070008000000000000ABC",
        ] {
            assert_eq!(
                text.parse::<SettlementId>(),
                Err(InvalidSettlementId),
                "{text}"
            );
        }
    }
}
