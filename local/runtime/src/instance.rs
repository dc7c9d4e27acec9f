//! One running process of a function, and the address it calls.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::timeout;

use crate::dispatch::InstanceId;
use crate::function::locked;
use crate::tail::Tail;

/// Port of the Runtime API, the one AWS uses.
const RUNTIME_API_PORT: u16 = 9001;
/// Port where an instance may serve metrics.
const METRICS_PORT: u16 = 9464;
/// Addresses tried before giving up.
const BIND_ATTEMPTS_MAX: u32 = 64;
/// Bytes of log kept to explain an end.
const LOG_TAIL_BYTES: usize = 4096;
/// Most requests to read what has been logged that are kept for a reader.
const READ_REQUESTS_MAX: usize = 64;
/// Longest wait for such a request.
const READ_WAIT: Duration = Duration::from_millis(200);

/// A running process of a function.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Its number.
    pub(crate) id: InstanceId,
    /// Its name: the function's and its number.
    pub(crate) name: Arc<str>,
    /// Where its Runtime API listens, an address of its own in 127.0.0.0/8; of one that another machine
    /// runs, where it has attached from.
    pub(crate) address: SocketAddr,
    /// The machine that runs it, if another one does.
    pub(crate) host: Option<String>,
    /// When it was started.
    pub(crate) started: Instant,
    /// Ends the process at once.
    pub(crate) kill: Notify,
    /// Ends the process, which has nothing to do any more.
    pub(crate) retire: Notify,
    pid: AtomicU32,
    log_tail: Mutex<VecDeque<u8>>,
    /// The invocations whose log is recorded.
    recorded: Mutex<Vec<Weak<Tail>>>,
    /// Asks those who read its streams to drop what is sent once there is nothing to read.
    readers: broadcast::Sender<mpsc::Sender<Infallible>>,
}

impl Instance {
    /// Describes an instance that is about to start.
    pub(crate) fn new(function: &str, id: InstanceId, address: SocketAddr) -> Self {
        Self {
            id,
            name: format!("{function}-{id}").into(),
            address,
            host: None,
            started: Instant::now(),
            kill: Notify::new(),
            retire: Notify::new(),
            pid: AtomicU32::new(0),
            log_tail: Mutex::default(),
            recorded: Mutex::default(),
            readers: broadcast::Sender::new(READ_REQUESTS_MAX),
        }
    }

    /// Describes one that `host` has attached from `address`.
    pub(crate) fn attached(
        function: &str,
        id: InstanceId,
        address: SocketAddr,
        host: String,
    ) -> Self {
        Self {
            host: Some(host),
            ..Self::new(function, id, address)
        }
    }

    /// Where it may serve metrics.
    pub(crate) fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), METRICS_PORT)
    }

    /// Its process id; 0 before the start.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Notes its process id.
    pub(crate) fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Keeps the end of what it logged.
    pub(crate) fn remember(&self, line: &[u8]) {
        let mut tail = locked(&self.log_tail);
        tail.extend(line);
        let surplus = tail.len().saturating_sub(LOG_TAIL_BYTES);
        tail.drain(..surplus);
        let mut recorded = locked(&self.recorded);
        recorded.retain(|tail| tail.upgrade().is_some_and(|tail| tail.line(line)));
    }

    /// Has `tail` get every further line, until it is dropped.
    pub(crate) fn record(&self, tail: &Arc<Tail>) {
        let mut recorded = locked(&self.recorded);
        recorded.retain(|tail| tail.strong_count() > 0);
        recorded.push(Arc::downgrade(tail));
    }

    /// Returns once every line has been read that the instance has written until now.
    pub(crate) async fn lines_read(&self) {
        let (request, mut dropped) = mpsc::channel(1);
        drop(self.readers.send(request));
        let _given_up = timeout(READ_WAIT, dropped.recv()).await;
    }

    /// What whoever reads one of its streams is asked.
    pub(crate) fn read_requests(&self) -> broadcast::Receiver<mpsc::Sender<Infallible>> {
        self.readers.subscribe()
    }

    /// The end of what it logged.
    pub(crate) fn log_tail(&self) -> String {
        String::from_utf8_lossy(locked(&self.log_tail).make_contiguous()).into_owned()
    }
}

/// Listens on a free address of 127.0.0.0/8.
///
/// The addresses are drawn at random, so several runtimes on one machine seldom meet, and need
/// not know of each other when they do.
///
/// # Errors
/// If no address could be had in `BIND_ATTEMPTS_MAX` attempts.
pub(crate) async fn bind() -> io::Result<TcpListener> {
    let mut attempts = 1;
    loop {
        let bound = TcpListener::bind(random_address()).await;
        match bound {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && attempts < BIND_ATTEMPTS_MAX =>
            {
                attempts += 1;
            }
            other => return other,
        }
    }
}

/// Leaves out 127.0.x.y, which people use by hand.
fn random_address() -> SocketAddrV4 {
    let ip = Ipv4Addr::new(
        127,
        fastrand::u8(1..=254),
        fastrand::u8(..),
        fastrand::u8(1..=254),
    );
    SocketAddrV4::new(ip, RUNTIME_API_PORT)
}
