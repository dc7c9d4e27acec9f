//! One client's connection: HTTP/1.1 or HTTP/2, whichever the client begins with, and TLS if asked for.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::paced::Paced;
use super::reply::Reply;
use super::turn::Turn;
use super::{Bounds, Handle, Until};

/// Largest head in bytes, and most bytes of an HTTP/1 body read at once: what a slow client can make
/// a connection hold.
const BUFFER_BYTES_MAX: u32 = 16 * 1024;
/// Most requests of an HTTP/2 connection at once; further ones are refused unprocessed, and a client
/// that heeds the setting keeps them back.
const STREAMS_MAX: u32 = 128;
/// Most bytes that an HTTP/2 client may send before they are read: of one body, and of all together.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Most bytes of a streamed reply that wait for an HTTP/2 client.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Most requests that an HTTP/2 client takes back before they were looked at.
const UNSEEN_RESETS_MAX: usize = 20;
/// Most requests of an HTTP/2 connection that are refused for errors of their own.
const ERROR_RESETS_MAX: usize = 256;

/// Takes the futures of HTTP/2 streams.
#[derive(Clone)]
pub(super) struct Streams(pub(super) UnboundedSender<BoxFuture<'static, ()>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // Nobody takes it only if the server ends with all its connections.
        let _taken = self.0.send(Box::pin(stream));
    }
}

/// One client's connection.
pub(super) struct Connection<H> {
    peer: SocketAddr,
    patient: bool,
    pace: Arc<Pace>,
    tls: Option<Arc<ServerConfig>>,
    streams: Streams,
    until: Until,
    handler: Arc<H>,
}

impl<H: Handle> Connection<H> {
    /// A connection of `peer`.
    pub(super) fn new(
        peer: SocketAddr,
        bounds: Bounds,
        until: &Until,
        streams: Streams,
        handler: &Arc<H>,
    ) -> Self {
        let tls = handler.tls();
        Self {
            peer,
            patient: bounds.patient,
            pace: Arc::new(Pace::new(tls.is_some())),
            tls,
            streams,
            until: until.clone(),
            handler: Arc::clone(handler),
        }
    }

    pub(super) fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.pace)
    }

    /// Serves until the client ends it, or is told to go and has its replies.
    pub(super) async fn serve(mut self, stream: TcpStream) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match self.tls.take() {
            None => self.speak_http(stream).await,
            // In a box, so that connections without TLS are not as large.
            Some(tls) => Box::pin(self.speak_tls(stream, tls)).await,
        }
    }

    async fn speak_tls(self, stream: TcpStream, tls: Arc<ServerConfig>) {
        let handshake = TlsAcceptor::from(tls).accept(stream);
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            () = self.until.serve.cancelled() => return,
        };
        // Why a client cannot be understood is the client's business.
        if let Ok(stream) = accepted {
            self.pace.secured();
            self.speak_http(stream).await;
        }
    }

    async fn speak_http<S: AsyncRead + AsyncWrite + Unpin + 'static>(self, stream: S) {
        let mut stream = Paced::new(stream, Arc::clone(&self.pace));
        // The Runtime API is HTTP/1.1.
        if self.patient {
            return self.speak_http1(stream).await;
        }
        let is_http2 = tokio::select! {
            is_http2 = stream.begins_http2() => is_http2,
            () = self.until.serve.cancelled() => return,
        };
        match is_http2 {
            Ok(true) => Box::pin(self.speak_http2(stream)).await,
            Ok(false) => self.speak_http1(stream).await,
            // How a client's connection ended is the client's business.
            Err(_) => {}
        }
    }

    async fn speak_http1<S: AsyncRead + AsyncWrite + Unpin + 'static>(self, mut stream: Paced<S>) {
        let mut http = http1::Builder::new();
        if !self.patient {
            http.max_buf_size(BUFFER_BYTES_MAX as usize);
        }
        // Until then, its replies tell the client to go: what it sends meanwhile is not lost.
        let (stop, pace) = (self.until.serve.clone(), Arc::clone(&self.pace));
        let mut service = self.service();
        loop {
            let connection = http.serve_connection(TokioIo::new(stream), service);
            let Some(rests) = Box::pin(until_rest(connection, &stop, &pace)).await else {
                return;
            };
            service = rests.service;
            stream = rests.io.into_inner().unread(rests.read_buf);
            tokio::select! {
                // What has come, or why nothing will, HTTP is told when it reads.
                _ = stream.look_ahead() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn speak_http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(self, stream: Paced<S>) {
        let mut http = http2::Builder::new(self.streams.clone());
        http.max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(BUFFER_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
            .max_local_error_reset_streams(ERROR_RESETS_MAX);
        let (leave, pace) = (self.until.accept.clone(), Arc::clone(&self.pace));
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), self.service()));
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = leave.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        pace.leaving();
        let _ended = connection.await;
    }

    fn service(
        self,
    ) -> impl Service<Request<Incoming>, Response = Reply, Error = Infallible, Future: Send + 'static>
    {
        service_fn(move |request: Request<Incoming>| {
            let (handler, pace) = (Arc::clone(&self.handler), Arc::clone(&self.pace));
            let closing = self.until.accept.clone();
            async move {
                let version = request.version();
                let Some(turn) = Turn::begin(version, &pace) else {
                    return pending().await;
                };
                let mut reply = handler.handle(request, self.peer).await;
                if version != Version::HTTP_2 && closing.is_cancelled() {
                    let close = HeaderValue::from_static("close");
                    reply.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(reply.map(|body| body.in_turn(turn)))
            }
        })
    }
}

/// Serves HTTP/1 until the connection ends, or rests: then it is its parts, without the buffers that
/// would be most of the memory of an idle connection.
async fn until_rest<I, S>(
    mut connection: http1::Connection<I, S>,
    stop: &CancellationToken,
    pace: &Pace,
) -> Option<http1::Parts<I, S>>
where
    I: Read + Write + Unpin,
    S: Service<Request<Incoming>, Response = Reply, Error = Infallible>,
{
    tokio::select! {
        biased;
        _ = &mut connection => return None,
        () = stop.cancelled() => {}
        () = pace.rest() => return Some(connection.into_parts()),
    }
    Pin::new(&mut connection).graceful_shutdown();
    let _ended = connection.await;
    None
}
