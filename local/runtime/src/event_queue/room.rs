//! How many events there are, and how many there may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::function::locked;
use crate::manifest::Destination;

/// Most bytes of payloads that are kept, over all functions: of events, and of records on their way.
const BYTES_MAX: usize = 1024 * 1024 * 1024;
/// By how many bytes a record may be larger than what it tells of: an answer of the largest size, and
/// what stands around it.
const RECORD_GROWTH_MAX: usize = 7 * 1024 * 1024;

/// The room for events and records.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    events: HashMap<Destination, usize>,
}

/// The place of one event, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    recipient: Destination,
    bytes: usize,
}

impl Room {
    /// A place for one more event of a recipient that may have `max`; `None` if there is no room.
    /// `records` may follow it, one after the other.
    pub(super) fn place(
        self: &Arc<Self>,
        recipient: &Destination,
        bytes: usize,
        records: usize,
        max: usize,
    ) -> Option<Place> {
        let mut taken = locked(&self.0);
        let events = taken.events.get(recipient).copied().unwrap_or_default();
        let fits = events < max && taken.fits(bytes, records);
        fits.then(|| self.take(&mut taken, recipient, bytes))
    }

    /// A place for the record that replaces an event; `None` while there is no room.
    pub(super) fn place_instead_of(
        self: &Arc<Self>,
        event: &Place,
        recipient: &Destination,
        bytes: usize,
        records: usize,
    ) -> Option<Place> {
        let mut taken = locked(&self.0);
        let growth = bytes.saturating_sub(event.bytes);
        let fits = taken.fits(growth, records);
        fits.then(|| self.take(&mut taken, recipient, bytes))
    }

    /// A place for an event that is there already.
    pub(super) fn place_anyway(self: &Arc<Self>, recipient: &Destination, bytes: usize) -> Place {
        self.take(&mut locked(&self.0), recipient, bytes)
    }

    fn take(self: &Arc<Self>, taken: &mut Taken, recipient: &Destination, bytes: usize) -> Place {
        taken.bytes += bytes;
        *taken.events.entry(recipient.clone()).or_default() += 1;
        Place {
            room: Arc::clone(self),
            recipient: recipient.clone(),
            bytes,
        }
    }

    /// How many events, or records, each recipient has had and has now.
    pub(super) fn events(&self) -> HashMap<Destination, usize> {
        locked(&self.0).events.clone()
    }
}

impl Taken {
    /// Whether so many bytes fit in that `records` may follow. Those have room left for them, each for
    /// one, so what is nearest to its end can always go on and make room for the others.
    fn fits(&self, bytes: usize, records: usize) -> bool {
        let kept_free = records.saturating_mul(RECORD_GROWTH_MAX);
        self.bytes + bytes <= BYTES_MAX.saturating_sub(kept_free)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = locked(&self.room.0);
        taken.bytes -= self.bytes;
        if let Some(events) = taken.events.get_mut(&self.recipient) {
            *events -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(name: &str) -> Destination {
        Destination::Function(name.to_owned())
    }

    #[test]
    fn room_is_bounded_by_events_of_a_function_and_bytes_of_all() {
        let room = Arc::new(Room::default());
        let first = room.place(&to("a"), 10, 0, 1).expect("room");
        assert!(room.place(&to("a"), 10, 0, 1).is_none());
        let other = room.place(&to("b"), BYTES_MAX - 10, 0, 1).expect("room");
        assert!(room.place(&to("c"), 1, 0, 1).is_none());
        let expected = [(to("a"), 1), (to("b"), 1)];
        assert_eq!(room.events(), expected.into_iter().collect());
        drop(other);
        drop(first);
        let again = room
            .place(&to("a"), BYTES_MAX, 0, 1)
            .expect("all room is back");
        let _forced = room.place_anyway(&to("a"), 1);
        assert_eq!(room.events()[&to("a")], 2);
        drop(again);
    }

    #[test]
    fn record_waits_for_room_and_takes_that_of_its_event() {
        let room = Arc::new(Room::default());
        let event = room.place(&to("a"), 100, 1, 9).expect("room");
        let others = room.place_anyway(&to("b"), BYTES_MAX - 150);
        assert!(room.place_instead_of(&event, &to("c"), 151, 0).is_none());
        let record = room.place_instead_of(&event, &to("c"), 150, 0);
        let record = record.expect("the event's bytes and those left");
        drop(event);
        assert!(room.place(&to("d"), 1, 0, 1).is_none(), "it is full");
        drop((record, others));
        assert!(room.place(&to("d"), BYTES_MAX, 0, 1).is_some());
    }

    #[test]
    fn events_leave_room_for_the_records_that_follow_them() {
        let room = Arc::new(Room::default());
        let filled = BYTES_MAX - 2 * RECORD_GROWTH_MAX;
        let first = room.place(&to("first"), filled, 2, 9).expect("room");
        assert!(room.place(&to("first"), 1, 2, 9).is_none());
        let largest = filled + RECORD_GROWTH_MAX;
        let second = room.place_instead_of(&first, &to("second"), largest, 1);
        let second = second.expect("room was left for it");
        drop(first);
        assert!(room.place(&to("first"), 1, 2, 9).is_none());
        let last = room.place_instead_of(&second, &to("last"), BYTES_MAX, 0);
        assert!(last.is_some(), "room was left for it");
    }
}
