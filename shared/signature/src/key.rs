//! Keys and who they belong to.

use std::collections::{HashMap, hash_map::Entry};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::endpoint::{Endpoint, Webhook};

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
pub struct KeyRing {
    keys: HashMap<String, Arc<Key>>,
    endpoints: HashMap<String, Endpoint>,
}

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
    /// No URL, or no secret as Standard Webhooks has them.
    #[error(
        "the webhook of key {0:?} must have an http or https URL without a user, and as its secret \
         whsec_ and base64 of 24 to 64 bytes"
    )]
    Webhook(String),
    /// Two keys of a merchant name different URLs.
    #[error("the webhook of key {0:?} must have the URL that its merchant's other key has")]
    OtherWebhook(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyEntry {
    key_id: String,
    merchant_id: String,
    role: Role,
    secret: Zeroizing<String>,
    rate_limit: Option<RateLimit>,
    webhook: Option<Webhook>,
}

impl KeyRing {
    /// Reads `[{"keyId","merchantId","role","secret","rateLimit"?,"webhook"?:{"url","secret"}}]`.
    /// `secret` is base64, that of a webhook after `whsec_`. What two keys of a merchant have as their
    /// webhooks differs in its secret alone; both sign.
    ///
    /// # Errors
    /// [`KeyRingError`] for the first key that is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, KeyRingError> {
        let entries: Vec<KeyEntry> =
            serde_json::from_slice(json).map_err(|error| KeyRingError::Json {
                line: error.line(),
                column: error.column(),
            })?;
        let mut ring = Self::default();
        for mut entry in entries {
            let webhook = entry.webhook.take();
            let key = Arc::new(Key::try_from(entry)?);
            if let Some(webhook) = webhook {
                ring.add_webhook(&key, &webhook)?;
            }
            if let Some(twin) = ring.keys.insert(key.key_id.clone(), key) {
                return Err(KeyRingError::Duplicate(twin.key_id.clone()));
            }
        }
        Ok(ring)
    }

    fn add_webhook(&mut self, key: &Key, webhook: &Webhook) -> Result<(), KeyRingError> {
        let wrong = || KeyRingError::Webhook(key.key_id.clone());
        let endpoint = Endpoint::of(webhook).ok_or_else(wrong)?;
        match self.endpoints.entry(key.merchant_id.clone()) {
            Entry::Vacant(place) => {
                place.insert(endpoint);
                Ok(())
            }
            Entry::Occupied(mut other) if other.get().url == endpoint.url => {
                other.get_mut().secrets.extend(endpoint.secrets);
                Ok(())
            }
            Entry::Occupied(_) => Err(KeyRingError::OtherWebhook(key.key_id.clone())),
        }
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, key_id: &str) -> Option<&Arc<Key>> {
        self.keys.get(key_id)
    }

    /// Where a merchant has its webhooks sent.
    #[must_use]
    pub fn endpoint(&self, merchant_id: &str) -> Option<&Endpoint> {
        self.endpoints.get(merchant_id)
    }

    /// How many keys are in force.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nobody can sign.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl TryFrom<KeyEntry> for Key {
    type Error = KeyRingError;

    fn try_from(entry: KeyEntry) -> Result<Self, KeyRingError> {
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
        let KeyEntry {
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

    /// The key `demo` with this webhook, and `next` of the same merchant with another.
    fn with_webhooks(first: &str, second: &str) -> Result<KeyRing, KeyRingError> {
        let keys = json(&[("demo", "merchant", 1), ("next", "merchant", 2)]);
        let keys = String::from_utf8(keys).unwrap().replace("m-next", "m-demo");
        let mut webhooks = [first, second].into_iter();
        let keys: String = keys
            .split_inclusive('}')
            .map(|part| match (part.strip_suffix('}'), webhooks.next()) {
                (Some(key), Some(webhook)) => format!(r#"{key},"webhook":{webhook}}}"#),
                _ => part.to_owned(),
            })
            .collect();
        KeyRing::from_json(keys.as_bytes())
    }

    fn webhook(url: &str, secret_bytes: usize) -> String {
        let secret = BASE64_STANDARD.encode(vec![1; secret_bytes]);
        format!(r#"{{"url":"{url}","secret":"whsec_{secret}"}}"#)
    }

    #[test]
    fn webhooks_of_a_merchant_have_one_url_and_the_secrets_of_all_its_keys() {
        let url = "https://shop.example/hooks?t=TOKEN";
        let ring = with_webhooks(&webhook(url, 24), &webhook(url, 64)).unwrap();
        let endpoint = ring.endpoint("m-demo").unwrap();
        assert_eq!((endpoint.url.as_str(), endpoint.secrets.len()), (url, 2));
        assert!(ring.endpoint("m-ops").is_none());
        let debug = format!("{ring:?}");
        assert!(debug.contains("shop.example"), "{debug}");
        assert!(
            !debug.contains("TOKEN") && !debug.contains("AQEB"),
            "{debug}"
        );

        let other = with_webhooks(&webhook(url, 24), &webhook("https://shop.example/", 24));
        assert!(matches!(other, Err(KeyRingError::OtherWebhook(id)) if id == "next"));
    }

    #[test]
    fn wrong_webhooks_are_refused_without_telling_the_secret() {
        let good = webhook("https://shop.example/", 24);
        for wrong in [
            webhook("https://shop.example/", 23),
            webhook("https://shop.example/", 65),
            webhook("ftp://shop.example/", 24),
            webhook("https://user@shop.example/", 24),
            webhook("https://:pass@shop.example/", 24),
            webhook("shop.example", 24),
            webhook("", 24),
            good.replace("whsec_", ""),
            good.replace("whsec_", "whsec_%"),
        ] {
            let error = with_webhooks(&good, &wrong).unwrap_err();
            assert!(
                matches!(&error, KeyRingError::Webhook(id) if id == "next"),
                "{wrong}"
            );
            assert!(!error.to_string().contains("AQEB"));
        }
        for wrong in ["{}", "1", r#"{"url":"https://shop.example/"}"#] {
            let error = with_webhooks(&good, wrong).unwrap_err();
            assert!(matches!(error, KeyRingError::Json { .. }), "{wrong}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let debug = format!("{:?}", ring());
        assert!(debug.contains("m-demo"));
        assert!(!debug.contains("mac") && !debug.contains("AQEB") && !debug.contains("1, 1"));
    }
}
