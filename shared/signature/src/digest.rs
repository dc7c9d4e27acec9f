//! `Content-Digest` (RFC 9530).

use base64::prelude::{BASE64_STANDARD, Engine};
use http::HeaderMap;
use sfv::{Dictionary, ListEntry, Parser};
use sha2::{Digest, Sha256};

use crate::base::field;

/// The value of `Content-Digest` for a body.
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)))
}

/// Whether the header's `sha-256` member is the digest of the body; other members are ignored.
pub(crate) fn matches(headers: &HeaderMap, body: &[u8]) -> bool {
    let sent = field("content-digest", headers)
        .and_then(|value| Parser::new(&value).parse::<Dictionary>().ok());
    match sent.as_ref().and_then(|digests| digests.get("sha-256")) {
        Some(ListEntry::Item(item)) => {
            item.bare_item.as_byte_sequence() == Some(Sha256::digest(body).as_slice())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(header: &str, body: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("content-digest", header.parse().unwrap());
        matches(&headers, body)
    }

    /// RFC 9530 section D.1.
    #[test]
    fn the_rfc_example_has_its_digest() {
        let body = b"{\"hello\": \"world\"}\n";
        let digest = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(content_digest(body), digest);
        assert!(matched(&format!("sha-512=:AAAA:, {digest}"), body));
    }

    #[test]
    fn anything_else_does_not_match() {
        for header in [
            content_digest(b"other").as_str(),
            "sha-512=:AAAA:",
            "sha-256=RK",
            "sha-256=\"x\"",
            "sha-256=(:AAAA:)",
            "sha-256=::",
            ",",
        ] {
            assert!(!matched(header, b"body"), "{header}");
        }
        assert!(!matches(&HeaderMap::new(), b"body"));
    }
}
