//! One running process of a function, and the address it calls.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::dispatch::InstanceId;

/// Port of the Runtime API, the one AWS uses.
const RUNTIME_API_PORT: u16 = 9001;
/// Port where an instance may serve metrics.
const METRICS_PORT: u16 = 9464;
/// Addresses tried before giving up.
const BIND_ATTEMPTS_MAX: u32 = 64;
/// Bytes of log kept to explain an end.
const LOG_TAIL_BYTES: usize = 4096;

/// A running process of a function.
pub(crate) struct Instance {
    /// Its number.
    pub(crate) id: InstanceId,
    /// Its name: the function's and its number.
    pub(crate) name: Arc<str>,
    /// Where its Runtime API listens, an address of its own in 127.0.0.0/8.
    pub(crate) address: SocketAddr,
    /// When it was started.
    pub(crate) started: Instant,
    /// Ends the process at once.
    pub(crate) kill: Notify,
    /// Ends the process, which has nothing to do any more.
    pub(crate) retire: Notify,
    pid: AtomicU32,
    log_tail: Mutex<VecDeque<u8>>,
}

impl Instance {
    /// Describes an instance that is about to start.
    pub(crate) fn new(function: &str, id: InstanceId, address: SocketAddr) -> Self {
        Self {
            id,
            name: format!("{function}-{id}").into(),
            address,
            started: Instant::now(),
            kill: Notify::new(),
            retire: Notify::new(),
            pid: AtomicU32::new(0),
            log_tail: Mutex::default(),
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
        let mut tail = self.tail();
        tail.extend(line);
        let surplus = tail.len().saturating_sub(LOG_TAIL_BYTES);
        tail.drain(..surplus);
    }

    /// The end of what it logged.
    pub(crate) fn log_tail(&self) -> String {
        String::from_utf8_lossy(self.tail().make_contiguous()).into_owned()
    }

    fn tail(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.log_tail.lock().unwrap_or_else(PoisonError::into_inner)
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
