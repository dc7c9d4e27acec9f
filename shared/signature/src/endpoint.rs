//! Where merchants have their webhooks sent, and the secrets that sign those.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use url::Url;
use zeroize::Zeroizing;

/// What a secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// Fewest and most bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A merchant's endpoint.
#[derive(Clone)]
pub struct Endpoint {
    /// `http` or `https`, without a user. Its query may be a secret of the merchant's.
    pub url: Url,
    /// At least one; each signs.
    pub secrets: Vec<WebhookSecret>,
}

/// A secret of Standard Webhooks. It cannot be read back.
#[derive(Clone)]
pub struct WebhookSecret(Hmac<Sha256>);

/// An endpoint as the key file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    url: String,
    secret: Zeroizing<String>,
}

impl Endpoint {
    pub(crate) fn of(webhook: &Webhook) -> Option<Self> {
        let url = Url::parse(&webhook.url).ok()?;
        let anonymous = url.username().is_empty() && url.password().is_none();
        let http = matches!(url.scheme(), "http" | "https");
        let secrets = vec![WebhookSecret::parse(&webhook.secret)?];
        (http && anonymous).then_some(Self { url, secrets })
    }
}

impl WebhookSecret {
    /// Reads `whsec_` and base64 of 24 to 64 bytes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let secret = BASE64_STANDARD.decode(text.strip_prefix(SECRET_PREFIX)?);
        let secret = Zeroizing::new(secret.ok()?);
        let mac = Hmac::new_from_slice(&secret).ok()?;
        SECRET_BYTES.contains(&secret.len()).then_some(Self(mac))
    }

    /// HMAC-SHA-256 over the parts, one after the other.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebhookSecret")
            .finish_non_exhaustive()
    }
}
