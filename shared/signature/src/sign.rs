use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, InnerList, Item, KeyRef, Parameters};

use crate::base::{Target, serialize, signature_base};
use crate::{ALGORITHM, Key, content_digest, required_components};
use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::Mac;

/// The label of a signature made here.
const LABEL: &str = "sig1";

/// Why a request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// `created` has more than 15 digits.
    #[error("the creation time cannot be written into a signature")]
    Created,
    /// The method or a header value cannot be part of a header.
    #[error("the request has a value that cannot be signed")]
    Value,
}

/// Signs a request: adds `content-digest` when there is a body, then `signature-input` and
/// `signature` over all that [`verify`](crate::verify) demands. `created_s` is the time now.
///
/// # Errors
/// [`SignError`] when a value cannot be written into a header.
pub fn sign(
    target: &Target<'_>,
    headers: &mut HeaderMap,
    body: &[u8],
    key: &Key,
    created_s: i64,
) -> Result<(), SignError> {
    if !body.is_empty() {
        set(headers, "content-digest", &content_digest(body))?;
    }
    let input = signature_input(target, headers, body, key, created_s)?;
    let base = signature_base(target, headers, &input).map_err(|_| SignError::Value)?;
    let signature = BASE64_STANDARD.encode(key.mac().chain_update(&base).finalize().into_bytes());
    set(
        headers,
        "signature-input",
        &format!("{LABEL}={}", serialize(&input)),
    )?;
    set(headers, "signature", &format!("{LABEL}=:{signature}:"))
}

fn signature_input(
    target: &Target<'_>,
    headers: &HeaderMap,
    body: &[u8],
    key: &Key,
    created_s: i64,
) -> Result<InnerList, SignError> {
    let items = required_components(target, headers, body)
        .map(|component| text(component).map(Item::new))
        .collect::<Result<_, _>>()?;
    let created = sfv::Integer::try_from(created_s).map_err(|_| SignError::Created)?;
    let params: Parameters = [
        ("created", created.into()),
        ("keyid", text(&key.key_id)?),
        ("alg", text(ALGORITHM)?),
    ]
    .into_iter()
    .map(|(name, value)| {
        Ok((
            KeyRef::from_str(name)
                .map_err(|_| SignError::Value)?
                .to_owned(),
            value,
        ))
    })
    .collect::<Result<_, _>>()?;
    Ok(InnerList::with_params(items, params))
}

fn text(value: &str) -> Result<BareItem, SignError> {
    sfv::String::from_string(value.to_owned())
        .map(Into::into)
        .map_err(|_| SignError::Value)
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), SignError> {
    let value = HeaderValue::from_str(value).map_err(|_| SignError::Value)?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}
