//! HTTP message signatures with shared secrets: what proves who sent a request, and that nobody
//! changed it on the way.
//!
//! Source: RFC 9421 (signatures, `hmac-sha256` only) and RFC 9530 (`Content-Digest`, `sha-256`
//! only). Times are seconds since the Unix epoch and are passed in. The key file also says where a
//! merchant has its webhooks sent.

mod base;
mod digest;
mod endpoint;
mod key;
mod key_file;
mod sign;
mod verify;

pub use base::Target;
pub use digest::content_digest;
pub use endpoint::{Endpoint, WebhookSecret};
pub use key::{Key, KeyRing, KeyRingError, RateLimit, Role};
pub use key_file::{KeyFile, KeyFileError};
pub use sign::{SignError, sign};
pub use verify::{CREATED_WINDOW_S, VerifyError, verify};

/// The only algorithm, as `alg` names it (RFC 9421 section 3.3.3).
const ALGORITHM: &str = "hmac-sha256";

/// What every signature must cover: method and path, and of query, body and idempotency key what
/// the request has.
fn required_components<'a>(
    target: &Target<'_>,
    headers: &http::HeaderMap,
    body: &'a [u8],
) -> impl Iterator<Item = &'static str> + use<'a> {
    let has_query = target.query.is_some_and(|query| !query.is_empty());
    let has_key = headers.contains_key("idempotency-key");
    [
        ("@method", true),
        ("@path", true),
        ("@query", has_query),
        ("content-digest", !body.is_empty()),
        ("idempotency-key", has_key),
    ]
    .into_iter()
    .filter_map(|(component, required)| required.then_some(component))
}
