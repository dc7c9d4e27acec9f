use std::sync::Arc;

use hmac::Mac;
use http::HeaderMap;
use sfv::visitor::{DictionaryVisitor, EntryVisitor};
use sfv::{Dictionary, InnerList, KeyRef, ListEntry, Parser};

use crate::base::{Target, field, signature_base};
use crate::{ALGORITHM, Key, KeyRing, digest, required_components};

/// How far `created` may lie from the verifier's clock, in seconds, either way.
pub const CREATED_WINDOW_S: u64 = 300;
/// Most bytes of one signature header that are parsed.
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Most signatures of one request whose key is looked up.
const SIGNATURES_MAX: usize = 8;

/// Why a request is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No signature, or none with its input.
    #[error("the request has no signature")]
    Missing,
    /// Unreadable, incomplete or wrong.
    #[error("the signature is not valid: {0}")]
    Invalid(&'static str),
    /// A component that must be signed is not.
    #[error("the signature does not cover {0:?}")]
    NotCovered(&'static str),
    /// `created` lies outside [`CREATED_WINDOW_S`], or `expires` has passed.
    #[error("the signature is older than 300 s, from the future, or has expired")]
    Expired,
    /// No key has this `keyid`.
    #[error("the key id is unknown")]
    KeyUnknown,
    /// The body is not the one that was signed.
    #[error("the body does not have the sha-256 of Content-Digest")]
    DigestMismatch,
}

/// Verifies that a request is from the holder of a key, unchanged and recent, and names the key.
///
/// The signature has `alg="hmac-sha256"`, `keyid` and `created`, and covers at least `@method` and
/// `@path`, `@query` when there is a query, `content-digest` when there is a body, and
/// `idempotency-key` when that is sent. `now_s` is the time now.
///
/// # Errors
/// [`VerifyError`] names the first rule broken.
pub fn verify(
    target: &Target<'_>,
    headers: &HeaderMap,
    body: &[u8],
    keys: &KeyRing,
    now_s: i64,
) -> Result<Arc<Key>, VerifyError> {
    let inputs = dictionary("signature-input", headers)?;
    let signatures = dictionary("signature", headers)?;
    let (input, signature, key) = select(&inputs, &signatures, keys)?;
    check_parameters(input, now_s)?;
    let covered = |component| {
        input.items.iter().any(|item| {
            item.bare_item
                .as_string()
                .is_some_and(|s| s.as_str() == component)
        })
    };
    if let Some(component) = required_components(target, headers, body).find(|c| !covered(*c)) {
        return Err(VerifyError::NotCovered(component));
    }
    let base = signature_base(target, headers, input)
        .map_err(|_| VerifyError::Invalid("a component is absent, repeated or not supported"))?;
    key.mac()
        .chain_update(&base)
        .verify_slice(signature)
        .map_err(|_| VerifyError::Invalid("it is not the key's signature of this request"))?;
    if covered("content-digest") && !digest::matches(headers, body) {
        return Err(VerifyError::DigestMismatch);
    }
    Ok(Arc::clone(key))
}

fn dictionary(name: &str, headers: &HeaderMap) -> Result<Dictionary, VerifyError> {
    let value = field(name, headers).ok_or(VerifyError::Missing)?;
    if value.len() > HEADER_BYTES_MAX {
        return Err(VerifyError::Invalid("its headers are too long"));
    }
    Parser::new(&value)
        .parse_dictionary_with_visitor(Labelled::default())
        .map_err(|_| VerifyError::Invalid("its headers are not dictionaries with unique labels"))
}

/// A dictionary in which a label stands once: of two signatures with one label, proxy and verifier
/// could believe different ones.
#[derive(Default)]
struct Labelled(Dictionary);

#[derive(Debug, thiserror::Error)]
#[error("a label stands there twice")]
struct Repeated;

impl<'de> DictionaryVisitor<'de> for Labelled {
    type Out = Dictionary;
    type Error = Repeated;

    fn entry(&mut self, label: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Repeated> {
        if self.0.contains_key(label) {
            return Err(Repeated);
        }
        DictionaryVisitor::entry(&mut self.0, label).map_err(|never| match never {})
    }

    fn finish(self) -> Result<Dictionary, Repeated> {
        Ok(self.0)
    }
}

/// The first signature whose key is known.
fn select<'a>(
    inputs: &'a Dictionary,
    signatures: &'a Dictionary,
    keys: &'a KeyRing,
) -> Result<(&'a InnerList, &'a [u8], &'a Arc<Key>), VerifyError> {
    let mut error = VerifyError::Missing;
    for (label, input) in inputs.iter().take(SIGNATURES_MAX) {
        let Some(signature) = signatures.get(label) else {
            continue;
        };
        let (ListEntry::InnerList(input), ListEntry::Item(signature)) = (input, signature) else {
            error =
                VerifyError::Invalid("its input is no inner list or its value no byte sequence");
            continue;
        };
        let key_id = input
            .params
            .get("keyid")
            .and_then(|key_id| key_id.as_string());
        let (Some(key_id), Some(signature)) = (key_id, signature.bare_item.as_byte_sequence())
        else {
            error = VerifyError::Invalid("it has no keyid or its value is no byte sequence");
            continue;
        };
        match keys.get(key_id.as_str()) {
            Some(key) => return Ok((input, signature, key)),
            None => error = VerifyError::KeyUnknown,
        }
    }
    Err(error)
}

fn check_parameters(input: &InnerList, now_s: i64) -> Result<(), VerifyError> {
    let parameter = |name| input.params.get(name);
    let algorithm = parameter("alg").and_then(|algorithm| algorithm.as_string());
    if algorithm.is_none_or(|algorithm| algorithm.as_str() != ALGORITHM) {
        return Err(VerifyError::Invalid("alg must be \"hmac-sha256\""));
    }
    let created = parameter("created")
        .and_then(sfv::BareItem::as_integer)
        .map(i64::from);
    let Some(created) = created else {
        return Err(VerifyError::Invalid("created must be an integer"));
    };
    let expires = match parameter("expires").map(sfv::BareItem::as_integer) {
        None => None,
        Some(Some(expires)) => Some(i64::from(expires)),
        Some(None) => return Err(VerifyError::Invalid("expires must be an integer")),
    };
    let too_far = now_s.abs_diff(created) > CREATED_WINDOW_S;
    if too_far || expires.is_some_and(|expires| now_s > expires) {
        return Err(VerifyError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
