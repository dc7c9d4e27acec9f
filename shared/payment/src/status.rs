use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Authorized: funds are held.
    Requested,
    /// Captured: funds are taken, nothing is given back.
    Completed,
    /// Some of the captured funds are given back.
    PartiallyRefunded,
    /// All captured funds are given back.
    Refunded,
    /// The hold was released.
    Voided,
    /// The hold lapsed.
    Expired,
}

/// Not a status of a payment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a payment status")]
pub struct UnknownStatus(String);

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Requested,
        Self::Completed,
        Self::PartiallyRefunded,
        Self::Refunded,
        Self::Voided,
        Self::Expired,
    ];

    /// The name in SQL and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requested => "REQUESTED",
            Self::Completed => "COMPLETED",
            Self::PartiallyRefunded => "PARTIALLY_REFUNDED",
            Self::Refunded => "REFUNDED",
            Self::Voided => "VOIDED",
            Self::Expired => "EXPIRED",
        }
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.name() == name)
            .ok_or_else(|| UnknownStatus(name.to_owned()))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_and_json_use_the_same_names() {
        for status in Status::ALL {
            assert_eq!(status.name().parse(), Ok(status));
            assert_eq!(
                serde_json::to_string(&status).unwrap(),
                format!("\"{status}\"")
            );
        }
    }
}
