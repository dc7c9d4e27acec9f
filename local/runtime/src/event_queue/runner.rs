//! Runs each event when it is due and its function has room, and has each record written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::attempt::attempt;
use super::{Entry, EventQueue, topics};
use crate::manifest::Destination;

/// Pause between two looks whether a function has room for events that are due.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Longest sleep towards an event that is due later, so that a clock that was set is noticed.
const CLOCK_CHECK: Duration = Duration::from_secs(30);
/// Most events of a function that wait with their payload in memory; that of others is on the disk.
const PAYLOADS_HELD_MAX: usize = 16;

/// Runs the events of all functions.
pub(crate) struct Runner {
    queue: Arc<EventQueue>,
    entries: mpsc::UnboundedReceiver<Entry>,
    lanes: HashMap<Destination, Lane>,
    running: JoinSet<Ended>,
}

/// The events of one function, or the records of one topic.
#[derive(Default)]
struct Lane {
    /// By the moment they are due, and key.
    waiting: BTreeMap<(SystemTime, u64), Entry>,
    running: usize,
    /// Bytes of those.
    bytes: usize,
}

/// An attempt that has ended.
pub(super) struct Ended {
    /// Who it was for.
    pub(super) recipient: Destination,
    /// How many bytes it has.
    pub(super) bytes: usize,
    /// The event, and when it runs again, unless it is over.
    pub(super) again: Option<(SystemTime, Entry)>,
}

impl Runner {
    pub(super) fn new(queue: Arc<EventQueue>, entries: mpsc::UnboundedReceiver<Entry>) -> Self {
        Self {
            queue,
            entries,
            lanes: HashMap::new(),
            running: JoinSet::new(),
        }
    }

    /// Runs events until `stop`, and those then running to their end.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let next_look = self.start_due();
            tokio::select! {
                () = stop.cancelled() => {}
                Some(entry) = self.entries.recv() => self.wait(SystemTime::now(), entry),
                Some(ended) = self.running.join_next() => self.ended(ended.ok()),
                () = sleep(next_look) => {}
            }
            while let Ok(entry) = self.entries.try_recv() {
                self.wait(SystemTime::now(), entry);
            }
        }
        while self.running.join_next().await.is_some() {}
    }

    fn wait(&mut self, due: SystemTime, mut entry: Entry) {
        let lane = self.lanes.entry(entry.event.recipient.clone()).or_default();
        if lane.waiting.len() >= PAYLOADS_HELD_MAX {
            entry.payload = None;
        }
        lane.waiting.insert((due, entry.key), entry);
    }

    /// An attempt that has panicked leaves its event to the next runtime.
    fn ended(&mut self, ended: Option<Ended>) {
        let Some(Ended {
            recipient,
            bytes,
            again,
        }) = ended
        else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&recipient) {
            lane.running -= 1;
            lane.bytes -= bytes;
        }
        if let Some((due, entry)) = again {
            self.wait(due, entry);
        }
    }

    /// Starts what is due and has room; how long until there may be more to start.
    fn start_due(&mut self) -> Duration {
        let now = SystemTime::now();
        let mut next_look = CLOCK_CHECK;
        for (recipient, lane) in &mut self.lanes {
            while let Some(first) = lane.waiting.first_entry() {
                let due = first.key().0;
                if due > now {
                    let left = due.duration_since(now).unwrap_or_default();
                    next_look = next_look.min(left);
                    break;
                }
                let bytes = first.get().event.bytes;
                let has_room = match recipient {
                    Destination::Function(name) => self.queue.has_room(name, lane.running),
                    Destination::Topic(_) => topics::has_room(bytes, lane.running, lane.bytes),
                };
                if !has_room {
                    next_look = LOOK_AGAIN;
                    break;
                }
                lane.running += 1;
                lane.bytes += bytes;
                let attempt = attempt(Arc::clone(&self.queue), first.remove());
                self.running.spawn(attempt);
            }
        }
        self.lanes
            .retain(|_, lane| lane.running > 0 || !lane.waiting.is_empty());
        next_look
    }
}

impl EventQueue {
    /// Whether a function of which so many events run may get another: its instances can take it
    /// beside what runs and waits already. One event runs in any case, lest others keep all out.
    fn has_room(&self, function: &str, running: usize) -> bool {
        if running == 0 {
            return true;
        }
        let Some(deployment) = self.fleet.get(function) else {
            return false;
        };
        let function = deployment.current();
        let (queued, in_flight) = function.load();
        let instances = function.bounds().1;
        let concurrency = function.config.concurrency.unwrap_or(1) as usize;
        let reserved = function.config.reserved_concurrency.unwrap_or(usize::MAX);
        // Events that have just been started may not be among the calls yet.
        (queued + in_flight).max(running) < instances * concurrency
            && function.calls().max(running) < reserved
    }
}
