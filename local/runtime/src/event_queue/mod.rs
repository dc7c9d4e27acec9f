//! The events of asynchronous invocations: kept on disk until they are over.
//!
//! An event is acknowledged when it is on disk, and removed when its function has answered, or its
//! record is on disk in its place: an event of another function, or on its way to a topic. One that runs when the runtime ends without notice runs
//! again, with the same request id: at least once, in no particular order.

mod attempt;
mod record;
mod retry;
mod room;
mod runner;
mod store;
mod topics;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{SetOnce, mpsc};
use tokio::time::timeout;

use self::retry::Progress;
use self::room::{Place, Room};
pub(crate) use self::runner::Runner;
use self::store::{Change, Event, Store};
use self::writer::{Unkept, Writer};
use crate::call::Call;
use crate::deployment::Deployment;
use crate::fleet::Fleet;
use crate::manifest::Destination;
use crate::producer::Producer;

/// Longest wait of an event for the queue to be open: until another runtime has closed it.
const OPEN_WAIT: Duration = Duration::from_secs(15);

/// Accepts events, and knows how many there are.
pub(crate) struct EventQueue {
    fleet: Arc<Fleet>,
    room: Arc<Room>,
    /// Not there before the queue is open.
    writer: SetOnce<Writer>,
    last_key: AtomicU64,
    /// Entries that are new to the runner; each has a place, which bounds them.
    entries: mpsc::UnboundedSender<Entry>,
    /// Writes to topics, in the cluster at this address.
    producer: Mutex<Option<(String, Arc<Producer>)>>,
}

/// Why an event is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotAccepted {
    /// The function has as many as it may have, or there is no room for so many bytes.
    Full,
    /// It could not be written to the disk.
    Unkept,
}

/// An event that is on disk.
#[derive(Debug)]
struct Entry {
    key: u64,
    event: Event,
    /// Only as long as it has not waited.
    payload: Option<Bytes>,
    place: Place,
}

impl EventQueue {
    /// A queue that is not open yet, and what runs its events.
    pub(crate) fn new(fleet: Arc<Fleet>) -> (Arc<Self>, Runner) {
        let (entries, receiver) = mpsc::unbounded_channel();
        let queue = Arc::new(Self {
            fleet,
            room: Arc::default(),
            writer: SetOnce::new(),
            last_key: AtomicU64::new(0),
            entries,
            producer: Mutex::default(),
        });
        let runner = Runner::new(Arc::clone(&queue), receiver);
        (queue, runner)
    }

    /// Takes the events that are in the folder `state`, which is not made before the first event comes.
    ///
    /// # Errors
    /// If the events that are there cannot be read, or belong to another runtime.
    pub(crate) fn open(&self, state: &Path) -> anyhow::Result<()> {
        let store = Store::open(state)?;
        let found = store.as_ref().map(Store::events).transpose()?;
        let found = found.unwrap_or_default();
        let last_key = found.last().map_or(0, |(key, _)| *key);
        self.last_key.store(last_key, Ordering::Relaxed);
        if !found.is_empty() {
            tracing::info!("{} events were kept and run now", found.len());
        }
        for (key, event) in found {
            let place = self.room.place_anyway(&event.recipient, event.bytes);
            self.enter(Entry {
                key,
                event,
                payload: None,
                place,
            });
        }
        let _opened_once = self.writer.set(Writer::start(store, state.to_owned())?);
        Ok(())
    }

    async fn writer(&self) -> &Writer {
        self.writer.wait().await
    }

    /// Keeps the event of `call` for `deployment`; it is on disk when this returns.
    ///
    /// # Errors
    /// [`NotAccepted`].
    pub(crate) async fn accept(
        self: &Arc<Self>,
        deployment: &Deployment,
        call: Call,
    ) -> Result<(), NotAccepted> {
        let opened = timeout(OPEN_WAIT, self.writer.wait()).await;
        opened.map_err(|_| NotAccepted::Unkept)?;
        let bytes = call.payload.len();
        let max = deployment.asynchronous().queue_max;
        let recipient = Destination::Function(deployment.name.clone());
        let records = deployment.records_after();
        let place = self.room.place(&recipient, bytes, records, max);
        let place = place.ok_or(NotAccepted::Full)?;
        let extras = call.extras.unwrap_or_default();
        let text = |header: &http::HeaderValue| header.to_str().map(str::to_owned).ok();
        let event = Event {
            recipient,
            origin: None,
            id: call.id,
            trace: text(&call.trace).unwrap_or_default(),
            tenant: extras.tenant.as_ref().and_then(text),
            bytes,
            progress: Progress::new(SystemTime::now()),
        };
        let (change, entry) = self.entry(event, call.payload, place);
        let queue = Arc::clone(self);
        // A task of its own: an event may get onto the disk after its caller has gone.
        let kept = tokio::spawn(async move {
            queue.writer().await.commit(vec![change]).await?;
            queue.enter(entry);
            Ok(())
        });
        match kept.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Unkept)) | Err(_) => Err(NotAccepted::Unkept),
        }
    }

    /// An entry for a new event, and the change that puts it onto the disk.
    fn entry(&self, event: Event, payload: Bytes, place: Place) -> (Change, Entry) {
        let key = self.last_key.fetch_add(1, Ordering::Relaxed) + 1;
        let change = Change::Add(key, event.clone(), payload.clone());
        let entry = Entry {
            key,
            event,
            payload: Some(payload),
            place,
        };
        (change, entry)
    }

    /// Hands an event on disk to the runner. One that has ended leaves it for the next runtime.
    fn enter(&self, entry: Entry) {
        let _ended = self.entries.send(entry);
    }

    /// How many events of each function are not over, and how many records wait for each topic.
    pub(crate) fn events(&self) -> HashMap<Destination, usize> {
        self.room.events()
    }

    /// Accepts nothing more, and closes the file.
    pub(crate) async fn close(&self) {
        if let Some(writer) = self.writer.get() {
            writer.close().await;
        }
    }
}
