//! Keys and who they belong to.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Fewest bytes in a secret.
const SECRET_BYTES_MIN: usize = 32;
/// Most characters in a key id or merchant id.
const ID_CHARS_MAX: usize = 64;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The merchant's own payments.
    Merchant,
    /// Settlement, reconciliation, dead letters, and every merchant's payments.
    Operator,
}

/// A merchant's own request rate, instead of the service's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per second in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

/// A shared secret and whose it is. The secret itself cannot be read back.
pub struct Key {
    /// The `keyid` of signatures.
    pub key_id: String,
    /// Whom the key speaks for.
    pub merchant_id: String,
    /// What it may do.
    pub role: Role,
    /// The merchant's own rate; `None` for the default.
    pub rate_limit: Option<RateLimit>,
    mac: Hmac<Sha256>,
}

impl Key {
    /// A MAC over nothing yet, keyed with the secret.
    pub(crate) fn mac(&self) -> Hmac<Sha256> {
        self.mac.clone()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Key")
            .field("key_id", &self.key_id)
            .field("merchant_id", &self.merchant_id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Every key in force. A merchant has one, and two while it changes from one to the next.
#[derive(Debug, Default)]
pub struct KeyRing(HashMap<String, Arc<Key>>);

/// Why keys are refused; says nothing of secrets.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// Not an array of keys with exactly the known members.
    #[error("no list of keys: wrong JSON or member at line {line}, column {column}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Two keys share an id.
    #[error("key {0:?} is there twice")]
    Duplicate(String),
    /// An id is empty, too long, or has characters outside `A-Z a-z 0-9 . _ -`.
    #[error("key id or merchant id of key {0:?} must be 1 to {ID_CHARS_MAX} of A-Z a-z 0-9 . _ -")]
    Id(String),
    /// Not base64, or too short.
    #[error("the secret of key {0:?} must be base64 of at least {SECRET_BYTES_MIN} bytes")]
    Secret(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    key_id: String,
    merchant_id: String,
    role: Role,
    secret: Zeroizing<String>,
    rate_limit: Option<RateLimit>,
}

impl KeyRing {
    /// Reads `[{"keyId","merchantId","role","secret","rateLimit"?}]`; `secret` is base64.
    ///
    /// # Errors
    /// [`KeyRingError`] for the first key that is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, KeyRingError> {
        let entries: Vec<Entry> =
            serde_json::from_slice(json).map_err(|error| KeyRingError::Json {
                line: error.line(),
                column: error.column(),
            })?;
        let mut keys = HashMap::with_capacity(entries.len());
        for entry in entries {
            let key = Key::try_from(entry)?;
            if let Some(twin) = keys.insert(key.key_id.clone(), Arc::new(key)) {
                return Err(KeyRingError::Duplicate(twin.key_id.clone()));
            }
        }
        Ok(Self(keys))
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, key_id: &str) -> Option<&Arc<Key>> {
        self.0.get(key_id)
    }

    /// How many keys are in force.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody can sign.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Entry> for Key {
    type Error = KeyRingError;

    fn try_from(entry: Entry) -> Result<Self, KeyRingError> {
        if !is_id(&entry.key_id) || !is_id(&entry.merchant_id) {
            return Err(KeyRingError::Id(entry.key_id));
        }
        let secret = BASE64_STANDARD
            .decode(entry.secret.as_bytes())
            .ok()
            .map(Zeroizing::new)
            .filter(|secret| secret.len() >= SECRET_BYTES_MIN);
        let mac = secret.and_then(|secret| Hmac::new_from_slice(&secret).ok());
        let Some(mac) = mac else {
            return Err(KeyRingError::Secret(entry.key_id));
        };
        let Entry {
            key_id,
            merchant_id,
            role,
            rate_limit,
            ..
        } = entry;
        Ok(Self {
            key_id,
            merchant_id,
            role,
            rate_limit,
            mac,
        })
    }
}

fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A ring with the keys `demo` and `ops`.
    pub(crate) fn ring() -> KeyRing {
        KeyRing::from_json(&json(&[("demo", "merchant", 1), ("ops", "operator", 2)])).unwrap()
    }

    fn json(keys: &[(&str, &str, u8)]) -> Vec<u8> {
        let entries: Vec<_> = keys
            .iter()
            .map(|(key_id, role, byte)| {
                let secret = BASE64_STANDARD.encode([*byte; 32]);
                format!(
                    r#"{{"keyId":"{key_id}","merchantId":"m-{key_id}","role":"{role}","secret":"{secret}"}}"#
                )
            })
            .collect();
        format!("[{}]", entries.join(",")).into_bytes()
    }

    #[test]
    fn keys_are_found_by_id_with_their_role_and_rate() {
        let ring = ring();
        assert_eq!(ring.len(), 2);
        assert_eq!(ring.get("demo").unwrap().merchant_id, "m-demo");
        assert_eq!(ring.get("ops").unwrap().role, Role::Operator);
        assert!(ring.get("nobody").is_none());

        let with_rate = String::from_utf8(json(&[("demo", "merchant", 1)]))
            .unwrap()
            .replace('}', r#","rateLimit":{"perSecond":5,"burst":9}}"#);
        let ring = KeyRing::from_json(with_rate.as_bytes()).unwrap();
        assert_eq!(ring.get("demo").unwrap().rate_limit.unwrap().burst.get(), 9);
    }

    #[test]
    fn one_merchant_may_have_two_keys_but_an_id_is_used_once() {
        let two = String::from_utf8(json(&[("a", "merchant", 1), ("b", "merchant", 2)])).unwrap();
        assert_eq!(
            KeyRing::from_json(two.replace("m-b", "m-a").as_bytes())
                .unwrap()
                .len(),
            2
        );
        let twice = json(&[("a", "merchant", 1), ("a", "merchant", 2)]);
        assert!(
            matches!(KeyRing::from_json(&twice), Err(KeyRingError::Duplicate(id)) if id == "a")
        );
    }

    #[test]
    fn wrong_keys_are_refused_without_telling_the_secret() {
        let good = String::from_utf8(json(&[("demo", "merchant", 1)])).unwrap();
        for (from, to) in [
            ("\"demo\"", "\"\""),
            ("m-demo", "m demo"),
            ("\"merchant\"", "\"admin\""),
            ("AQEBAQEB", ""),
            ("AQEBAQEB", "!!!!!!!!"),
            ("\"role\"", "\"extra\":1,\"role\""),
            ("\"AQ", "\"SECRET!"),
            ("}", ",\"rateLimit\":{\"perSecond\":0,\"burst\":1}}"),
            ("]", ""),
        ] {
            let wrong = good.replacen(from, to, 1);
            assert_ne!(wrong, good);
            let error = KeyRing::from_json(wrong.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(
                !error.contains("SECRET") && !error.contains("AQEB"),
                "{error}"
            );
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let debug = format!("{:?}", ring());
        assert!(debug.contains("m-demo"));
        assert!(!debug.contains("mac") && !debug.contains("AQEB") && !debug.contains("1, 1"));
    }
}
