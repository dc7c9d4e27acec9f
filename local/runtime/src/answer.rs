//! What a function answers: bytes at once, or a stream of them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use hyper::body::{Body, Frame};
use tokio::sync::{mpsc, oneshot};

use crate::call::{Failure, RESPONSE_BYTES_MAX};

/// Pieces of a stream that wait for a slow reader, before the function has to.
const PIECES_MAX: usize = 4;

/// The answer of a function.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A JSON text.
    Whole(Bytes),
    /// Bytes that come as the function makes them.
    Stream(Stream),
}

impl Answer {
    /// All of it, as soon as it is there.
    ///
    /// # Errors
    /// What cut the stream off; [`Failure::ResponseTooLarge`].
    pub(crate) async fn whole(self) -> Result<Bytes, Failure> {
        let mut stream = match self {
            Self::Whole(bytes) => return Ok(bytes),
            Self::Stream(stream) => stream,
        };
        let mut whole = BytesMut::new();
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            if whole.len() + piece.len() > RESPONSE_BYTES_MAX {
                return Err(Failure::ResponseTooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// How a stream ends.
pub(crate) type End = Result<(), Failure>;

/// The reader's side of a streamed answer: bytes, until an error or the end.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The `Content-Type` that the function gave.
    pub(crate) content_type: Option<HeaderValue>,
    first: Option<Bytes>,
    pieces: mpsc::Receiver<Bytes>,
    end: oneshot::Receiver<End>,
    ended: bool,
}

/// The writer's side: pieces, and apart from them how it ends. Without a word about the end, the
/// stream is cut off.
pub(crate) struct Writer {
    /// Takes the pieces; every one of them before the end.
    pub(crate) pieces: mpsc::Sender<Bytes>,
    /// Takes the end. A failure overtakes pieces that have not been read.
    pub(crate) end: oneshot::Sender<End>,
}

/// A stream that carries what `content_type` names.
pub(crate) fn stream(content_type: Option<HeaderValue>) -> (Writer, Stream) {
    let (pieces, received) = mpsc::channel(PIECES_MAX);
    let (end, ended) = oneshot::channel();
    let stream = Stream {
        content_type,
        first: None,
        pieces: received,
        end: ended,
        ended: false,
    };
    (Writer { pieces, end }, stream)
}

impl Stream {
    /// The next piece; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Puts bytes back before all others.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        self.first = Some(bytes).filter(|it| !it.is_empty());
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if !self.ended {
            let Poll::Ready(end) = Pin::new(&mut self.end).poll(context) else {
                // Without any sender the end is on its way, and wakes the reader.
                let piece = ready!(self.pieces.poll_recv(context));
                return piece.map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(piece))));
            };
            self.ended = true;
            if let Err(failure) = end.unwrap_or(Err(Failure::CutOff)) {
                return Poll::Ready(Some(Err(failure)));
            }
        }
        // What had not been read; after the end nothing comes.
        Poll::Ready(self.pieces.try_recv().ok().map(Ok))
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.poll_next(context).map_ok(Frame::data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut stream: Stream) -> (Vec<Bytes>, Option<Failure>) {
        let mut pieces = Vec::new();
        loop {
            match stream.next().await {
                Some(Ok(piece)) => pieces.push(piece),
                Some(Err(failure)) => return (pieces, Some(failure)),
                None => return (pieces, None),
            }
        }
    }

    async fn written(pieces: &[&'static str], end: Option<End>) -> (Vec<Bytes>, Option<Failure>) {
        let (writer, stream) = stream(None);
        for piece in pieces {
            let piece = Bytes::from_static(piece.as_bytes());
            writer.pieces.send(piece).await.expect("read");
        }
        match end {
            Some(end) => writer.end.send(end).expect("read"),
            None => drop(writer.end),
        }
        read(stream).await
    }

    #[tokio::test]
    async fn stream_ends_after_its_last_piece() {
        let read = written(&["a", "b", "c"], Some(Ok(()))).await;
        assert_eq!(read, (vec!["a".into(), "b".into(), "c".into()], None));
        assert_eq!(written(&[], Some(Ok(()))).await, (vec![], None));
    }

    #[tokio::test]
    async fn stream_without_a_proper_end_is_an_error() {
        let failure = Failure::TimedOut(std::time::Duration::from_secs(1));
        let read = written(&["a"], Some(Err(failure.clone()))).await;
        assert_eq!(
            read,
            (vec![], Some(failure)),
            "it overtakes what is not read"
        );
        assert_eq!(written(&["a"], None).await.1, Some(Failure::CutOff));
    }

    #[tokio::test]
    async fn bytes_put_back_come_first() {
        let (writer, mut stream) = stream(None);
        writer.pieces.send("b".into()).await.expect("read");
        writer.end.send(Ok(())).expect("read");
        stream.unread("a".into());
        assert_eq!(read(stream).await.0, ["a", "b"]);
    }

    #[tokio::test]
    async fn whole_stream_is_bounded() {
        let (writer, stream) = stream(None);
        let half = Bytes::from(vec![0; RESPONSE_BYTES_MAX / 2 + 1]);
        for _ in 0..2 {
            writer.pieces.send(half.clone()).await.expect("read");
        }
        let whole = Answer::Stream(stream).whole().await;
        assert_eq!(whole, Err(Failure::ResponseTooLarge));
    }
}
