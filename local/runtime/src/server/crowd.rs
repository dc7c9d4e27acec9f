//! The connections of one server: who may come in, and who has to leave for it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, AbortRegistration};

use super::Bounds;
use super::pace::Pace;

/// Connections closed at once when there are too many, so that the search for the ones that have
/// waited longest is seldom.
const CLOSED_AT_ONCE: usize = 64;
/// Most TLS handshakes under way: each may cost the processor a millisecond, and holds memory.
const HANDSHAKES_MAX: usize = 4096;
/// How long a connection must have waited for its client before it is closed for another.
const SPARED_FOR: Duration = Duration::from_secs(1);

/// The open connections.
pub(super) struct Crowd {
    bounds: Bounds,
    members: HashMap<MemberId, Member>,
    by_ip: HashMap<IpAddr, usize>,
    /// The connections in a TLS handshake, first come first, and some that are no longer.
    handshakes: VecDeque<MemberId>,
    counter: MemberId,
}

/// Number of a connection, unique within its server.
pub(super) type MemberId = u64;

struct Member {
    ip: IpAddr,
    pace: Arc<Pace>,
    abort: AbortHandle,
}

impl Crowd {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            members: HashMap::new(),
            by_ip: HashMap::new(),
            handshakes: VecDeque::new(),
            counter: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.members.len() >= self.bounds.connections_max
    }

    /// Makes room for one more connection from `ip`, at the cost of those that have kept the
    /// server waiting longest. False if none has for long enough.
    pub(super) fn make_room(&mut self, ip: IpAddr, now: Instant) -> bool {
        let of_ip = self.by_ip.get(&ip).copied().unwrap_or_default();
        if of_ip >= self.bounds.per_ip_max && !self.close_longest_waiting(Some(ip), now) {
            return false;
        }
        (!self.is_full() || self.close_longest_waiting(None, now)) && self.may_shake_hands(now)
    }

    /// Whether there is room for one more TLS handshake, if need be at the cost of the longest.
    fn may_shake_hands(&mut self, now: Instant) -> bool {
        if self.handshakes.len() < HANDSHAKES_MAX {
            return true;
        }
        let members = &self.members;
        self.handshakes.retain(|id| {
            let member = members.get(id);
            member.is_some_and(|member| member.pace.in_handshake())
        });
        if self.handshakes.len() < HANDSHAKES_MAX {
            return true;
        }
        let longest = self.handshakes.front().copied();
        longest.is_some_and(|id| self.close_waiting(id, now))
    }

    /// Adds a connection; the registration is for ending it.
    pub(super) fn add(&mut self, ip: IpAddr, pace: Arc<Pace>) -> (MemberId, AbortRegistration) {
        let (abort, registration) = AbortHandle::new_pair();
        self.counter += 1;
        *self.by_ip.entry(ip).or_default() += 1;
        let member = Member { ip, pace, abort };
        if member.pace.in_handshake() {
            self.handshakes.push_back(self.counter);
        }
        self.members.insert(self.counter, member);
        (self.counter, registration)
    }

    /// A connection has ended, or is to end.
    pub(super) fn remove(&mut self, id: MemberId) {
        let Some(member) = self.members.remove(&id) else {
            return;
        };
        member.abort.abort();
        if let Some(count) = self.by_ip.get_mut(&member.ip) {
            *count -= 1;
            if *count == 0 {
                self.by_ip.remove(&member.ip);
            }
        }
    }

    /// Ends the connections whose clients are too slow, and has those rest that are idle.
    pub(super) fn look_after(&mut self, now: Instant) {
        for member in self.members.values() {
            member.pace.suggest_rest(now);
        }
        let overdue = self.members.iter();
        let overdue = overdue.filter(|(_, member)| member.pace.is_overdue(now));
        let overdue: Vec<_> = overdue.map(|(id, _)| *id).collect();
        for id in overdue {
            self.remove(id);
        }
    }

    /// Closes the connections, of one address or of all, that have waited longest for their
    /// clients. False if there is none.
    fn close_longest_waiting(&mut self, ip: Option<IpAddr>, now: Instant) -> bool {
        let members = self.members.iter();
        let candidates = members.filter(|(_, member)| ip.is_none_or(|ip| ip == member.ip));
        let mut waiting: Vec<_> = candidates
            .filter_map(|(id, member)| Some((member.pace.waiting_since()?, *id)))
            .collect();
        waiting.sort_unstable_by_key(|(since, _)| *since);
        let longest = waiting.into_iter().take(CLOSED_AT_ONCE);
        let mut closed = false;
        for (_, id) in longest {
            closed |= self.close_waiting(id, now);
        }
        closed
    }

    /// Closes a connection if it has waited for its client for long enough.
    fn close_waiting(&mut self, id: MemberId, now: Instant) -> bool {
        let Some(member) = self.members.get(&id) else {
            return false;
        };
        let waited = |since| now.saturating_duration_since(since) >= SPARED_FOR;
        let closes = member.pace.waiting_since().is_some_and(waited) && member.pace.close();
        if closes {
            self.remove(id);
        }
        closes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections_max: 4,
        per_ip_max: 3,
        patient: false,
    };

    struct Room {
        crowd: Crowd,
        now: Instant,
    }

    impl Room {
        fn new() -> Self {
            Self {
                crowd: Crowd::new(BOUNDS),
                now: Instant::now(),
            }
        }

        fn enter(&mut self, ip: IpAddr) -> Option<Arc<Pace>> {
            let pace = Arc::new(Pace::new(false));
            self.crowd.make_room(ip, self.now).then(|| {
                self.crowd.add(ip, Arc::clone(&pace));
                pace
            })
        }

        fn later(&mut self) {
            self.now = Instant::now() + SPARED_FOR;
        }
    }

    #[test]
    fn handshake_that_takes_long_makes_room_for_another() {
        let mut crowd = Crowd::new(Bounds {
            connections_max: 2 * HANDSHAKES_MAX,
            per_ip_max: 2 * HANDSHAKES_MAX,
            patient: false,
        });
        let paces: Vec<_> = (0..HANDSHAKES_MAX)
            .map(|_| Arc::new(Pace::new(true)))
            .collect();
        let now = Instant::now();
        for pace in &paces {
            assert!(crowd.make_room(ip(1), now));
            crowd.add(ip(1), Arc::clone(pace));
        }
        assert!(!crowd.make_room(ip(2), now), "all have begun just now");
        paces[1].secured();
        assert!(crowd.make_room(ip(2), now), "one is done");
        crowd.add(ip(2), Arc::new(Pace::new(true)));
        assert!(crowd.make_room(ip(2), Instant::now() + SPARED_FOR));
        assert!(!paces[0].working(), "it took longest");
        assert!(paces[1].working() && paces[2].working());
    }

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn waiting_connections_make_room_and_working_ones_do_not() {
        let mut room = Room::new();
        let paces: Vec<_> = (0..4).filter_map(|host| room.enter(ip(host))).collect();
        assert!(paces[0].working() && paces[2].working());
        assert!(room.enter(ip(9)).is_none(), "all have come just now");
        room.later();
        let newcomers = [room.enter(ip(9)), room.enter(ip(8))];
        assert!(!paces[1].working() && !paces[3].working(), "closed");
        for pace in newcomers {
            assert!(pace.expect("two were waiting").working());
        }
        assert!(room.enter(ip(7)).is_none(), "all are at work");
        let ended = room.crowd.members.keys().next().copied();
        room.crowd.remove(ended.expect("four are there"));
        assert!(room.enter(ip(7)).is_some());
    }

    #[test]
    fn address_with_many_connections_loses_its_own() {
        let mut room = Room::new();
        let other = room.enter(ip(1)).expect("room");
        let greedy: Vec<_> = (0..3).filter_map(|_| room.enter(ip(2))).collect();
        assert_eq!(greedy.len(), 3);
        assert!(greedy[0].working() && greedy[1].working());
        room.later();
        let fourth = room.enter(ip(2)).expect("one of its own was waiting");
        assert!(!greedy[2].working());
        assert!(fourth.working());
        assert!(room.enter(ip(2)).is_none());
        assert!(other.working(), "others keep theirs");
    }
}
