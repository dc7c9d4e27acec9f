//! Writes the event of an HTTP request: API Gateway HTTP APIs, payload format 2.0.
//!
//! Source: AWS, "Create AWS Lambda proxy integrations for HTTP APIs", payload format structure.

use std::borrow::Cow;
use std::net::SocketAddr;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::Version;
use http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, USER_AGENT,
};
use http::request::Parts;
use matchit::Params;
use percent_encoding::percent_decode_str;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// Bytes that an event has besides headers, query and body, about.
const ENVELOPE_BYTES: usize = 1024;

/// How a request met its route.
pub(super) struct Matched<'a> {
    pub(super) route_key: &'a str,
    pub(super) parameter_names: &'a [String],
    pub(super) parameters: Params<'a, 'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'a str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<&'a str>,
    headers: Headers<'a>,
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    query_string_parameters: Pairs<'a>,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    path_parameters: Pairs<'a>,
    #[serde(skip_serializing_if = "BodyText::is_empty")]
    body: BodyText<'a>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    account_id: &'static str,
    api_id: &'static str,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: Uuid,
    route_key: &'a str,
    stage: &'static str,
    time: String,
    time_epoch: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: std::net::IpAddr,
    user_agent: &'a str,
}

/// The event of a request, a JSON text. Headers must be UTF-8.
pub(super) fn build(
    parts: &Parts,
    matched: &Matched<'_>,
    body: &Bytes,
    peer: SocketAddr,
    id: Uuid,
) -> Bytes {
    build_at(parts, matched, body, peer, id, Utc::now())
}

fn build_at(
    parts: &Parts,
    matched: &Matched<'_>,
    body: &Bytes,
    peer: SocketAddr,
    id: Uuid,
    now: DateTime<Utc>,
) -> Bytes {
    let query = parts.uri.query().unwrap_or_default();
    let body = BodyText::of(body, &parts.headers);
    let event = Event {
        version: "2.0",
        route_key: matched.route_key,
        raw_path: parts.uri.path(),
        raw_query_string: query,
        cookies: cookies(&parts.headers),
        headers: Headers(&parts.headers),
        query_string_parameters: query_parameters(query),
        request_context: request_context(parts, matched.route_key, peer, id, now),
        path_parameters: path_parameters(matched),
        is_base64_encoded: matches!(body, BodyText::Binary(_)),
        body,
    };
    // Room for the worst usual case at once: base64 is a third longer, escapes are few.
    let body_bytes = event.body.len() + event.body.len() / 3;
    let mut text = Vec::with_capacity(ENVELOPE_BYTES + query.len() * 2 + body_bytes);
    #[expect(
        clippy::expect_used,
        reason = "every key is text, and a Vec takes every byte"
    )]
    serde_json::to_writer(&mut text, &event).expect("an event serializes");
    text.into()
}

fn request_context<'a>(
    parts: &'a Parts,
    route_key: &'a str,
    peer: SocketAddr,
    request_id: Uuid,
    now: DateTime<Utc>,
) -> RequestContext<'a> {
    let domain_name = header(&parts.headers, HOST).unwrap_or_default();
    RequestContext {
        account_id: "000000000000",
        api_id: "local",
        domain_name,
        domain_prefix: domain_name.split('.').next().unwrap_or_default(),
        http: Http {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            protocol: protocol(parts.version),
            source_ip: peer.ip(),
            user_agent: header(&parts.headers, USER_AGENT).unwrap_or_default(),
        },
        request_id,
        route_key,
        stage: "$default",
        time: now.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        time_epoch: now.timestamp_millis(),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    text(headers.get(name)?.as_bytes())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn cookies(headers: &HeaderMap) -> Vec<&str> {
    let values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| text(value.as_bytes()));
    values
        .flat_map(|value| value.split(';'))
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect()
}

fn query_parameters(query: &str) -> Pairs<'_> {
    let mut pairs = Pairs(Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match pairs.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                let values = values.to_mut();
                values.push(',');
                values.push_str(&value);
            }
            None => pairs.0.push((name, value)),
        }
    }
    pairs
}

fn path_parameters<'a>(matched: &'a Matched<'a>) -> Pairs<'a> {
    let values = matched
        .parameters
        .iter()
        .map(|(_, value)| percent_decode_str(value));
    let names = matched
        .parameter_names
        .iter()
        .map(|name| Cow::Borrowed(name.as_str()));
    Pairs(
        names
            .zip(values.map(percent_encoding::PercentDecode::decode_utf8_lossy))
            .collect(),
    )
}

/// Names and values, each name once.
struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl Pairs<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Headers as one JSON object; several values of a name are joined by a comma and a space, as
/// RFC 9110, section 5.3, and signature bases (RFC 9421) have it. Cookies stand elsewhere.
struct Headers<'a>(&'a HeaderMap);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.0.keys().filter(|name| *name != COOKIE) {
            let mut values = self
                .0
                .get_all(name)
                .iter()
                .filter_map(|value| text(value.as_bytes()));
            let first = values.next().unwrap_or_default();
            match values.next() {
                None => map.serialize_entry(name.as_str(), first)?,
                Some(second) => {
                    let all: Vec<&str> = [first, second].into_iter().chain(values).collect();
                    map.serialize_entry(name.as_str(), &all.join(", "))?;
                }
            }
        }
        map.end()
    }
}

/// A body as text where it is text, else in base64.
enum BodyText<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> BodyText<'a> {
    fn of(body: &'a [u8], headers: &HeaderMap) -> Self {
        let content_type = header(headers, CONTENT_TYPE).unwrap_or_default();
        // A coded body is no text, whatever it will be once decoded.
        if is_text(content_type) && !headers.contains_key(CONTENT_ENCODING) {
            text(body).map_or(Self::Binary(body), Self::Text)
        } else if body.is_empty() {
            Self::Text("")
        } else {
            Self::Binary(body)
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Serialize for BodyText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Binary(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
        }
    }
}

fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = essence.split_once('/') else {
        return false;
    };
    let subtype = subtype.to_ascii_lowercase();
    kind.eq_ignore_ascii_case("text")
        || kind.eq_ignore_ascii_case("application")
            && matches!(
                subtype.as_str(),
                "json" | "javascript" | "xml" | "x-www-form-urlencoded"
            )
        || subtype.ends_with("+json")
        || subtype.ends_with("+xml")
}

#[cfg(test)]
mod tests;
