//! Where instances of other machines attach.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    CONNECTION_WINDOW, Description, HOST, Order, PID, PING_EVERY, PONG_MAX, STREAM_WINDOW, line,
    lines,
};
use crate::answer;
use crate::call::json as body;
use crate::driver::Link;
use crate::fleet::{Fleet, Stop};
use crate::function::Function;
use crate::instance::Instance;
use crate::runtime_api::RuntimeApi;
use crate::server::{self, Handle, Reply};
use crate::token::Token;

/// Most connections; more wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// Longest time from the beginning of a connection until it is an instance.
const ATTACH_MAX: Duration = Duration::from_secs(5);
/// Most requests of one instance at once, as for an instance of this machine.
const REQUESTS_MAX: u32 = 4096;
/// Longest name of a machine.
const HOST_BYTES_MAX: usize = 64;

/// Makes connections instances, for those who know the token.
pub(crate) struct AttachApi {
    fleet: Arc<Fleet>,
    token: Token,
    stop: Stop,
}

impl AttachApi {
    /// The API for the functions of `fleet` whose instances attach, until `stop`.
    pub(crate) fn new(fleet: Arc<Fleet>, token: Token, stop: Stop) -> Self {
        Self { fleet, token, stop }
    }

    /// The function that a new instance may be of.
    fn find(&self, name: &str) -> Result<Arc<Function>, Refused> {
        let unknown = || format!("there is no function {name}");
        let deployment = self.fleet.get(name);
        let deployment = deployment.ok_or_else(|| (StatusCode::NOT_FOUND, unknown()))?;
        let function = deployment.current();
        let most = function.config.max_instances as usize;
        if !function.config.attached {
            let message = format!("{name} has instances of its own: no driver = \"attach\"");
            Err((StatusCode::CONFLICT, message))
        } else if function.instance_count() >= most {
            let message = format!("{name} has max_instances = {most} already");
            Err((StatusCode::TOO_MANY_REQUESTS, message))
        } else if self.stop.accept.is_cancelled() || self.stop.all.is_cancelled() {
            let message = "the runtime is stopping".to_owned();
            Err((StatusCode::SERVICE_UNAVAILABLE, message))
        } else {
            Ok(function)
        }
    }
}

/// Accepts connections until the runtime accepts no more, and serves them to their ends.
pub(crate) async fn serve(listener: TcpListener, api: Arc<AttachApi>) {
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    while listener.is_some() || !connections.is_empty() {
        let full = connections.len() >= CONNECTIONS_MAX;
        tokio::select! {
            (stream, peer) = server::accept(listener.as_ref()), if !full => {
                let connection = Connection {
                    api: Arc::clone(&api),
                    peer,
                    runtime_api: OnceLock::new(),
                    close: CancellationToken::new(),
                };
                connections.spawn(Arc::new(connection).serve(stream));
            }
            Some(_ended) = connections.join_next() => {}
            () = api.stop.accept.cancelled(), if listener.is_some() => listener = None,
        }
    }
}

/// A connection, which becomes an instance.
struct Connection {
    api: Arc<AttachApi>,
    peer: SocketAddr,
    runtime_api: OnceLock<Attached>,
    close: CancellationToken,
}

struct Attached {
    instance: Arc<Instance>,
    api: RuntimeApi,
}

impl Connection {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let service = service_fn(|request| {
            let connection = Arc::clone(&self);
            async move { Ok::<_, Infallible>(connection.handle(request).await) }
        });
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(REQUESTS_MAX);
        tokio::select! {
            // How it ended, the instance's end tells.
            _ = http.serve_connection(TokioIo::new(stream), service) => {}
            () = self.close.cancelled() => {}
            () = self.is_no_instance() => {}
        }
    }

    /// Returns if it has not become an instance in time.
    async fn is_no_instance(&self) {
        sleep(ATTACH_MAX).await;
        if self.runtime_api.get().is_some() {
            std::future::pending::<()>().await;
        }
    }

    async fn handle(&self, request: Request<Incoming>) -> Reply {
        if !self.api.token.is_in(request.headers()) {
            let message = "the token is wrong or missing".to_owned();
            let mut reply = refusal((StatusCode::UNAUTHORIZED, message));
            let bearer = HeaderValue::from_static("Bearer");
            reply.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            return reply;
        }
        let function = function_of(request.uri().path());
        match (function.map(str::to_owned), self.runtime_api.get()) {
            (Some(function), _) if request.method() == Method::POST => {
                self.attach(&function, request).unwrap_or_else(refusal)
            }
            (None, Some(attached)) => {
                if let Some(pid) = pid(request.headers()) {
                    attached.instance.set_pid(pid);
                }
                attached.api.handle(request, self.peer).await
            }
            _ => refusal((StatusCode::NOT_FOUND, "Not Found".to_owned())),
        }
    }

    /// Makes the connection an instance of the function `name`.
    fn attach(&self, name: &str, request: Request<Incoming>) -> Result<Reply, Refused> {
        let function = self.api.find(name)?;
        let id = function.next_instance();
        let host = host(request.headers()).unwrap_or_else(|| self.peer.ip().to_string());
        let instance = Arc::new(Instance::attached(name, id, self.peer, host));
        let attached = Attached {
            instance: Arc::clone(&instance),
            api: RuntimeApi::new(Arc::clone(&function), Arc::clone(&instance)),
        };
        if self.runtime_api.set(attached).is_err() {
            let message = "the connection is an instance already".to_owned();
            return Err((StatusCode::CONFLICT, message));
        }
        let (orders, mut stream) = answer::stream(None);
        stream.unread(line(&Order::Run(Description::of(&function, id))));
        let link = Link {
            reports: lines(request.into_body()),
            orders,
            close: self.close.clone(),
        };
        self.api.fleet.attach(function, instance, link);
        Ok(Response::new(stream.into()))
    }
}

/// The function that a request to attach names.
fn function_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/1/functions/")?;
    path.strip_suffix("/instances")
}

fn pid(headers: &HeaderMap) -> Option<u32> {
    headers.get(PID)?.to_str().ok()?.parse().ok()
}

/// What the agent calls its machine, if that is fit to be shown.
fn host(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let fit =
        !host.is_empty() && host.len() <= HOST_BYTES_MAX && !host.contains(char::is_whitespace);
    fit.then(|| host.to_owned())
}

/// Status and message.
type Refused = (StatusCode, String);

fn refusal((status, message): Refused) -> Reply {
    tracing::debug!(%status, "refused to attach: {message}");
    let mut reply = Response::new(body(&json!({ "message": message })).into());
    *reply.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    reply
}
