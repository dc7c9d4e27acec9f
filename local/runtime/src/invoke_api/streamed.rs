//! The answer of a streaming invocation: pieces as they come, and a word about the end.
//!
//! Source: AWS Lambda API reference, "`InvokeWithResponseStream`"; Smithy, "Amazon Event Stream
//! Specification".

use std::sync::Arc;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue as Value, Message};
use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::answer::{self, Answer};
use crate::call::{Failure, json};
use crate::server::{Reply, ReplyBody};
use crate::tail::Tail;

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("application/vnd.amazon.eventstream");

/// The event after the last piece.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InvokeComplete<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_result: Option<&'a str>,
}

/// The reply that carries what the invocation `id` answers.
pub(super) fn reply(answer: Result<Answer, Failure>, id: Uuid, tail: Option<Arc<Tail>>) -> Reply {
    let (writer, stream) = answer::stream(None);
    tokio::spawn(async move {
        let end = pass_on(answer, &writer.pieces).await;
        let log = match &tail {
            Some(tail) => tail.finish().await,
            None => None,
        };
        let error = end.err().map(|failure| failure.body(id));
        let complete = InvokeComplete {
            error_code: error.as_ref().map(|_| "Unhandled"),
            error_details: error.as_deref().and_then(|it| std::str::from_utf8(it).ok()),
            log_result: log.as_ref().and_then(|it| it.to_str().ok()),
        };
        let last = event("InvokeComplete", "application/json", json(&complete));
        let _caller_is_gone = writer.pieces.send(last).await;
        let _caller_is_gone = writer.end.send(Ok(()));
    });
    let mut reply = Response::new(ReplyBody::from(stream));
    reply.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
    reply
}

/// Makes an event of each piece.
async fn pass_on(
    answer: Result<Answer, Failure>,
    events: &mpsc::Sender<Bytes>,
) -> Result<(), Failure> {
    let chunk = |piece| event("PayloadChunk", "application/octet-stream", piece);
    match answer? {
        Answer::Whole(bytes) => {
            let _caller_is_gone = events.send(chunk(bytes)).await;
        }
        Answer::Stream(mut stream) => {
            while let Some(piece) = stream.next().await {
                if events.send(chunk(piece?)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn event(event_type: &'static str, content_type: &'static str, payload: Bytes) -> Bytes {
    let header =
        |name: &'static str, value: &'static str| Header::new(name, Value::String(value.into()));
    let message = Message::new(payload)
        .add_header(header(":message-type", "event"))
        .add_header(header(":event-type", event_type))
        .add_header(header(":content-type", content_type));
    let mut frame = BytesMut::new();
    #[expect(
        clippy::expect_used,
        reason = "headers are short, and a payload is far below the frame's 16 MiB"
    )]
    write_message_to(&message, &mut frame).expect("a frame fits");
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
    use http_body_util::BodyExt;

    use super::*;

    /// Types and payloads of the events that a reply carries.
    async fn events(answer: Result<Answer, Failure>) -> Vec<(String, String)> {
        let body = reply(answer, Uuid::nil(), None).into_body();
        let mut body = body.collect().await.expect("whole").to_bytes();
        let mut decoder = MessageFrameDecoder::new();
        let mut events = Vec::new();
        while let DecodedFrame::Complete(message) =
            decoder.decode_frame(&mut body).expect("a frame")
        {
            let header = |name: &str| {
                let headers = message.headers().iter();
                let header = headers.clone().find(|it| it.name().as_str() == name);
                let value = header.expect("a header").value().as_string();
                value.expect("text").as_str().to_owned()
            };
            assert_eq!(header(":message-type"), "event");
            let payload = String::from_utf8(message.payload().to_vec());
            events.push((header(":event-type"), payload.expect("text")));
        }
        events
    }

    fn pair(event_type: &str, payload: &str) -> (String, String) {
        (event_type.to_owned(), payload.to_owned())
    }

    #[tokio::test]
    async fn each_piece_is_an_event_and_the_end_is_one() {
        let (writer, stream) = answer::stream(None);
        for piece in ["one", "two"] {
            writer.pieces.send(piece.into()).await.expect("read");
        }
        writer.end.send(Ok(())).expect("read");
        let expected = [
            pair("PayloadChunk", "one"),
            pair("PayloadChunk", "two"),
            pair("InvokeComplete", "{}"),
        ];
        assert_eq!(events(Ok(Answer::Stream(stream))).await, expected);
        let whole = events(Ok(Answer::Whole("null".into()))).await;
        let expected = [pair("PayloadChunk", "null"), pair("InvokeComplete", "{}")];
        assert_eq!(whole, expected);
    }

    #[tokio::test]
    async fn failure_is_told_at_the_end() {
        let failure = Failure::Function(Bytes::from_static(b"{\"errorType\":\"E\"}"));
        let complete = r#"{"ErrorCode":"Unhandled","ErrorDetails":"{\"errorType\":\"E\"}"}"#;
        let failed = events(Err(failure.clone())).await;
        assert_eq!(failed, [pair("InvokeComplete", complete)]);
        let (writer, stream) = answer::stream(None);
        writer.end.send(Err(failure)).expect("read");
        let failed = events(Ok(Answer::Stream(stream))).await;
        assert_eq!(failed, [pair("InvokeComplete", complete)]);
    }
}
