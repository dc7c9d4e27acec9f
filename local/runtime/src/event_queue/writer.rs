//! The thread that reads and writes the events on disk, so that nobody else waits for a disk.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::store::{Change, Store};

/// Most requests that wait for the thread; what arrives while it writes is written together next.
const REQUESTS_MAX: usize = 128;
/// Longest wait at the end for the file to be closed.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// A change could not be made, or an event not be read; the reason is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unkept;

/// Changes, and who waits for them.
type Commit = (Vec<Change>, oneshot::Sender<Result<(), Unkept>>);

enum Request {
    Commit {
        changes: Vec<Change>,
        done: oneshot::Sender<Result<(), Unkept>>,
    },
    Payload {
        key: u64,
        payload: oneshot::Sender<Bytes>,
    },
    Close,
}

/// What the thread is asked through.
pub(super) struct Writer {
    requests: mpsc::Sender<Request>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Writer {
    /// Starts the thread. Without a store it makes one in `folder` when the first event comes.
    pub(super) fn start(store: Option<Store>, folder: PathBuf) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let (end, ended) = oneshot::channel();
        let files = Files {
            begun: store.is_some(),
            store,
            folder,
        };
        thread::Builder::new()
            .name("event-writer".to_owned())
            .spawn(move || {
                files.serve(receiver);
                drop(end);
            })?;
        Ok(Self {
            requests: sender,
            ended: Mutex::new(Some(ended)),
        })
    }

    /// Makes changes, all or none; they are on disk when this returns.
    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), Unkept> {
        let (done, committed) = oneshot::channel();
        let request = Request::Commit { changes, done };
        self.requests.send(request).await.map_err(|_| Unkept)?;
        committed.await.unwrap_or(Err(Unkept))
    }

    /// The payload of an event.
    pub(super) async fn payload(&self, key: u64) -> Result<Bytes, Unkept> {
        let (payload, read) = oneshot::channel();
        let request = Request::Payload { key, payload };
        self.requests.send(request).await.map_err(|_| Unkept)?;
        read.await.map_err(|_| Unkept)
    }

    /// Does what has been asked before, and closes the file.
    pub(super) async fn close(&self) {
        let _ended_before = self.requests.send(Request::Close).await;
        if let Some(ended) = self.ended.lock().await.take() {
            let _given_up = timeout(CLOSE_WAIT, ended).await;
        }
    }
}

/// What the thread owns.
struct Files {
    store: Option<Store>,
    /// Whether the file is there, and this runtime's.
    begun: bool,
    folder: PathBuf,
}

impl Files {
    fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut open = true;
        while open && let Some(first) = requests.blocking_recv() {
            let mut commits = Vec::new();
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Commit { changes, done } => commits.push((changes, done)),
                    Request::Payload { key, payload } => self.read(key, payload),
                    Request::Close => open = false,
                }
                let more = commits.len() < REQUESTS_MAX;
                next = more.then(|| requests.try_recv().ok()).flatten();
            }
            self.commit(commits);
        }
    }

    fn read(&mut self, key: u64, payload: oneshot::Sender<Bytes>) {
        let read = self.store().and_then(|store| {
            let payload = store.payload(key)?;
            self.store = Some(store);
            Ok(payload)
        });
        match read {
            Ok(bytes) => {
                let _nobody_waits = payload.send(bytes);
            }
            Err(error) => tracing::error!("an event cannot be read: {error:#}"),
        }
    }

    /// Writes what has come together in one transaction: the disk is waited for once.
    fn commit(&mut self, commits: Vec<Commit>) {
        if commits.is_empty() {
            return;
        }
        let result = self.try_commit(commits.iter().flat_map(|(changes, _)| changes));
        let result = result.map_err(|error| {
            tracing::error!("events cannot be kept: {error:#}");
            Unkept
        });
        for (_, done) in commits {
            let _nobody_waits = done.send(result);
        }
    }

    fn try_commit<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> anyhow::Result<()> {
        let store = self.store()?;
        store.commit(changes)?;
        self.store = Some(store);
        Ok(())
    }

    /// The store, to be put back by whoever has used it without a failure: one that has failed does
    /// nothing more until it is opened again.
    fn store(&mut self) -> anyhow::Result<Store> {
        let store = match self.store.take() {
            Some(store) => store,
            None if self.begun => Store::open(&self.folder)?.context("the file is gone")?,
            None => Store::create(&self.folder)?,
        };
        self.begun = true;
        Ok(store)
    }
}
