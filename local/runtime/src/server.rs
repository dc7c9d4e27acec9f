//! HTTP/1.1 servers: accept, bound, stop gracefully.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Abortable, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop::unconstrained;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

mod crowd;
mod pace;
mod reply;

use self::crowd::Crowd;
use self::pace::{Pace, Paced};
pub(crate) use self::reply::{Reply, ReplyBody};

/// What a server does with a request.
pub(crate) trait Handle: Send + Sync + 'static {
    /// Answers `request`, which came from `peer`.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Reply> + Send;
}

/// Pause after a failed accept: the process is out of file descriptors, and nothing tells when
/// one is free again.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Largest head in bytes, and most bytes of a body read at once: what a slow client can make a
/// connection hold.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// How often slow clients are looked for.
const PACE_CHECK: Duration = Duration::from_secs(1);

/// The bounds of one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most connections at once.
    pub(crate) connections_max: usize,
    /// Most connections of one address.
    pub(crate) per_ip_max: usize,
    /// Whether clients may be slow: no bound on heads, replies and idle connections, and too many
    /// wait to be accepted.
    pub(crate) patient: bool,
}

/// When a server stops, in one step or two.
#[derive(Clone, Default)]
pub(crate) struct Until {
    /// No further connection; one that gets a reply is closed after it.
    pub(crate) accept: CancellationToken,
    /// No further request, either.
    pub(crate) serve: CancellationToken,
}

/// Serves `listener` until it is told to stop, then lets the requests in progress finish.
///
/// Dropping the future ends every connection at once.
pub(crate) async fn serve<H: Handle>(
    listener: TcpListener,
    bounds: Bounds,
    until: Until,
    handler: Arc<H>,
) {
    let mut listener = Some(listener);
    // One task for all connections: however many clients have something to say, it yields to the
    // instances' tasks in between, so that refusing many calls does not keep others from ending.
    let mut connections = FuturesUnordered::new();
    let mut crowd = Crowd::new(bounds);
    let mut checks = interval(PACE_CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while listener.is_some() || !crowd.is_empty() {
        let waits = bounds.patient && crowd.is_full();
        tokio::select! {
            (stream, peer) = accept(listener.as_ref()), if !waits => {
                if bounds.patient || crowd.make_room(peer.ip(), Instant::now()) {
                    let pace = Arc::new(Pace::new());
                    let connection = Connection {
                        peer,
                        patient: bounds.patient,
                        pace: Arc::clone(&pace),
                        closing: until.accept.clone(),
                        handler: Arc::clone(&handler),
                    };
                    let (id, registration) = crowd.add(peer.ip(), pace);
                    let served = connection.serve(stream, until.serve.clone());
                    // Its place among many must not cut its turns short.
                    let served = unconstrained(served.map(move |()| id));
                    connections.push(Abortable::new(served, registration));
                }
            }
            Some(ended) = connections.next() => if let Ok(id) = ended {
                crowd.remove(id);
            },
            now = checks.tick(), if !bounds.patient => crowd.end_overdue(now.into()),
            () = until.accept.cancelled(), if listener.is_some() => listener = None,
            () = until.serve.cancelled(), if listener.is_some() => listener = None,
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else {
        return pending().await;
    };
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// One client's connection.
struct Connection<H> {
    peer: SocketAddr,
    patient: bool,
    pace: Arc<Pace>,
    closing: CancellationToken,
    handler: Arc<H>,
}

impl<H: Handle> Connection<H> {
    /// Serves until the client ends it, or `stop` and the request is answered.
    async fn serve(self, stream: TcpStream, stop: CancellationToken) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let io = TokioIo::new(Paced::new(stream, Arc::clone(&self.pace)));
        let mut http = http1::Builder::new();
        if !self.patient {
            http.max_buf_size(BUFFER_BYTES_MAX);
        }
        let mut connection = pin!(http.serve_connection(io, self.service()));
        tokio::select! {
            biased;
            // How a client's connection ended is the client's business.
            _ = connection.as_mut() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ended = connection.await;
    }

    fn service(
        self,
    ) -> impl HttpService<Incoming, ResBody = ReplyBody, Error = Infallible, Future: Send> {
        service_fn(move |request| {
            let (handler, pace) = (Arc::clone(&self.handler), Arc::clone(&self.pace));
            let closing = self.closing.clone();
            async move {
                if !pace.working() {
                    return pending().await;
                }
                let mut reply = handler.handle(request, self.peer).await;
                if closing.is_cancelled() {
                    let close = HeaderValue::from_static("close");
                    reply.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(reply.map(|body| body.paced(pace)))
            }
        })
    }
}
