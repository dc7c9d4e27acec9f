//! HTTP/1.1 servers: accept, bound, stop gracefully.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

mod pace;

use self::pace::{Pace, Paced};

/// What every server here answers.
pub(crate) type Reply = Response<Full<Bytes>>;

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
/// How often a connection's pace is looked at.
const PACE_CHECK: Duration = Duration::from_secs(1);

/// The bounds of one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most connections at once; more wait to be accepted.
    pub(crate) connections_max: usize,
    /// Whether clients may be slow: no bound on heads and idle connections.
    pub(crate) patient: bool,
}

/// Serves `listener` until `stop`, then lets the requests in progress finish.
///
/// Dropping the future ends every connection at once.
pub(crate) async fn serve<H: Handle>(
    listener: TcpListener,
    bounds: Bounds,
    stop: CancellationToken,
    handler: Arc<H>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener), if connections.len() < bounds.connections_max => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = accepted;
        let connection = Connection {
            peer,
            patient: bounds.patient,
            handler: Arc::clone(&handler),
        };
        connections.spawn(connection.serve(stream, stop.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
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
    handler: Arc<H>,
}

impl<H: Handle> Connection<H> {
    /// Serves until the client ends it, is too slow, or `stop` and the request is answered.
    async fn serve(self, stream: TcpStream, stop: CancellationToken) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let pace = Arc::new(Pace::new());
        let mut checks = (!self.patient).then(pace_checks);
        let service = self.service(Arc::clone(&pace));
        let io = TokioIo::new(Paced::new(stream, Arc::clone(&pace)));
        let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
        let mut stopping = false;
        loop {
            tokio::select! {
                // How a client's connection ended is the client's business.
                _ = connection.as_mut() => return,
                () = tick(&mut checks) => if pace.is_overdue(Instant::now()) { return },
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    fn service(
        self,
        pace: Arc<Pace>,
    ) -> impl HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible, Future: Send> {
        service_fn(move |request| {
            let (handler, pace) = (Arc::clone(&self.handler), Arc::clone(&pace));
            async move {
                pace.working();
                let reply = handler.handle(request, self.peer).await;
                pace.resting();
                Ok::<_, Infallible>(reply)
            }
        })
    }
}

fn pace_checks() -> Interval {
    let mut checks = interval(PACE_CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    checks
}

async fn tick(checks: &mut Option<Interval>) {
    match checks {
        Some(checks) => {
            checks.tick().await;
        }
        None => pending().await,
    }
}
