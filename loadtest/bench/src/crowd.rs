//! Connections that are open and ask for nothing, or for very little very slowly.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime,
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::sleep,
};

/// What an idle connection asks once; one that never asked is closed after seconds.
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: bench\r\n\r\n";
/// How a head begins that never ends.
const SLOW_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nx-slow: ";
/// Pause between two bytes of such a head.
const SLOW_EVERY: Duration = Duration::from_secs(1);
/// Pause before a connection is made anew.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Connections that are made at once.
const CONNECTING_MAX: usize = 64;
/// How long it may take until all are open.
const GATHERED_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Slow connections are closed by the server and made anew: so many of a hundred are open.
const OPEN_PERCENT: u32 = 90;

/// Open connections, kept by a thread of their own; closed when it is dropped.
pub(crate) struct Crowd {
    open: Arc<Open>,
    _end: oneshot::Sender<Infallible>,
}

/// How many connections are open.
#[derive(Default)]
struct Open {
    idle: AtomicU32,
    slow: AtomicU32,
}

impl Crowd {
    /// Opens so many of each kind.
    pub(crate) async fn gather(address: &str, idle: u32, slow: u32) -> anyhow::Result<Self> {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                ..limit
            },
        )?;
        let open = Arc::new(Open::default());
        let (end, ended) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (address, kept) = (Arc::from(address), Arc::clone(&open));
        thread::spawn(move || {
            runtime.block_on(async {
                let _tasks = keep(&address, &kept, idle, slow);
                let _dropped = ended.await;
            });
        });
        let crowd = Self { open, _end: end };
        let began = Instant::now();
        while !crowd.holds(idle, slow) {
            let (idle, slow) = crowd.open();
            ensure!(
                began.elapsed() < GATHERED_WITHIN,
                "only {idle} idle and {slow} slow connections are open"
            );
            sleep(LOOK_EVERY).await;
        }
        Ok(crowd)
    }

    /// How many are open now, idle and slow.
    pub(crate) fn open(&self) -> (u32, u32) {
        let Open { idle, slow } = &*self.open;
        (idle.load(Ordering::Relaxed), slow.load(Ordering::Relaxed))
    }

    /// Whether about so many are open.
    pub(crate) fn holds(&self, idle: u32, slow: u32) -> bool {
        let (idle_open, slow_open) = self.open();
        let enough =
            |open: u32, all: u32| u64::from(open) * 100 >= u64::from(all) * u64::from(OPEN_PERCENT);
        enough(idle_open, idle) && enough(slow_open, slow)
    }
}

fn keep(address: &Arc<str>, open: &Arc<Open>, idle: u32, slow: u32) -> JoinSet<Infallible> {
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut tasks = JoinSet::new();
    for number in 0..idle + slow {
        let (address, open) = (Arc::clone(address), Arc::clone(open));
        let connecting = Arc::clone(&connecting);
        tasks.spawn(async move {
            loop {
                let permit = connecting.acquire().await;
                let connected = TcpStream::connect(&*address).await;
                // A connection that fails is made anew, as is one that the server closes.
                let _closed = match connected {
                    Ok(stream) if number < idle => be_idle(stream, &open.idle, permit).await,
                    Ok(stream) => {
                        drop(permit);
                        be_slow(stream, &open.slow).await
                    }
                    Err(error) => Err(error),
                };
                sleep(AGAIN_AFTER).await;
            }
        });
    }
    tasks
}

/// Asks once, then holds the connection until the server closes it.
async fn be_idle<P>(mut stream: TcpStream, open: &AtomicU32, permit: P) -> io::Result<()> {
    stream.write_all(REQUEST).await?;
    stream.read_u8().await?;
    drop(permit);
    let _counted = Counted::new(open);
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Sends a head byte by byte until the server closes the connection.
async fn be_slow(mut stream: TcpStream, open: &AtomicU32) -> io::Result<()> {
    let _counted = Counted::new(open);
    stream.write_all(SLOW_HEAD).await?;
    loop {
        sleep(SLOW_EVERY).await;
        stream.write_all(b"x").await?;
    }
}

/// Counts while it lives.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
