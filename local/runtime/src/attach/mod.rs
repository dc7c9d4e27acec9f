//! Instances of other machines: `local-lambda attach` there, and here the address it attaches to.
//!
//! Each instance has a connection of its own, of HTTP/2. When that ends, or nothing answers on it for
//! [`PING_EVERY`] and [`PONG_MAX`], the instance has ended. All its requests carry the token.
//!
//! - `POST /1/functions/NAME/instances` comes first and makes it an instance of the function. Its body
//!   and its answer are JSON lines for as long as the instance lives: the agent's [`Report`]s, and the
//!   runtime's [`Order`]s, of which the first is [`Order::Run`].
//! - Every other request is one of the instance's program to its Runtime API, as it came.

mod agent;
mod listener;
mod relay;
mod session;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use http::HeaderName;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

pub(crate) use self::agent::{Attachment, attach};
pub(crate) use self::listener::{AttachApi, serve};
use crate::call::json;
use crate::dispatch::InstanceId;
use crate::function::Function;
use crate::manifest::{FunctionConfig, Priority};

/// How often each side asks the other whether it is there, and how long that may take to answer.
const PING_EVERY: Duration = Duration::from_secs(2);
const PONG_MAX: Duration = Duration::from_secs(4);
/// Most bytes of one stream that are on their way or wait for a slow reader.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bounded by those of its streams alone, so that none waits for another's reader.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Longest report or order.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// The name of the instance's machine, when it attaches.
const HOST: HeaderName = HeaderName::from_static("local-lambda-host");
/// The process id that the instance has there.
const PID: HeaderName = HeaderName::from_static("local-lambda-pid");

/// What the runtime tells an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Run this instance.
    Run(Description),
    /// Attach another one in its place, which goes on with what it has begun until [`Order::Stop`].
    Replace,
    /// Send it SIGTERM.
    Stop,
}

/// What an agent tells the runtime.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// The instance has logged this, a JSON object with its function and its name.
    Line(Box<RawValue>),
    /// It is to get no further call; it is told to stop once it has no more.
    Drain,
    /// It has ended.
    Ended {
        /// In the words that AWS has for it.
        reason: String,
        /// Whether for want of memory.
        out_of_memory: bool,
    },
}

/// An instance as its agent has to run it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Description {
    id: InstanceId,
    version: u64,
    concurrency: Option<u32>,
    timeout_s: u64,
    memory_mb: u32,
    environment: BTreeMap<String, String>,
}

impl Description {
    fn of(function: &Function, id: InstanceId) -> Self {
        let config = &function.config;
        Self {
            id,
            version: function.version.number,
            concurrency: config.concurrency,
            timeout_s: config.timeout.as_secs(),
            memory_mb: config.memory_mb,
            environment: config.environment.clone(),
        }
    }

    /// The function `name` as far as its instances know it. What dispatches calls is the runtime's.
    fn config(&self, name: &str, command: &[String]) -> FunctionConfig {
        FunctionConfig {
            name: name.to_owned(),
            command: command.to_vec(),
            image: None,
            attached: false,
            concurrency: self.concurrency,
            min_instances: 1,
            max_instances: 1,
            idle: Duration::ZERO,
            reserved_concurrency: None,
            timeout: Duration::from_secs(self.timeout_s),
            memory_mb: self.memory_mb,
            user: None,
            environment: self.environment.clone(),
            secrets: BTreeMap::<String, PathBuf>::new(),
            queue_max: 0,
            queue_wait: Duration::ZERO,
            queue_target: Duration::ZERO,
            priority: Priority::default(),
        }
    }
}

/// One JSON line.
pub(crate) fn line(message: &impl Serialize) -> Bytes {
    let mut line = json(message).to_vec();
    line.push(b'\n');
    line.into()
}

/// The JSON lines of a body, up to the first that is none.
fn lines<T: DeserializeOwned>(body: Incoming) -> BoxStream<'static, anyhow::Result<T>> {
    let bytes = body.into_data_stream().map_err(io::Error::other);
    let codec = LinesCodec::new_with_max_length(LINE_BYTES_MAX);
    let lines = FramedRead::new(StreamReader::new(bytes), codec);
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).boxed()
}
