//! `local-lambda attach`: runs instances here whose calls come from a runtime elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::stream::StreamExt;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Either, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::relay::{Sent, Upstream};
use super::session::Session;
use super::{
    CONNECTION_WINDOW, Description, HOST, Order, PING_EVERY, PONG_MAX, STREAM_WINDOW, lines,
};
use crate::answer::{self, Writer};
use crate::dispatch::Dispatcher;
use crate::driver::{Driver, Kind};
use crate::function::{Function, SharedDispatcher, Version};
use crate::logs::LogSink;
use crate::manifest::is_the_functions;
use crate::metrics::Registry;
use crate::program::Program;
use crate::token::Token;

/// Most instances of one agent.
const INSTANCES_MAX: i64 = 256;
/// Longest wait for a connection, and for each answer until it is an instance's.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// First and longest pause before an instance attaches again.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// An instance that was attached this long had no bad start.
const SETTLED_AFTER: Duration = Duration::from_secs(30);
/// Largest refusal.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What `local-lambda attach` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Attachment {
    /// The function that gets the instances
    function: String,
    /// The address of the runtime's `--attach`
    #[arg(long, value_name = "http://HOST:PORT")]
    to: Uri,
    /// A file with the token that the runtime asks for
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// How many instances
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=INSTANCES_MAX))]
    instances: u32,
    /// What each of them runs
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Keeps instances attached until SIGTERM or SIGINT, and then until they have finished what they have
/// begun; `sink` gets what they log.
///
/// # Errors
/// If an argument is wrong, or the runtime refuses an instance that was not attached before.
pub(crate) async fn attach(attachment: Attachment, sink: &LogSink) -> anyhow::Result<()> {
    let instances = attachment.instances;
    let agent = Arc::new(Agent::new(attachment, sink.clone()).await?);
    let drain = agent.drain.clone();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut slots = JoinSet::new();
    for _ in 0..instances {
        slots.spawn(keep(Arc::clone(&agent)));
    }
    let mut result = Ok(());
    while !slots.is_empty() {
        tokio::select! {
            _ = terminate.recv() => drain.cancel(),
            _ = interrupt.recv() => drain.cancel(),
            Some(ended) = slots.join_next() => {
                let ended = ended.context("an instance broke off").flatten();
                if ended.is_err() {
                    drain.cancel();
                    result = result.and(ended);
                }
            }
        }
    }
    result
}

/// What the instances of an agent have in common.
pub(super) struct Agent {
    pub(super) driver: Driver,
    pub(super) sink: LogSink,
    /// No instance is to get a further call.
    pub(super) drain: CancellationToken,
    function: String,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    runtime: Authority,
    authorization: HeaderValue,
    host: HeaderValue,
    registry: Registry,
    dispatcher: SharedDispatcher,
}

/// The runtime has said no, for a reason that does not pass by itself.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Keeps one instance attached until the agent drains.
async fn keep(agent: Arc<Agent>) -> anyhow::Result<()> {
    let sessions = TaskTracker::new();
    let mut was_attached = false;
    let mut backoff = BACKOFF_MIN;
    while !agent.drain.is_cancelled() {
        let begun = Instant::now();
        let connected = tokio::select! {
            connected = agent.connect() => connected,
            () = agent.drain.cancelled() => break,
        };
        match connected {
            Ok(session) => {
                was_attached = true;
                let replace = Arc::new(Notify::new());
                let session = session.run(Arc::clone(&agent), Arc::clone(&replace));
                tokio::select! {
                    _ended = sessions.spawn(session) => {}
                    // It goes on beside the next one.
                    () = replace.notified() => continue,
                }
            }
            Err(error) if error.is::<Refused>() && !was_attached => return Err(error),
            Err(error) => tracing::warn!("cannot attach: {error:#}"),
        }
        if begun.elapsed() >= SETTLED_AFTER {
            backoff = BACKOFF_MIN;
        }
        // Not all at once, if there are many.
        let pause = backoff / 2 + backoff / 2 * fastrand::u32(0..=8) / 8;
        let _draining = timeout(pause, agent.drain.cancelled()).await;
        backoff = BACKOFF_MAX.min(backoff * 2);
    }
    sessions.close();
    sessions.wait().await;
    Ok(())
}

impl Agent {
    async fn new(attachment: Attachment, sink: LogSink) -> anyhow::Result<Self> {
        let Attachment {
            function,
            to,
            token_file,
            command,
            ..
        } = attachment;
        let plain = to.scheme_str() == Some("http") && to.path() == "/" && to.query().is_none();
        ensure!(plain, "--to must be http://HOST:PORT");
        let authority = to.authority().context("--to must name a host")?;
        ensure!(authority.port().is_some(), "--to must name a port");
        let token = Token::read(&token_file).and_then(|token| token.authorization());
        let host = std::fs::read("/proc/sys/kernel/hostname")?;
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(Self {
            driver: Driver::open(Kind::Process).await?,
            sink,
            drain: CancellationToken::new(),
            function,
            command,
            environment: variables
                .filter(|(name, _)| is_the_functions(name))
                .collect(),
            runtime: authority.clone(),
            authorization: token.context("--token-file")?,
            host: HeaderValue::from_bytes(host.trim_ascii())?,
            registry: Registry::new()?,
            dispatcher: Arc::new(Mutex::new(Dispatcher::new(None))),
        })
    }

    /// The function as the instance that `description` is of runs it, with the program there is now.
    pub(super) fn function(&self, description: &Description) -> Function {
        let mut config = description.config(&self.function, &self.command);
        config.environment.extend(self.environment.clone());
        let program = self.command.first();
        let program = program.and_then(|program| Program::open(program).ok().flatten());
        let metrics = self.registry.function(&self.function);
        let version = Version::first(Arc::default(), program);
        Function::new(config, version, metrics, Arc::clone(&self.dispatcher))
    }

    /// Attaches an instance, which is to be run then.
    async fn connect(&self) -> anyhow::Result<Session> {
        let (upstream, connection) = self.upstream().await?;
        let (reports, orders) = self.ask(&upstream).await?;
        let mut orders = lines(orders);
        let first = timeout(CONNECT_MAX, orders.next()).await?;
        match first.context("the runtime orders nothing")?? {
            Order::Run(description) => Ok(Session {
                upstream,
                connection,
                orders,
                reports,
                description,
            }),
            other => bail!("the first order is {other:?}"),
        }
    }

    async fn upstream(&self) -> anyhow::Result<(Upstream, AbortOnDropHandle<()>)> {
        let stream = TcpStream::connect(self.runtime.as_str());
        let stream = timeout(CONNECT_MAX, stream)
            .await
            .context("no connection")??;
        stream.set_nodelay(true)?;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_MAX)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let shaken = timeout(CONNECT_MAX, http.handshake(TokioIo::new(stream))).await;
        let (sender, connection) = shaken.context("no answer")??;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("the connection has ended: {error}");
            }
        });
        let upstream = Upstream {
            sender,
            authority: self.runtime.clone(),
            authorization: self.authorization.clone(),
        };
        Ok((upstream, AbortOnDropHandle::new(connection)))
    }

    /// Asks for an instance: where its reports go, and its orders come from.
    async fn ask(&self, upstream: &Upstream) -> anyhow::Result<(Writer, Incoming)> {
        let path = format!("/1/functions/{}/instances", self.function);
        let path = PathAndQuery::try_from(path).context("no name of a function")?;
        let (reports, body) = answer::stream(None);
        let mut request: Request<Sent> = Request::new(Either::Right(body));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(HOST, self.host.clone());
        let response = timeout(CONNECT_MAX, upstream.send(path, request)).await;
        let response = response.context("no answer")??;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok((reports, response.into_body()));
        }
        let message = timeout(CONNECT_MAX, refusal(response.into_body())).await??;
        if status.is_client_error() {
            Err(Refused(message).into())
        } else {
            bail!("{message}")
        }
    }
}

/// Why the runtime has said no.
async fn refusal(body: Incoming) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    let body = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    Ok(serde_json::from_slice::<Refusal>(&body)?.message)
}
