//! The signature base: the bytes that are signed (RFC 9421 section 2.5).

use std::borrow::Cow;
use std::collections::HashSet;

use http::{HeaderMap, HeaderName};
use sfv::{InnerList, ListEntry, ListSerializer};

/// A request without headers and body.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    /// The path exactly as sent, not decoded.
    pub path: &'a str,
    /// The query exactly as sent, without the question mark.
    pub query: Option<&'a str>,
}

/// A component that has no value in this request, that stands there twice, or that this crate does
/// not compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSuchComponent;

/// The signature base over the components and parameters of `input`, in its order.
pub(crate) fn signature_base(
    target: &Target<'_>,
    headers: &HeaderMap,
    input: &InnerList,
) -> Result<Vec<u8>, NoSuchComponent> {
    let mut base = Vec::new();
    let mut names = HashSet::new();
    for item in &input.items {
        let name = item.bare_item.as_string().ok_or(NoSuchComponent)?.as_str();
        if !names.insert(name) {
            return Err(NoSuchComponent);
        }
        let value = match name.starts_with('@') {
            _ if !item.params.is_empty() => return Err(NoSuchComponent),
            true => derived(name, target, headers).ok_or(NoSuchComponent)?,
            false => field(name, headers).ok_or(NoSuchComponent)?.into(),
        };
        for part in [b"\"", name.as_bytes(), b"\": ", &value, b"\n"] {
            base.extend_from_slice(part);
        }
    }
    base.extend_from_slice(b"\"@signature-params\": ");
    base.extend_from_slice(serialize(input).as_bytes());
    Ok(base)
}

/// An inner list in its strict form (RFC 9651 section 4.1.1.1).
pub(crate) fn serialize(input: &InnerList) -> String {
    let mut list = ListSerializer::new();
    list.members([&ListEntry::InnerList(input.clone())]);
    list.finish().unwrap_or_default()
}

/// A component that is not a header field (RFC 9421 section 2.2).
fn derived<'a>(name: &str, target: &Target<'a>, headers: &HeaderMap) -> Option<Cow<'a, [u8]>> {
    let path = if target.path.is_empty() {
        "/"
    } else {
        target.path
    };
    let suffix = || {
        target
            .query
            .map(|query| format!("?{query}"))
            .unwrap_or_default()
    };
    let value: Cow<'_, str> = match name {
        "@method" => target.method.into(),
        "@path" => path.into(),
        "@query" => format!("?{}", target.query.unwrap_or_default()).into(),
        "@request-target" => format!("{path}{}", suffix()).into(),
        "@scheme" => target.scheme.into(),
        "@authority" => authority(target.scheme, headers)?.into(),
        "@target-uri" => {
            let authority = authority(target.scheme, headers)?;
            format!("{}://{authority}{path}{}", target.scheme, suffix()).into()
        }
        _ => return None,
    };
    Some(match value {
        Cow::Borrowed(text) => text.as_bytes().into(),
        Cow::Owned(text) => text.into_bytes().into(),
    })
}

/// The host in lower case, with its port unless that is the scheme's own.
fn authority(scheme: &str, headers: &HeaderMap) -> Option<String> {
    let host = headers
        .get(http::header::HOST)?
        .to_str()
        .ok()?
        .to_ascii_lowercase();
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    Some(host.strip_suffix(default_port).unwrap_or(&host).to_owned())
}

/// A field's values, trimmed and joined in the order sent (RFC 9421 section 2.1).
pub(crate) fn field(name: &str, headers: &HeaderMap) -> Option<Vec<u8>> {
    let parsed = HeaderName::try_from(name)
        .ok()
        .filter(|parsed| parsed.as_str() == name)?;
    let mut values = headers
        .get_all(parsed)
        .iter()
        .map(|value| value.as_bytes().trim_ascii());
    let mut joined = values.next()?.to_vec();
    for value in values {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value);
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use sfv::{Dictionary, Parser};

    use super::*;

    const TARGET: Target<'_> = Target {
        method: "POST",
        scheme: "https",
        path: "/foo",
        query: Some("param=Value&Pet=dog"),
    };

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", "example.com".parse().unwrap());
        headers.insert("date", "Tue, 20 Apr 2021 02:07:55 GMT".parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        headers
    }

    fn base_of(target: &Target<'_>, headers: &HeaderMap, input: &str) -> Option<String> {
        let list: Vec<ListEntry> = Parser::new(input).parse().unwrap();
        let [ListEntry::InnerList(input)] = list.as_slice() else {
            panic!("one inner list")
        };
        let base = signature_base(target, headers, input).ok()?;
        Some(String::from_utf8(base).unwrap())
    }

    /// RFC 9421 section B.2.5.
    #[test]
    fn the_rfc_example_is_rebuilt_and_verified() {
        use hmac::{Hmac, KeyInit, Mac};

        let input =
            r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
        let base = base_of(&TARGET, &headers(), input).unwrap();
        let expected = format!(
            "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\
             \"content-type\": application/json\n\"@signature-params\": {input}"
        );
        assert_eq!(base, expected);

        let secret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
        let secret = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, secret).unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
        mac.update(base.as_bytes());
        let header = "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:";
        let signatures: Dictionary = Parser::new(header).parse().unwrap();
        let Some(ListEntry::Item(signature)) = signatures.get("sig-b25") else {
            panic!("an item")
        };
        mac.verify_slice(signature.bare_item.as_byte_sequence().unwrap())
            .unwrap();
    }

    #[test]
    fn derived_components_are_taken_as_sent() {
        let target = Target {
            path: "/a%2Fb",
            query: Some("x=%C3%A9&y"),
            ..TARGET
        };
        let input = r#"("@method" "@path" "@query" "@request-target" "@scheme" "@authority" "@target-uri")"#;
        let expected = format!(
            "\"@method\": POST\n\"@path\": /a%2Fb\n\"@query\": ?x=%C3%A9&y\n\
             \"@request-target\": /a%2Fb?x=%C3%A9&y\n\"@scheme\": https\n\
             \"@authority\": example.com\n\
             \"@target-uri\": https://example.com/a%2Fb?x=%C3%A9&y\n\"@signature-params\": {input}"
        );
        assert_eq!(base_of(&target, &headers(), input).unwrap(), expected);
    }

    #[test]
    fn an_empty_path_is_a_slash_and_an_absent_query_a_question_mark() {
        let target = Target {
            path: "",
            query: None,
            ..TARGET
        };
        let base = base_of(
            &target,
            &headers(),
            r#"("@path" "@query" "@request-target")"#,
        )
        .unwrap();
        assert!(
            base.starts_with("\"@path\": /\n\"@query\": ?\n\"@request-target\": /\n"),
            "{base}"
        );
    }

    #[test]
    fn the_authority_loses_only_the_port_of_its_scheme() {
        for (scheme, host, expected) in [
            ("http", "LocalHost:80", "localhost"),
            ("https", "example.com:443", "example.com"),
            ("http", "127.0.0.1:9000", "127.0.0.1:9000"),
            ("http", "example.com:443", "example.com:443"),
        ] {
            let mut headers = headers();
            headers.insert("host", host.parse().unwrap());
            assert_eq!(authority(scheme, &headers).as_deref(), Some(expected));
        }
    }

    #[test]
    fn repeated_fields_are_trimmed_and_joined() {
        let mut headers = HeaderMap::new();
        headers.append("x-two", " a ".parse().unwrap());
        headers.append("x-two", "b".parse().unwrap());
        headers.append("x-none", "".parse().unwrap());
        let base = base_of(&TARGET, &headers, r#"("x-two" "x-none")"#).unwrap();
        assert!(
            base.starts_with("\"x-two\": a, b\n\"x-none\": \n"),
            "{base}"
        );
    }

    #[test]
    fn what_cannot_be_computed_is_refused() {
        for input in [
            r#"("x-absent")"#,
            r#"("Date")"#,
            r#"("@status")"#,
            r#"("@signature-params")"#,
            r#"("@query-param";name="a")"#,
            r#"("date";sf)"#,
            r#"("@method";req)"#,
            r#"("a b")"#,
            r#"("date" "date")"#,
            r#"("@path" "@method" "@path")"#,
            "(date)",
            "(1)",
        ] {
            assert_eq!(base_of(&TARGET, &headers(), input), None, "{input}");
        }
    }
}
