//! A TCP proxy that makes connections slow, silent or gone, and knows a COMMIT when it sees one.

mod mysql;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

use crate::plan::Commit;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Pause after a connection could not be accepted, for want of file descriptors say.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);

/// What passes through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Bytes.
    Opaque,
    /// The `MySQL` client protocol without TLS: commits are recognised.
    Mysql,
}

/// A proxy in front of one address; it ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    conditions: Arc<Conditions>,
    accepting: JoinHandle<()>,
}

/// What all connections meet.
struct Conditions {
    weather: watch::Sender<Weather>,
    trap: Mutex<Option<Trap>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weather {
    /// Connections that began before the latest cut end.
    cuts: u64,
    /// New connections end at once.
    down: bool,
    /// Nothing passes.
    stalled: bool,
    /// Every write waits this long.
    delay: Duration,
}

/// What the next commits meet.
#[derive(Clone, Copy, Debug)]
struct Trap {
    how: Commit,
    lasts: Duration,
    left: u32,
    sprung: u32,
}

/// What happens to the server's next answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answering {
    Pass,
    Lose,
    Wait(Duration),
}

impl Proxy {
    /// Listens on a free port for connections to `upstream`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(upstream: SocketAddr, protocol: Protocol) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let conditions = Arc::new(Conditions {
            weather: watch::Sender::new(Weather::default()),
            trap: Mutex::new(None),
        });
        let accepting = tokio::spawn(accept(
            listener,
            upstream,
            protocol,
            Arc::clone(&conditions),
        ));
        Ok(Self {
            address,
            conditions,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection, and new ones until [`Proxy::clear`].
    pub fn cut(&self) {
        self.conditions.weather.send_modify(|weather| {
            weather.cuts += 1;
            weather.down = true;
        });
    }

    /// Lets nothing pass until [`Proxy::clear`].
    pub fn stall(&self) {
        self.conditions
            .weather
            .send_modify(|weather| weather.stalled = true);
    }

    /// Delays every write until [`Proxy::clear`].
    pub fn slow(&self, delay: Duration) {
        self.conditions
            .weather
            .send_modify(|weather| weather.delay = delay);
    }

    /// Lies in wait for the next `count` commits, until [`Proxy::clear`]; an answer that is stalled
    /// is stalled for `lasts`.
    pub fn trap(&self, how: Commit, count: u32, lasts: Duration) {
        *self.conditions.trap() = Some(Trap {
            how,
            lasts,
            left: count,
            sprung: 0,
        });
    }

    /// Lets everything pass again; gives how many commits a trap has met.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn clear(&self) -> u32 {
        self.conditions.weather.send_modify(|weather| {
            *weather = Weather {
                cuts: weather.cuts,
                ..Weather::default()
            };
        });
        self.conditions.trap().take().map_or(0, |trap| trap.sprung)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.conditions
            .weather
            .send_modify(|weather| weather.cuts += 1);
    }
}

impl Conditions {
    fn trap(&self) -> std::sync::MutexGuard<'_, Option<Trap>> {
        self.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to the commit that passes now.
    fn spring(&self) -> Option<(Commit, Duration)> {
        let mut trap = self.trap();
        let trap = trap.as_mut().filter(|trap| trap.left > 0)?;
        trap.left -= 1;
        trap.sprung += 1;
        Some((trap.how, trap.lasts))
    }

    /// Waits until bytes may pass.
    async fn pass(&self) {
        let mut weather = self.weather.subscribe();
        // The sender lives as long as `self`.
        let _ = weather.wait_for(|weather| !weather.stalled).await;
        let delay = weather.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    protocol: Protocol,
    conditions: Arc<Conditions>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
            continue;
        };
        let mut weather = conditions.weather.subscribe();
        let born = *weather.borrow_and_update();
        if born.down {
            continue;
        }
        let conditions = Arc::clone(&conditions);
        tokio::spawn(async move {
            tokio::select! {
                // An error is the end of a connection, which both sides see.
                _ = connect(client, upstream, protocol, &conditions) => {}
                _ = weather.wait_for(|weather| weather.cuts != born.cuts) => {}
            }
        });
    }
}

async fn connect(
    client: TcpStream,
    upstream: SocketAddr,
    protocol: Protocol,
    conditions: &Conditions,
) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answering = watch::Sender::new(Answering::Pass);
    tokio::select! {
        ended = async {
            match protocol {
                Protocol::Opaque => copy(from_client, to_server, conditions).await,
                Protocol::Mysql => commands(from_client, to_server, conditions, &answering).await,
            }
        } => ended,
        ended = answers(from_server, to_client, conditions, &answering) => ended,
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    conditions: &Conditions,
) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(READ_BYTES);
    while from.read_buf(&mut bytes).await? > 0 {
        conditions.pass().await;
        to.write_all_buf(&mut bytes).await?;
    }
    Ok(())
}

/// Passes the client's packets on, whole and one by one, and springs the trap at a COMMIT.
async fn commands(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    conditions: &Conditions,
    answering: &watch::Sender<Answering>,
) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(READ_BYTES);
    while from.read_buf(&mut bytes).await? > 0 {
        while let Some(packet) = mysql::packet(&mut bytes) {
            conditions.pass().await;
            let commit = mysql::is_commit(&packet);
            match commit.then(|| conditions.spring()).flatten() {
                None => {}
                Some((Commit::CutBefore, _)) => return Ok(()),
                Some((Commit::CutAfter, _)) => return to.write_all(&packet).await,
                Some((Commit::LoseAnswer, _)) => {
                    answering.send_replace(Answering::Lose);
                }
                Some((Commit::StallAnswer, lasts)) => {
                    answering.send_replace(Answering::Wait(lasts));
                }
            }
            to.write_all(&packet).await?;
        }
    }
    Ok(())
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    conditions: &Conditions,
    answering: &watch::Sender<Answering>,
) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(READ_BYTES);
    while from.read_buf(&mut bytes).await? > 0 {
        match answering.send_replace(Answering::Pass) {
            Answering::Pass => {}
            Answering::Lose => return Ok(()),
            Answering::Wait(lasts) => sleep(lasts).await,
        }
        conditions.pass().await;
        to.write_all_buf(&mut bytes).await?;
    }
    Ok(())
}
