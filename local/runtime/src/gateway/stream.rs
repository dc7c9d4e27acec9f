//! Reads a streamed answer as an HTTP response: a JSON prelude, eight NUL bytes, and the body.
//!
//! Source: AWS, "Response streaming for Lambda functions", `application/vnd.awslambda.http-integration-response`.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use memchr::memmem;
use serde::Deserialize;

use super::response::{Headers, Text, head};
use crate::answer::Stream;
use crate::call::Failure;
use crate::server::{Reply, ReplyBody};

const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";
const DELIMITER: &[u8] = &[0; 8];
/// Most bytes of a prelude.
const PRELUDE_BYTES_MAX: usize = 64 * 1024;
/// The length that a function gives, where it is not the connection's.
const GIVEN_LENGTH: HeaderName = HeaderName::from_static("x-amzn-remapped-content-length");
const UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Why a streamed answer is no response.
pub(super) enum Unusable {
    /// It failed before its body began.
    Failed(Failure),
    /// Its prelude is none: what is wrong with it.
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prelude<'a> {
    #[serde(default = "ok")]
    status_code: u16,
    #[serde(borrow, default)]
    headers: Option<Headers<'a>>,
    #[serde(borrow, default)]
    cookies: Option<Vec<Text<'a>>>,
}

fn ok() -> u16 {
    200
}

/// The HTTP response of which `stream` brings the body, and before it the prelude, if its content type
/// says so.
///
/// # Errors
/// [`Unusable`]; nothing has gone to the client then.
pub(super) async fn map(mut stream: Stream) -> Result<Reply, Unusable> {
    let content_type = stream.content_type.clone().unwrap_or(UNKNOWN);
    if content_type != WITH_PRELUDE {
        let mut reply = Reply::new(ReplyBody::from(stream));
        reply.headers_mut().insert(CONTENT_TYPE, content_type);
        return Ok(reply);
    }
    let prelude = take_prelude(&mut stream).await?;
    let prelude: Prelude<'_> = serde_json::from_slice(&prelude)
        .map_err(|error| Unusable::Invalid(format!("prelude: {error}")))?;
    let length = prelude.headers.as_ref().and_then(Headers::content_length);
    let head = head(prelude.status_code, prelude.headers, prelude.cookies);
    let mut reply = head
        .map_err(Unusable::Invalid)?
        .map(|()| ReplyBody::from(stream));
    if let Some(length) = length {
        reply.headers_mut().insert(GIVEN_LENGTH, length);
    }
    Ok(reply)
}

/// Reads up to the delimiter, wherever the pieces end.
async fn take_prelude(stream: &mut Stream) -> Result<Bytes, Unusable> {
    let mut read = BytesMut::new();
    loop {
        let piece = match stream.next().await {
            Some(piece) => piece.map_err(Unusable::Failed)?,
            None => return Err(Unusable::Invalid("it ends within the prelude".to_owned())),
        };
        let searched = read.len().saturating_sub(DELIMITER.len() - 1);
        read.extend_from_slice(&piece);
        if let Some(found) = memmem::find(&read[searched..], DELIMITER) {
            let prelude = read.split_to(searched + found);
            stream.unread(read.split_off(DELIMITER.len()).freeze());
            return Ok(prelude.freeze());
        }
        if read.len() > PRELUDE_BYTES_MAX {
            let message = format!("its prelude has more than {PRELUDE_BYTES_MAX} bytes");
            return Err(Unusable::Invalid(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_LENGTH;
    use http_body_util::BodyExt;

    use super::*;
    use crate::answer;

    async fn mapped(pieces: &[&'static str]) -> Result<Reply, Unusable> {
        let (writer, stream) = answer::stream(Some(HeaderValue::from_static(WITH_PRELUDE)));
        for piece in pieces {
            writer.pieces.try_send((*piece).into()).expect("room");
        }
        writer.end.send(Ok(())).expect("read");
        map(stream).await
    }

    #[tokio::test]
    async fn delimiter_may_stand_anywhere_in_the_pieces() {
        for pieces in [
            &["{\"statusCode\":201}", "\0\0\0\0\0\0\0\0", "body"][..],
            &["{\"statusCode\":201}\0\0\0\0\0\0\0\0body"],
            &["{\"statusCode\":201}\0\0\0", "\0\0\0\0\0bo", "dy"],
            &["{\"statusCode\"", ":201}\0\0\0\0\0\0\0", "\0", "body"],
        ] {
            let Ok(reply) = mapped(pieces).await else {
                panic!("a response: {pieces:?}");
            };
            assert_eq!(reply.status(), 201);
            let body = reply.into_body().collect().await.expect("a body");
            assert_eq!(body.to_bytes(), "body");
        }
    }

    #[tokio::test]
    async fn zeros_of_the_body_are_the_bodys() {
        let Ok(reply) = mapped(&["{}\0\0\0\0\0\0\0\0\0\0a"]).await else {
            panic!("a response");
        };
        assert_eq!(reply.status(), 200);
        let body = reply.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes(), "\0\0a");
    }

    #[tokio::test]
    async fn length_that_the_function_gives_is_renamed() {
        let prelude = "{\"headers\":{\"Content-Length\":\"7\",\"x\":\"y\"}}\0\0\0\0\0\0\0\0";
        let Ok(reply) = mapped(&[prelude]).await else {
            panic!("a response");
        };
        assert_eq!(reply.headers()[GIVEN_LENGTH], "7");
        assert!(!reply.headers().contains_key(CONTENT_LENGTH));
        assert_eq!(reply.headers()["x"], "y");
    }

    #[tokio::test]
    async fn what_is_no_prelude_is_refused() {
        for pieces in [
            &["{\"statusCode\":201}"][..],
            &["\0\0\0\0\0\0\0\0"],
            &["{\"statusCode\":99}\0\0\0\0\0\0\0\0"],
            &["no JSON\0\0\0\0\0\0\0\0"],
        ] {
            let mapped = mapped(pieces).await;
            assert!(matches!(mapped, Err(Unusable::Invalid(_))), "{pieces:?}");
        }
    }
}
