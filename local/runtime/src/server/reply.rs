//! What a server answers with.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::Response;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::turn::{self, Turn};
use crate::answer::{Answer, Stream};
use crate::call::Failure;

/// What every server here answers.
pub(crate) type Reply = Response<ReplyBody>;

/// The body of a reply. A stream that fails ends the connection, over HTTP/2 the request, so that no
/// client takes it for whole.
pub(crate) struct ReplyBody {
    content: Content,
    turn: Option<Turn>,
}

enum Content {
    /// Bytes that are there.
    Whole(Full<Bytes>),
    /// Bytes that come.
    Stream(Stream),
}

/// Bytes of a reply, which an HTTP/2 client has taken when they are dropped.
pub(crate) struct Piece {
    bytes: Bytes,
    _stream: Option<Arc<turn::Stream>>,
}

impl ReplyBody {
    /// The same body when all of it is there.
    ///
    /// # Errors
    /// What cut it off; [`Failure::ResponseTooLarge`].
    pub(crate) async fn whole(self) -> Result<Self, Failure> {
        match self.content {
            Content::Whole(_) => Ok(self),
            Content::Stream(stream) => Ok(Answer::Stream(stream).whole().await?.into()),
        }
    }

    /// The body as the reply to the request whose turn this is: the client's time for it begins.
    pub(super) fn in_turn(self, turn: Turn) -> Self {
        turn.replying();
        Self {
            turn: Some(turn),
            ..self
        }
    }
}

impl From<Stream> for ReplyBody {
    fn from(stream: Stream) -> Self {
        Self {
            content: Content::Stream(stream),
            turn: None,
        }
    }
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        Self {
            content: Content::Whole(Full::new(bytes)),
            turn: None,
        }
    }
}

impl Body for ReplyBody {
    type Data = Piece;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Failure>>> {
        let Self { content, turn } = self.get_mut();
        let polled = match content {
            Content::Whole(whole) => Pin::new(whole)
                .poll_frame(context)
                .map_err(|never: Infallible| match never {}),
            Content::Stream(stream) => {
                let polled = Pin::new(stream).poll_frame(context);
                match turn {
                    None => {}
                    // The client has what there is: the time until the next piece is the function's.
                    Some(turn) if polled.is_pending() => turn.streaming(),
                    Some(turn) => turn.replying(),
                }
                polled
            }
        };
        let piece = |bytes| Piece {
            bytes,
            _stream: turn.as_ref().and_then(Turn::stream),
        };
        polled.map_ok(|frame| frame.map_data(piece))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(whole) if whole.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(whole) => whole.size_hint(),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
