//! Hands the listening sockets of a running runtime to the one that takes its place.
//!
//! Both talk over a Unix socket whose abstract name is made from the admin address. The sockets
//! themselves are passed on, so clients that are waiting to be accepted lose nothing. In order:
//!
//! 1. the new one connects, and the old one sends it the three sockets, and a fourth if instances may
//!    attach;
//! 2. the new one starts its instances, and says [`READY`];
//! 3. the old one accepts no more, and says [`YOURS`]: the new one does;
//! 4. the old one has ended what called functions by itself, and says [`ALONE`]: the new one begins.
//!
//! If the new one goes before step 2 is done, the old one goes on as if nothing had been.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::unistd::geteuid;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::timeout;

/// How many sockets are passed on at most.
const SOCKETS_MAX: usize = 4;
const SOCKETS_FOLLOW: u8 = b's';
/// The new runtime's instances are ready.
const READY: u8 = b'r';
/// The old runtime does not accept any more.
const YOURS: u8 = b'y';
/// The old runtime calls no function by itself any more.
const ALONE: u8 = b'a';

/// Longest wait for the instances of a new runtime.
const READY_MAX: Duration = Duration::from_mins(2);

/// The old runtime's side.
pub(crate) struct Offer {
    listener: UnixListener,
}

/// A new runtime that is ready to take over.
pub(crate) struct Successor(UnixStream);

/// The new runtime's side.
pub(crate) struct Predecessor(UnixStream);

fn name(admin: SocketAddr) -> io::Result<net::SocketAddr> {
    net::SocketAddr::from_abstract_name(format!("local-lambda/{admin}"))
}

impl Offer {
    /// Waits to be taken over, at the name for this admin address.
    ///
    /// # Errors
    /// If the name is taken.
    pub(crate) fn new(admin: SocketAddr) -> io::Result<Self> {
        let listener = net::UnixListener::bind_addr(&name(admin)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
        })
    }

    /// The next runtime that is ready to accept on `sockets`.
    pub(crate) async fn successor(&self, sockets: &[OwnedFd]) -> Successor {
        loop {
            match self.next(sockets).await {
                Ok(successor) => return successor,
                Err(error) => tracing::warn!("no other runtime has taken over: {error:#}"),
            }
        }
    }

    async fn next(&self, sockets: &[OwnedFd]) -> anyhow::Result<Successor> {
        let (mut stream, _) = self.listener.accept().await?;
        // Abstract names have no permissions.
        let user = stream.peer_cred()?.uid();
        ensure!(user == geteuid().as_raw(), "the user {user} may not");
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        send(&stream, &sockets).await?;
        let ready = timeout(READY_MAX, expect(&mut stream, READY)).await;
        ready.context("it does not become ready")??;
        Ok(Successor(stream))
    }
}

impl Successor {
    /// Tells it to accept.
    ///
    /// # Errors
    /// If it has gone: nobody serves any more.
    pub(crate) async fn accept(&mut self) -> io::Result<()> {
        self.0.write_all(&[YOURS]).await
    }

    /// Tells it to call functions by itself.
    ///
    /// # Errors
    /// As [`Successor::accept`].
    pub(crate) async fn begin(&mut self) -> io::Result<()> {
        self.0.write_all(&[ALONE]).await
    }
}

impl Predecessor {
    /// Asks the runtime that has this admin address for its sockets, in the order of [`Offer::successor`].
    ///
    /// # Errors
    /// If there is none, or it runs for another user.
    pub(crate) async fn ask(admin: SocketAddr) -> anyhow::Result<(Self, Vec<TcpListener>)> {
        let stream = net::UnixStream::connect_addr(&name(admin)?);
        let stream = stream.with_context(|| format!("no runtime to take over has {admin}"))?;
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        let sockets = receive(&stream).await.context("it gave no sockets")?;
        Ok((Self(stream), sockets))
    }

    /// Says that the instances are ready; returns when the other one accepts no more.
    ///
    /// # Errors
    /// If it has gone, or does not give way.
    pub(crate) async fn replace(&mut self) -> anyhow::Result<()> {
        self.0.write_all(&[READY]).await?;
        expect(&mut self.0, YOURS).await
    }

    /// Waits until the other one calls no function by itself any more, or has gone.
    pub(crate) async fn alone(mut self) {
        let _gone = expect(&mut self.0, ALONE).await;
    }
}

async fn expect(stream: &mut UnixStream, word: u8) -> anyhow::Result<()> {
    let read = stream.read_u8().await?;
    ensure!(read == word, "unexpected word {read}");
    Ok(())
}

async fn send(stream: &UnixStream, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let sent = || {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(sockets));
        let word = [IoSlice::new(&[SOCKETS_FOLLOW])];
        Ok(sendmsg(stream, &word, &mut ancillary, SendFlags::empty())?)
    };
    stream.async_io(Interest::WRITABLE, sent).await?;
    Ok(())
}

async fn receive(stream: &UnixStream) -> anyhow::Result<Vec<TcpListener>> {
    let received = || {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0];
        let mut words = [IoSliceMut::new(&mut word)];
        recvmsg(stream, &mut words, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let rights = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        });
        Ok(rights.flatten().collect::<Vec<OwnedFd>>())
    };
    let sockets = stream.async_io(Interest::READABLE, received).await?;
    let sockets = sockets
        .into_iter()
        .map(|socket| TcpListener::from_std(socket.into()));
    Ok(sockets.collect::<io::Result<_>>()?)
}
