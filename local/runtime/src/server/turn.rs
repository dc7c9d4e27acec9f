//! Whose turn it is with a request: the runtime's, or its client's.

use std::sync::Arc;
use std::time::Instant;

use http::Version;
use slab::Slab;

use super::pace::Pace;

/// Most requests that an HTTP/2 client may take back, above those it waited for: what it takes back
/// has cost work, and makes room for the next.
const TAKEN_BACK_MAX: u32 = 100;

/// The turn of one request, until the client has all of its reply.
#[derive(Clone)]
pub(super) enum Turn {
    /// HTTP/1 has one request at a time: what it does, its connection does.
    Connection(Arc<Pace>),
    /// HTTP/2 has many.
    Stream(Arc<Stream>),
}

/// One of the streams of an HTTP/2 connection; over when it is dropped.
pub(super) struct Stream {
    pace: Arc<Pace>,
    key: usize,
}

impl Turn {
    /// A request has come, and is the runtime's to answer. None if its connection is being closed, and
    /// so must not be served.
    pub(super) fn begin(version: Version, pace: &Arc<Pace>) -> Option<Self> {
        let pace = Arc::clone(pace);
        if version == Version::HTTP_2 {
            let key = pace.change_streams(|streams| streams.waiting.insert(None))?;
            Some(Self::Stream(Arc::new(Stream { pace, key })))
        } else {
            pace.working().then_some(Self::Connection(pace))
        }
    }

    /// The reply, or a piece of it, is the client's to take.
    pub(super) fn replying(&self) {
        match self {
            Self::Connection(pace) => pace.replying(),
            Self::Stream(stream) => stream.set(Some(Instant::now())),
        }
    }

    /// The next piece of the reply is the runtime's to bring.
    pub(super) fn streaming(&self) {
        match self {
            Self::Connection(pace) => pace.streaming(),
            Self::Stream(stream) => stream.set(None),
        }
    }

    /// The stream that it is of, if there are several.
    pub(super) fn stream(&self) -> Option<Arc<Stream>> {
        match self {
            Self::Connection(_) => None,
            Self::Stream(stream) => Some(Arc::clone(stream)),
        }
    }
}

impl Stream {
    fn set(&self, waiting: Option<Instant>) {
        let key = self.key;
        self.pace
            .change_streams(|streams| streams.waiting[key] = waiting);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let key = self.key;
        self.pace.change_streams(|streams| streams.end(key));
    }
}

/// The streams of an HTTP/2 connection.
pub(super) struct Streams {
    /// Since when each has waited for its client; none while it is the runtime's turn.
    waiting: Slab<Option<Instant>>,
    /// How many more may be taken back.
    may_take_back: u32,
    /// Whether the client is told to go.
    pub(super) leaving: bool,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self {
            waiting: Slab::new(),
            may_take_back: TAKEN_BACK_MAX,
            leaving: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the client has taken back too many requests.
    pub(super) fn is_flood(&self) -> bool {
        self.may_take_back == 0
    }

    /// Since when the first of those has waited that wait for the client.
    pub(super) fn first_waiting(&self) -> Option<Instant> {
        self.waiting.iter().filter_map(|(_, since)| *since).min()
    }

    /// Since when all have waited for the client, if they do.
    pub(super) fn all_waiting_since(&self) -> Option<Instant> {
        let mut waiting = self.waiting.iter();
        waiting.try_fold(None, |last, (_, since)| {
            since.map(|since| last.max(Some(since)))
        })?
    }

    fn end(&mut self, key: usize) {
        let taken_back = self.waiting.remove(key).is_none();
        self.may_take_back = if taken_back {
            self.may_take_back.saturating_sub(1)
        } else {
            TAKEN_BACK_MAX.min(self.may_take_back + 1)
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const REPLY_MAX: Duration = Duration::from_secs(30);
    const IDLE_MAX: Duration = Duration::from_secs(75);
    const SECOND: Duration = Duration::from_secs(1);

    fn begin(pace: &Arc<Pace>) -> Turn {
        Turn::begin(Version::HTTP_2, pace).expect("the connection is open")
    }

    #[test]
    fn every_stream_has_its_own_time() {
        let pace = Arc::new(Pace::new(false));
        let (slow, other) = (begin(&pace), begin(&pace));
        let late = Instant::now() + REPLY_MAX + SECOND;
        assert!(!pace.is_overdue(late), "both are at work");
        slow.replying();
        assert!(pace.is_overdue(late));
        assert!(pace.waiting_since().is_none(), "one is at work");
        slow.streaming();
        assert!(!pace.is_overdue(late));
        slow.replying();
        other.replying();
        assert!(pace.waiting_since().is_some());
        drop(slow);
        drop(other);
        assert!(!pace.is_overdue(late) && pace.is_overdue(late + IDLE_MAX));
    }

    #[test]
    fn what_the_client_has_not_taken_is_not_over() {
        let pace = Arc::new(Pace::new(false));
        let turn = begin(&pace);
        turn.replying();
        let piece = turn.stream();
        drop(turn);
        assert!(pace.is_overdue(Instant::now() + REPLY_MAX + SECOND));
        drop(piece);
        assert!(!pace.is_overdue(Instant::now() + REPLY_MAX + SECOND));
    }

    #[test]
    fn connection_with_a_stream_at_work_is_not_closed_and_a_closed_one_begins_none() {
        let pace = Arc::new(Pace::new(false));
        let turn = begin(&pace);
        assert!(!pace.close());
        turn.replying();
        assert!(pace.close());
        drop(turn);
        assert!(Turn::begin(Version::HTTP_2, &pace).is_none());
        assert!(pace.is_overdue(Instant::now()), "it stays closed");
    }

    #[test]
    fn client_that_goes_on_taking_back_is_disconnected() {
        let pace = Arc::new(Pace::new(false));
        for _ in 0..10 * TAKEN_BACK_MAX {
            drop(begin(&pace));
            let turn = begin(&pace);
            turn.replying();
        }
        assert!(!pace.is_overdue(Instant::now()), "one in two is served");
        for _ in 0..TAKEN_BACK_MAX {
            drop(begin(&pace));
        }
        assert!(Turn::begin(Version::HTTP_2, &pace).is_none());
        assert!(pace.is_overdue(Instant::now()));
    }

    #[test]
    fn quiet_connection_is_soon_closed_when_it_is_to_end() {
        let pace = Arc::new(Pace::new(false));
        drop(begin(&pace));
        let late = Instant::now() + 3 * SECOND;
        assert!(!pace.is_overdue(late));
        pace.leaving();
        assert!(!pace.is_overdue(Instant::now()) && pace.is_overdue(late));
    }
}
