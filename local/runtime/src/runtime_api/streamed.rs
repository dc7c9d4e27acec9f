//! Passes a streamed response on, and finds the error that may stand at its end.
//!
//! Source: AWS, "Building a custom runtime for AWS Lambda", response streaming.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Body;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use crate::answer::End;
use crate::call::{Failure, STREAM_BYTES_MAX, error_body};

const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
/// How an error begins, and what its second line does, where a client writes it as data.
const MARK: &str = "Lambda-Runtime-Function-Error-Type: ";
const SECOND_MARK: &str = "\r\nLambda-Runtime-Function-Error-Body: ";
/// Most bytes of such an error; more are data.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Sends the body's data to `pieces` as it comes, and reads on when nobody wants it any more.
///
/// # Errors
/// What the function reports at the end, in trailers or, as some clients do, as data;
/// [`Failure::CutOff`], [`Failure::StreamTooLarge`].
pub(super) async fn pass_on(
    mut body: impl Body<Data = Bytes> + Unpin,
    pieces: &mpsc::Sender<Bytes>,
) -> End {
    let mut bytes = 0;
    let mut held = Held::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::CutOff)?;
        match frame.into_data() {
            Ok(data) => {
                bytes += data.len();
                if bytes > STREAM_BYTES_MAX {
                    return Err(Failure::StreamTooLarge);
                }
                if let Some(data) = held.push(data) {
                    let _reader_is_gone = pieces.send(data).await;
                }
            }
            Err(frame) => of_trailers(&frame.into_trailers().unwrap_or_default())?,
        }
    }
    if let Some(data) = held.end()? {
        let _reader_is_gone = pieces.send(data).await;
    }
    Ok(())
}

/// Data that may be an error: it begins with one of the frames, and must reach to the end.
#[derive(Default)]
struct Held(BytesMut);

impl Held {
    /// What to pass on of the data that has come.
    fn push(&mut self, data: Bytes) -> Option<Bytes> {
        if self.0.is_empty() && !may_be_error(&data) {
            return Some(data);
        }
        self.0.extend_from_slice(&data);
        if may_be_error(&self.0) {
            None
        } else {
            Some(self.0.split().freeze())
        }
    }

    fn end(self) -> Result<Option<Bytes>, Failure> {
        let error = std::str::from_utf8(&self.0).ok().and_then(parse);
        match error {
            Some((error_type, body)) => Err(failure(error_type, body)),
            None => Ok(Some(self.0.freeze()).filter(|it| !it.is_empty())),
        }
    }
}

fn may_be_error(data: &[u8]) -> bool {
    let mark = MARK.as_bytes();
    data.len() <= ERROR_BYTES_MAX && (data.starts_with(mark) || mark.starts_with(data))
}

/// Type and body of an error written as data.
fn parse(text: &str) -> Option<(&str, &str)> {
    let lines = text.strip_prefix(MARK)?.strip_suffix("\r\n")?;
    lines.split_once(SECOND_MARK)
}

fn of_trailers(trailers: &HeaderMap) -> End {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    match text(ERROR_TYPE) {
        None => Ok(()),
        Some(error_type) => Err(failure(error_type, text(ERROR_BODY).unwrap_or_default())),
    }
}

/// The function's error: `body` is the base64 of its JSON text, or of no more than a message.
fn failure(error_type: &str, body: &str) -> Failure {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Described {
        #[serde(rename = "errorType")]
        _error_type: IgnoredAny,
    }
    let body = STANDARD.decode(body).unwrap_or_else(|_| body.into());
    Failure::Function(if serde_json::from_slice::<Described>(&body).is_ok() {
        body.into()
    } else {
        error_body(error_type, &String::from_utf8_lossy(&body))
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// What comes through of a body made of `frames`.
    async fn passed(frames: Vec<Frame<Bytes>>) -> (String, End) {
        let (sender, mut receiver) = mpsc::channel(16);
        let frames = frames.into_iter().map(Ok::<_, Infallible>);
        let end = pass_on(StreamBody::new(stream::iter(frames)), &sender).await;
        drop(sender);
        let mut text = String::new();
        while let Some(piece) = receiver.recv().await {
            text += std::str::from_utf8(&piece).expect("text");
        }
        (text, end)
    }

    fn data(pieces: &[&'static str]) -> Vec<Frame<Bytes>> {
        let data = |piece: &&'static str| Frame::data(Bytes::from_static(piece.as_bytes()));
        pieces.iter().map(data).collect()
    }

    fn error(error_type: &str, message: &str) -> End {
        Err(Failure::Function(error_body(error_type, message)))
    }

    #[tokio::test]
    async fn data_is_passed_on_whatever_its_frames() {
        for pieces in [
            &["one", "two"][..],
            &["", "L", "ambda"],
            &["Lambda-Runtime-Function-Error-Type: is a header"],
            &["Lambda-Runtime-Function-Error-Type: ", "X\r\n", "\r\n"],
            &["Lambda-Runtime-Function-Error-Type: X\r\n\
               Lambda-Runtime-Function-Error-Body: dA==\r\n and more"],
        ] {
            assert_eq!(passed(data(pieces)).await, (pieces.concat(), Ok(())));
        }
    }

    #[tokio::test]
    async fn error_written_as_data_at_the_end_is_an_error() {
        for pieces in [
            &[
                "begun",
                "Lambda-Runtime-Function-Error-Type: Runtime.StreamError\r\nLambda-Runtime-Function-Error-Body: b29wcw==\r\n",
            ][..],
            &[
                "begun",
                "Lambda-",
                "Runtime-Function-Error-Type: Runtime.StreamError\r",
                "\nLambda-Runtime-Function-Error-Body: b29wcw==\r\n",
            ],
        ] {
            let expected = ("begun".to_owned(), error("Runtime.StreamError", "oops"));
            assert_eq!(passed(data(pieces)).await, expected);
        }
    }

    #[tokio::test]
    async fn error_in_trailers_is_an_error() {
        let mut trailers = HeaderMap::new();
        trailers.insert(ERROR_TYPE, "Function.Broken".parse().expect("a value"));
        let body = STANDARD.encode(r#"{"errorType":"E","errorMessage":"m"}"#);
        trailers.insert(ERROR_BODY, body.parse().expect("a value"));
        let mut frames = data(&["begun"]);
        frames.push(Frame::trailers(trailers));
        let expected = ("begun".to_owned(), error("E", "m"));
        assert_eq!(passed(frames).await, expected);
    }

    #[tokio::test]
    async fn stream_is_bounded() {
        let piece = Bytes::from(vec![b'x'; STREAM_BYTES_MAX / 4 + 1]);
        let frames = vec![piece; 4].into_iter().map(Frame::data).collect();
        assert_eq!(passed(frames).await.1, Err(Failure::StreamTooLarge));
    }
}
