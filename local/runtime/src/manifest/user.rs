//! `user`: whose rights a function's processes have.

use serde::Deserialize;

/// A user of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum User {
    /// As the machine's list of users knows it, with that user's group.
    Named(String),
    /// `UID:GID`, which need not be in that list.
    Numbered {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
}

impl TryFrom<String> for User {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numbers = text
            .split_once(':')
            .map(|(uid, gid)| (uid.parse(), gid.parse()));
        match numbers {
            Some((Ok(uid), Ok(gid))) => Ok(Self::Numbered { uid, gid }),
            None if text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') => {
                Ok(Self::Named(text))
            }
            _ => Err(format!("\"{text}\" is neither a user's name nor UID:GID")),
        }
    }
}
