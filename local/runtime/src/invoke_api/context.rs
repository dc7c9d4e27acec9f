//! What a caller adds to an event: `X-Amz-Client-Context` and `X-Amz-Tenant-Id`.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderValue};
use serde::de::IgnoredAny;

use super::exceptions::Exception;

const CLIENT_CONTEXT: &str = "x-amz-client-context";
const TENANT_ID: &str = "x-amz-tenant-id";
/// Longest client context in bytes of base64, as on AWS.
const CLIENT_CONTEXT_BYTES_MAX: usize = 3583;
/// Longest tenant id in bytes, as on AWS.
const TENANT_ID_BYTES_MAX: usize = 256;

/// The client context, decoded.
pub(super) fn client_context(headers: &HeaderMap) -> Result<Option<HeaderValue>, Exception> {
    let Some(value) = headers.get(CLIENT_CONTEXT) else {
        return Ok(None);
    };
    if value.len() > CLIENT_CONTEXT_BYTES_MAX {
        let message =
            format!("{CLIENT_CONTEXT} may have up to {CLIENT_CONTEXT_BYTES_MAX} bytes of base64");
        return Err(Exception::invalid_content(&message));
    }
    let decoded = STANDARD.decode(value).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let header = text.filter(|text| is_object(text)).and_then(|text| {
        let text = header_text(&text);
        HeaderValue::from_str(&text).ok()
    });
    match header {
        Some(header) => Ok(Some(header)),
        None => Err(Exception::invalid_content(
            "Client context must be a valid Base64-encoded JSON object.",
        )),
    }
}

fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The same JSON in characters that a header can have, and clients read: line breaks are only ever
/// between tokens, and other characters only within strings.
fn header_text(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' | '\r' | '\t' => text.push(' '),
            ' '..='~' => text.push(character),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    let _infallible = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text
}

/// The tenant's id.
pub(super) fn tenant(headers: &HeaderMap) -> Result<Option<HeaderValue>, Exception> {
    let Some(value) = headers.get(TENANT_ID) else {
        return Ok(None);
    };
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/=+-@ ".contains(byte);
    let bytes = value.as_bytes();
    if bytes.is_empty() || bytes.len() > TENANT_ID_BYTES_MAX || !bytes.iter().all(allowed) {
        let message = format!(
            "{TENANT_ID} must be 1 to {TENANT_ID_BYTES_MAX} letters, digits, spaces or ._:/=+-@"
        );
        return Err(Exception::invalid_parameter(&message));
    }
    Ok(Some(value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(value: &str) -> Result<Option<HeaderValue>, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(CLIENT_CONTEXT, value.parse().expect("text"));
        client_context(&headers).map_err(|exception| exception.name)
    }

    #[test]
    fn client_context_is_decoded_into_a_header() {
        let pretty = "{\n  \"custom\": {\"이름\": \"🎈\"}\n}";
        let header = context(&STANDARD.encode(pretty)).expect("valid");
        let header = header.expect("present");
        let text = header.to_str().expect("ASCII");
        assert_eq!(text, r#"{   "custom": {"\uc774\ub984": "\ud83c\udf88"} }"#);
        let value = |text| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(text), value(pretty));
    }

    #[test]
    fn client_context_that_is_no_object_in_base64_is_refused() {
        let invalid = Err("InvalidRequestContentException");
        for value in ["{}", "e30", &STANDARD.encode("[]"), &STANDARD.encode("{")] {
            assert_eq!(context(value), invalid, "{value}");
        }
        let with_length = |length: usize| STANDARD.encode(format!("{{{}}}", " ".repeat(length)));
        assert_eq!(context(&with_length(2680)).map(|it| it.is_some()), Ok(true));
        assert_eq!(with_length(2686).len(), CLIENT_CONTEXT_BYTES_MAX + 1);
        assert_eq!(context(&with_length(2686)), invalid);
    }

    #[test]
    fn tenant_is_letters_and_some_others() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TENANT_ID, value.parse().expect("text"));
            tenant(&headers).map_err(|exception| exception.name)
        };
        assert_eq!(of("a@b c"), Ok(Some(HeaderValue::from_static("a@b c"))));
        for invalid in ["", "a#b", &"x".repeat(257)] {
            assert_eq!(of(invalid), Err("InvalidParameterValueException"));
        }
    }
}
