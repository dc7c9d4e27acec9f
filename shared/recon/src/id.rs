use std::{fmt, str::FromStr};

use payment::PaymentId;
use serde::Serialize;
use uuid::Uuid;

use crate::TransactionKey;

const ITEM_ID_PREFIX: &str = "itm_";

/// Not an id of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not such an id")]
pub struct InvalidId;

/// Names a file: `fil_` and 32 hexadecimal digits of a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(Uuid);

/// Names a decision: `cas_` and 32 hexadecimal digits of a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CaseId(Uuid);

/// Names what was reconciled: a row of a file, or a transaction of ours that a file should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemId {
    /// `itm_FILE.LINE`, both numbers.
    Row {
        /// The file.
        file_no: u32,
        /// Its line.
        line: u32,
    },
    /// `itm_` and a transaction key.
    Transaction(TransactionKey),
}

/// What ids have in common that are a prefix and the 32 hexadecimal digits of a UUIDv7.
macro_rules! prefixed {
    ($id:ident, $prefix:literal) => {
        impl $id {
            /// A fresh id.
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

        impl From<Uuid> for $id {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $id {
            type Err = InvalidId;

            /// Accepts only what is displayed.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let digits = text.strip_prefix($prefix).ok_or(InvalidId)?;
                let id = Self(Uuid::try_parse(digits).map_err(|_| InvalidId)?);
                (id.to_string() == text).then_some(id).ok_or(InvalidId)
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}{}", $prefix, self.0.simple())
            }
        }

        impl Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

prefixed!(FileId, "fil_");
prefixed!(CaseId, "cas_");

impl FromStr for ItemId {
    type Err = InvalidId;

    /// Accepts only what [`ItemId`] displays.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix(ITEM_ID_PREFIX).ok_or(InvalidId)?;
        let id = match rest.split_once('.') {
            Some((file, line)) => Self::Row {
                file_no: file.parse().map_err(|_| InvalidId)?,
                line: line.parse().map_err(|_| InvalidId)?,
            },
            None => Self::Transaction(rest.parse().map_err(|_| InvalidId)?),
        };
        (id.to_string() == text).then_some(id).ok_or(InvalidId)
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row { file_no, line } => write!(formatter, "{ITEM_ID_PREFIX}{file_no}.{line}"),
            Self::Transaction(key) => write!(formatter, "{ITEM_ID_PREFIX}{key}"),
        }
    }
}

impl Serialize for ItemId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl ItemId {
    /// The one of a transaction.
    #[must_use]
    pub fn of(payment_id: Uuid, seq: u32) -> Self {
        Self::Transaction(TransactionKey {
            payment_id: PaymentId::from(payment_id),
            seq,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_displayed_is_an_id() {
        let file = FileId::generate();
        assert_eq!(file.to_string().parse(), Ok(file));
        let row = ItemId::Row {
            file_no: 7,
            line: 2,
        };
        assert_eq!(row.to_string(), "itm_7.2");
        assert_eq!(row.to_string().parse(), Ok(row));
        let ours = ItemId::of(Uuid::now_v7(), 3);
        assert_eq!(ours.to_string().parse(), Ok(ours));
        for text in [
            "",
            "itm_",
            "itm_7",
            "itm_07.2",
            "itm_7.2.3",
            "itm_7.-2",
            "7.2",
        ] {
            assert_eq!(text.parse::<ItemId>(), Err(InvalidId), "{text}");
        }
    }
}
