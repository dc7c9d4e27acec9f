//! What a server answers with.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::pace::Pace;
use crate::answer::{Answer, Stream};
use crate::call::Failure;

/// What every server here answers.
pub(crate) type Reply = Response<ReplyBody>;

/// The body of a reply. A stream that fails ends the connection, so that no client takes it for
/// whole.
pub(crate) enum ReplyBody {
    /// Bytes that are there.
    Whole(Full<Bytes>),
    /// Bytes that come.
    Stream(PacedStream),
}

/// A stream, and the pace of the connection it goes to.
pub(crate) struct PacedStream {
    stream: Stream,
    pace: Option<Arc<Pace>>,
}

impl ReplyBody {
    /// The same body when all of it is there.
    ///
    /// # Errors
    /// What cut it off; [`Failure::ResponseTooLarge`].
    pub(crate) async fn whole(self) -> Result<Self, Failure> {
        match self {
            Self::Whole(_) => Ok(self),
            Self::Stream(PacedStream { stream, .. }) => {
                Ok(Answer::Stream(stream).whole().await?.into())
            }
        }
    }

    /// The body on a connection with this pace: the client's time for a reply begins.
    pub(super) fn paced(self, pace: Arc<Pace>) -> Self {
        pace.replying();
        match self {
            Self::Stream(PacedStream { stream, .. }) => Self::Stream(PacedStream {
                stream,
                pace: Some(pace),
            }),
            whole @ Self::Whole(_) => whole,
        }
    }
}

impl From<Stream> for ReplyBody {
    fn from(stream: Stream) -> Self {
        Self::Stream(PacedStream { stream, pace: None })
    }
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole)
                .poll_frame(context)
                .map_err(|never: Infallible| match never {}),
            Self::Stream(PacedStream { stream, pace }) => {
                let polled = Pin::new(stream).poll_frame(context);
                match pace {
                    None => {}
                    // The client has what there is: the time until the next piece is the function's.
                    Some(pace) if polled.is_pending() => pace.streaming(),
                    Some(pace) => pace.replying(),
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(whole) if whole.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
