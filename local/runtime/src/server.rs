//! HTTP servers: accept, bound, stop gracefully.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Abortable, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Request;
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::coop::unconstrained;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

mod connection;
mod crowd;
mod pace;
mod paced;
mod reply;
mod turn;

use self::connection::{Connection, Streams};
use self::crowd::Crowd;
pub(crate) use self::reply::{Reply, ReplyBody};

/// What a server does with a request.
pub(crate) trait Handle: Send + Sync + 'static {
    /// Answers `request`, which came from `peer`.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Reply> + Send;

    /// The TLS that the next connection speaks, if any.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        None
    }
}

/// Pause after a failed accept: the process is out of file descriptors, and nothing tells when
/// one is free again.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How often slow clients and idle ones are looked for.
const PACE_CHECK: Duration = Duration::from_millis(250);

/// The bounds of one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most connections at once.
    pub(crate) connections_max: usize,
    /// Most connections of one address.
    pub(crate) per_ip_max: usize,
    /// Whether clients may be slow: no bound on heads, replies and idle connections, and too many
    /// wait to be accepted. They speak HTTP/1 only.
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

impl Until {
    async fn either(&self) {
        tokio::select! {
            () = self.accept.cancelled() => {}
            () = self.serve.cancelled() => {}
        }
    }
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
    // The requests of HTTP/2, of which one connection has several.
    let mut streams = FuturesUnordered::new();
    let (begin, mut incoming) = unbounded_channel();
    let told = Until {
        accept: CancellationToken::new(),
        serve: until.serve.clone(),
    };
    let mut crowd = Crowd::new(bounds);
    let mut checks = interval(PACE_CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while listener.is_some() || !crowd.is_empty() {
        let waits = bounds.patient && crowd.is_full();
        tokio::select! {
            (stream, peer) = accept(listener.as_ref()), if !waits => {
                if bounds.patient || crowd.make_room(peer.ip(), Instant::now()) {
                    let streams = Streams(begin.clone());
                    let connection = Connection::new(peer, bounds, &told, streams, &handler);
                    let (id, registration) = crowd.add(peer.ip(), connection.pace());
                    let served = connection.serve(stream).map(move |()| id);
                    // Its place among many must not cut its turns short.
                    connections.push(Abortable::new(unconstrained(served), registration));
                }
            }
            Some(ended) = connections.next() => if let Ok(id) = ended {
                crowd.remove(id);
            },
            Some(stream) = incoming.recv() => streams.push(unconstrained(stream)),
            Some(()) = streams.next() => {}
            now = checks.tick(), if !bounds.patient => crowd.look_after(now.into()),
            () = until.either(), if listener.is_some() => {
                listener = None;
                told.accept.cancel();
            }
        }
    }
}

/// The next connection; none without a listener.
pub(crate) async fn accept(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
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
