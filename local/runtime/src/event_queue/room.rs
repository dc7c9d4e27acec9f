//! How many events there are, and how many there may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::function::locked;

/// Most bytes of payloads that are kept, over all functions.
const BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The room for events.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    events: HashMap<String, usize>,
}

/// The place of one event, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    function: String,
    bytes: usize,
}

impl Room {
    /// A place for one more event of a function that may have `max`; `None` if there is no room.
    pub(super) fn place(
        self: &Arc<Self>,
        function: &str,
        bytes: usize,
        max: usize,
    ) -> Option<Place> {
        let is_free = {
            let taken = locked(&self.0);
            let events = taken.events.get(function).copied().unwrap_or_default();
            events < max && taken.bytes + bytes <= BYTES_MAX
        };
        is_free.then(|| self.place_anyway(function, bytes))
    }

    /// A place for an event that is there already, or stands for one that was.
    pub(super) fn place_anyway(self: &Arc<Self>, function: &str, bytes: usize) -> Place {
        let mut taken = locked(&self.0);
        taken.bytes += bytes;
        *taken.events.entry(function.to_owned()).or_default() += 1;
        Place {
            room: Arc::clone(self),
            function: function.to_owned(),
            bytes,
        }
    }

    /// Events of a function.
    pub(super) fn events(&self, function: &str) -> usize {
        let taken = locked(&self.0);
        taken.events.get(function).copied().unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = locked(&self.room.0);
        taken.bytes -= self.bytes;
        if let Some(events) = taken.events.get_mut(&self.function) {
            *events -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_by_events_of_a_function_and_bytes_of_all() {
        let room = Arc::new(Room::default());
        let first = room.place("a", 10, 1).expect("room");
        assert!(room.place("a", 10, 1).is_none());
        let other = room.place("b", BYTES_MAX - 10, 1).expect("room");
        assert!(room.place("c", 1, 1).is_none());
        assert_eq!(
            [room.events("a"), room.events("b"), room.events("c")],
            [1, 1, 0]
        );
        drop(other);
        drop(first);
        let again = room.place("a", BYTES_MAX, 1).expect("all room is back");
        let _forced = room.place_anyway("a", 1);
        assert_eq!(room.events("a"), 2);
        drop(again);
    }
}
