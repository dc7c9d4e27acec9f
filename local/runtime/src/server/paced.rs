//! A client's stream, which tells what happens on it, and can be looked at before it is read.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pace::Pace;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much is read ahead at once: as much as HTTP/1 would read, which takes it in one piece then, and
/// needs no larger buffer.
const AHEAD_BYTES: usize = 8 * 1024;

/// A stream that tells its pace what happens on it.
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    /// What has been looked at, and is still to be read.
    ahead: Bytes,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self {
            stream,
            pace,
            ahead: Bytes::new(),
        }
    }

    /// The same stream, of which `ahead` is still to be read first.
    pub(super) fn unread(self, ahead: Bytes) -> Self {
        Self { ahead, ..self }
    }
}

impl<S: AsyncRead + Unpin> Paced<S> {
    /// Whether the client begins with the preface of HTTP/2, which is still to be read then.
    pub(super) async fn begins_http2(&mut self) -> io::Result<bool> {
        while self.ahead.len() < PREFACE.len() && PREFACE.starts_with(&self.ahead) {
            if !self.look_ahead().await? {
                break;
            }
        }
        Ok(self.ahead.starts_with(PREFACE))
    }

    /// Waits for bytes, which are still to be read then, and holds no buffer meanwhile. False if there
    /// is none to come.
    pub(super) async fn look_ahead(&mut self) -> io::Result<bool> {
        let more = poll_fn(|context| {
            let mut space = [MaybeUninit::uninit(); AHEAD_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(self.poll_stream(context, &mut buffer))?;
            Poll::Ready(io::Result::Ok(Bytes::copy_from_slice(buffer.filled())))
        })
        .await?;
        let is_more = !more.is_empty();
        self.ahead = if self.ahead.is_empty() {
            more
        } else {
            [&*self.ahead, &*more].concat().into()
        };
        Ok(is_more)
    }

    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.pace.received();
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        self.poll_stream(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when everything is handed to the kernel.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if polled.is_ready() {
            self.pace.flushed();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn preface_is_recognized_and_nothing_is_lost() {
        for (sent, is_http2) in [
            (&PREFACE[..], true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more", true),
            (b"PRI * HTTP/1.1\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\n\r\n", false),
            (b"PRI", false),
            (b"", false),
        ] {
            // In two pieces.
            let (first, second) = sent.split_at(sent.len() / 2);
            let client = first.chain(second);
            let mut stream = Paced::new(client, Arc::new(Pace::new(false)));
            assert_eq!(stream.begins_http2().await.expect("read"), is_http2);
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await.expect("read");
            assert_eq!(read, sent);
        }
    }

    #[tokio::test]
    async fn what_is_looked_at_again_follows_what_was_not_read() {
        let mut stream = Paced::new(&b"T / "[..], Arc::new(Pace::new(false)));
        stream = stream.unread(Bytes::from_static(b"GE"));
        assert!(stream.look_ahead().await.expect("read"));
        assert!(!stream.look_ahead().await.expect("read"), "it has ended");
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("read");
        assert_eq!(read, b"GET / ");
    }
}
