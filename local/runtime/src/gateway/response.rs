//! Reads a function's answer as an HTTP response: payload format 2.0.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Response, StatusCode};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::server::{Reply, ReplyBody};

/// Headers that belong to the connection, which is the runtime's.
const CONNECTION_HEADERS: [HeaderName; 4] =
    [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE];

/// An answer with `statusCode`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    status_code: u16,
    #[serde(borrow, default)]
    headers: Option<Headers<'a>>,
    #[serde(borrow, default)]
    cookies: Option<Vec<Text<'a>>>,
    #[serde(borrow, default)]
    body: Option<Text<'a>>,
    #[serde(default)]
    is_base64_encoded: Option<bool>,
}

/// Text that is copied only where it has escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Header names and values, in order.
#[derive(Default)]
pub(super) struct Headers<'a>(Vec<(Text<'a>, HeaderText<'a>)>);

/// A header's value: text, or a number or a truth value written as one, or several texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderText<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Number(serde_json::Number),
    Bool(bool),
    #[serde(borrow)]
    Several(Vec<Text<'a>>),
}

/// The HTTP response that `answer` describes: an object with `statusCode` says it all; any other
/// JSON text is the body of a 200.
///
/// # Errors
/// What is wrong with it.
pub(super) fn map(answer: &Bytes) -> Result<Reply, String> {
    match serde_json::from_slice::<Answer<'_>>(answer) {
        Ok(answer) => full_response(answer),
        Err(error) => plain_response(answer).ok_or_else(|| error.to_string()),
    }
}

fn full_response(answer: Answer<'_>) -> Result<Reply, String> {
    let head = head(answer.status_code, answer.headers, answer.cookies)?;
    let body = answer.body.map_or(Cow::Borrowed(""), |text| text.0);
    let body = if answer.is_base64_encoded == Some(true) {
        STANDARD
            .decode(body.as_bytes())
            .map_err(|error| format!("body: {error}"))?
            .into()
    } else {
        Bytes::from(body.into_owned())
    };
    let has_body = !body.is_empty();
    let mut response = head.map(|()| ReplyBody::from(body));
    let headers = response.headers_mut();
    if has_body && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
    }
    Ok(response)
}

/// A response without a body.
///
/// # Errors
/// What is wrong with the parts.
pub(super) fn head(
    status: u16,
    headers: Option<Headers<'_>>,
    cookies: Option<Vec<Text<'_>>>,
) -> Result<Response<()>, String> {
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or_else(|| format!("statusCode {status} is none"))?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    let map = response.headers_mut();
    for (name, value) in headers.into_iter().flat_map(|headers| headers.0) {
        insert(map, &name.0, &value)?;
    }
    for cookie in cookies.into_iter().flatten() {
        let value = HeaderValue::from_str(&cookie.0).map_err(|_| "a cookie is not valid")?;
        map.append(SET_COOKIE, value);
    }
    Ok(response)
}

fn insert(headers: &mut HeaderMap, name: &str, value: &HeaderText<'_>) -> Result<(), String> {
    let invalid = || format!("the header {name:?} is not valid");
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
    if CONNECTION_HEADERS.contains(&name) {
        return Ok(());
    }
    let mut append = |text: &str| {
        let value = HeaderValue::from_str(text).map_err(|_| invalid())?;
        headers.append(&name, value);
        Ok(())
    };
    match value {
        HeaderText::Text(text) => append(text),
        HeaderText::Number(number) => append(&number.to_string()),
        HeaderText::Bool(bool) => append(&bool.to_string()),
        HeaderText::Several(texts) => texts.iter().try_for_each(|text| append(&text.0)),
    }
}

/// A JSON text without `statusCode`; `None` if it is no JSON or has an unusable `statusCode`.
fn plain_response(answer: &Bytes) -> Option<Reply> {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "statusCode")]
        status_code: Option<IgnoredAny>,
    }
    serde_json::from_slice::<IgnoredAny>(answer).ok()?;
    let probe = serde_json::from_slice::<Probe>(answer);
    if matches!(
        probe,
        Ok(Probe {
            status_code: Some(_)
        })
    ) {
        return None;
    }
    let mut response = Response::new(ReplyBody::from(answer.clone()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(response)
}

impl Headers<'_> {
    /// The `content-length` that the function gives.
    pub(super) fn content_length(&self) -> Option<HeaderValue> {
        let found = self.0.iter().find(|(name, _)| CONTENT_LENGTH == *name.0);
        match &found?.1 {
            HeaderText::Text(text) => HeaderValue::from_str(text).ok(),
            HeaderText::Number(number) => HeaderValue::from_str(&number.to_string()).ok(),
            HeaderText::Bool(_) | HeaderText::Several(_) => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Headers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Headers<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object of headers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Headers(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn mapped(answer: &'static str) -> (u16, Vec<(String, String)>, Bytes) {
        let response = map(&Bytes::from_static(answer.as_bytes())).expect("a response");
        let (parts, body) = response.into_parts();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
        let body = body.collect().await.expect("a body").to_bytes();
        (parts.status.as_u16(), headers.collect(), body)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[tokio::test]
    async fn status_headers_cookies_and_body_are_passed_on() {
        let (status, headers, body) = mapped(
            r#"{"statusCode":201,"headers":{"content-type":"application/json","x-n":7,
                "x-b":true,"x-m":["1","2"],"content-length":"999","connection":"close"},
                "multiValueHeaders":{},"cookies":["a=1; Path=/","b=2"],
                "body":"{\"a\":\"\u00e9\"}","isBase64Encoded":false}"#,
        )
        .await;
        assert_eq!(status, 201);
        let expected = [
            pair("content-type", "application/json"),
            pair("x-n", "7"),
            pair("x-b", "true"),
            pair("x-m", "1"),
            pair("x-m", "2"),
            pair("set-cookie", "a=1; Path=/"),
            pair("set-cookie", "b=2"),
        ];
        assert_eq!(headers, expected);
        assert_eq!(body, "{\"a\":\"é\"}");
    }

    #[tokio::test]
    async fn base64_body_is_decoded() {
        let (_, _, body) =
            mapped(r#"{"statusCode":200,"body":"/wD+","isBase64Encoded":true}"#).await;
        assert_eq!(&body[..], b"\xff\x00\xfe");
    }

    #[tokio::test]
    async fn json_without_status_code_is_the_body_of_a_200() {
        for answer in [r#"{"a":1}"#, "[1,2]", "\"text\"", "null", "7"] {
            let (status, headers, body) = mapped(answer).await;
            assert_eq!(status, 200);
            assert_eq!(headers, [pair("content-type", "application/json")]);
            assert_eq!(body, answer);
        }
    }

    #[test]
    fn bad_shapes_are_refused() {
        for answer in [
            "",
            "not JSON",
            r#"{"statusCode":"two hundred"}"#,
            r#"{"statusCode":42}"#,
            r#"{"statusCode":101}"#,
            r#"{"statusCode":200,"headers":{"bad name":"x"}}"#,
            r#"{"statusCode":200,"headers":{"x":"a\nb"}}"#,
            r#"{"statusCode":200,"body":"%%","isBase64Encoded":true}"#,
            r#"{"statusCode":200,"body":7}"#,
        ] {
            assert!(
                map(&Bytes::from_static(answer.as_bytes())).is_err(),
                "{answer}"
            );
        }
    }
}
