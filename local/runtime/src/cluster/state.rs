//! What this host knows of the others, and what follows from a look at the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::lease::{HOLDS_FOR, Lease, Term};
use super::session::{HostRow, LeaseRow};
use super::share::{Member, Members, Shares};
use super::view::{ClusterView, HostView, LeaseView};

/// A host from which nothing has come for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Looks further apart than this are not the same watch.
const GAP_MAX: Duration = Duration::from_millis(2500);

/// A lease that is asked for.
pub(super) struct Wanted {
    /// How long an invocation takes at most.
    pub(super) timeout: Duration,
    /// What is reserved for the function.
    pub(super) reserved: Option<usize>,
    /// Ends its term.
    pub(super) stop: CancellationToken,
    /// Gets it.
    pub(super) taken: oneshot::Sender<Lease>,
}

/// What this host knows, and what it has.
#[derive(Default)]
pub(super) struct State {
    wanted: BTreeMap<String, Wanted>,
    /// With what is reserved for their functions.
    held: BTreeMap<String, (Arc<Term>, Option<usize>)>,
    shares: Shares,
    members: Members,
    /// Since when the tables have been looked at without a gap, and when last.
    watch: Option<(Instant, Instant)>,
    hosts: Vec<HostRow>,
    leases: Vec<LeaseRow>,
}

/// A lease to take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Take {
    pub(super) function: String,
    /// What its epoch was, if it was there.
    pub(super) epoch: Option<u64>,
    /// How long to wait for what may still run elsewhere.
    pub(super) wait: Duration,
}

/// What to do after a look.
#[derive(Default)]
pub(super) struct Todo {
    /// What the row of this host is to say of the hosts it counts.
    pub(super) members: String,
    /// Whether the others wait for that.
    pub(super) is_news: bool,
    pub(super) take: Vec<Take>,
    pub(super) give_back: Vec<Arc<Term>>,
    /// Runtimes that are gone.
    pub(super) forget: Vec<Uuid>,
}

impl State {
    /// Asks for a lease.
    pub(super) fn want(&mut self, function: &str, wanted: Wanted) {
        self.wanted.insert(function.to_owned(), wanted);
    }

    /// What follows from a look that was begun at `now`.
    pub(super) fn look(
        &mut self,
        now: Instant,
        own: (Uuid, Member),
        hosts: Vec<HostRow>,
        leases: Vec<LeaseRow>,
    ) -> Todo {
        let since = match self.watch {
            Some((since, last)) if now.duration_since(last) < GAP_MAX => since,
            _ => now,
        };
        self.watch = Some((since, now));
        (self.hosts, self.leases) = (hosts, leases);
        let (runtime, own) = own;
        let mut todo = Todo {
            is_news: self.count(own),
            members: self.members.text(),
            ..Todo::default()
        };
        self.confirm(now);
        self.give_up_without_share();
        todo.give_back = self.given_back();
        todo.take = self.choose(runtime);
        let others = self.hosts.iter().filter(|row| row.runtime != runtime);
        let gone = others.filter(|row| !self.is_live(row));
        todo.forget = gone.map(|row| row.runtime).collect();
        todo
    }

    /// A host is gone only if it was silent while this one looked: when the database comes back after
    /// a while, all of them were.
    fn is_live(&self, row: &HostRow) -> bool {
        let watched = self
            .watch
            .is_some_and(|(since, last)| last - since >= SILENCE_MAX);
        !watched || row.silent() < SILENCE_MAX
    }

    /// Counts the hosts; whether they are others than before.
    fn count(&mut self, own: Member) -> bool {
        let live: Vec<&HostRow> = self.hosts.iter().filter(|row| self.is_live(row)).collect();
        let name = own.name.clone();
        let member = |row: &&HostRow| Member {
            name: row.host.clone(),
            weight: row.weight,
        };
        let members = Members::new(own, live.iter().map(member));
        let text = members.text();
        let mut others = live.iter().filter(|row| row.host != name);
        let is_agreed = others.all(|row| row.members == text);
        self.shares.count(&name, &members, is_agreed);
        let is_news = members != self.members;
        self.members = members;
        is_news
    }

    /// The terms that go on are confirmed, others are lost.
    fn confirm(&mut self, asked: Instant) {
        for (term, _) in self.held.values() {
            let mut rows = self.leases.iter();
            if rows.any(|row| row.function == term.function && row.epoch == term.epoch) {
                term.confirm(asked);
            } else {
                term.lose();
            }
        }
        self.drop_lost(asked);
    }

    /// Takes out the terms that do not hold at `now`; the functions they were for.
    pub(super) fn drop_lost(&mut self, now: Instant) -> Vec<String> {
        let lost = self.held.extract_if(.., |_, (term, _)| !term.holds(now));
        lost.map(|(function, (term, _))| {
            term.lose();
            function
        })
        .collect()
    }

    /// A host that may not run a call of a function is of no use as the one that makes them.
    fn give_up_without_share(&self) {
        for (term, reserved) in self.held.values() {
            if !self.may_run(*reserved) {
                term.ended.cancel();
            }
        }
    }

    fn may_run(&self, reserved: Option<usize>) -> bool {
        reserved.is_none_or(|all| self.is_joined() && self.shares.of(all) > 0)
    }

    /// The terms under which nothing runs any more.
    pub(super) fn given_back(&self) -> Vec<Arc<Term>> {
        let terms = self.held.values().map(|(term, _)| term);
        terms.filter(|term| term.is_given_back()).cloned().collect()
    }

    fn choose(&mut self, runtime: Uuid) -> Vec<Take> {
        self.wanted.retain(|_, wanted| !wanted.taken.is_closed());
        let live: BTreeSet<Uuid> = self
            .hosts
            .iter()
            .filter(|row| self.is_live(row))
            .map(|row| row.runtime)
            .collect();
        let mut take = Vec::new();
        for (function, wanted) in &self.wanted {
            if self.held.contains_key(function) || !self.may_run(wanted.reserved) {
                continue;
            }
            let row = self.leases.iter().find(|row| row.function == *function);
            let owner = row.and_then(|row| row.runtime).filter(|it| *it != runtime);
            if owner.is_some_and(|owner| live.contains(&owner)) {
                continue;
            }
            take.push(Take {
                function: function.clone(),
                epoch: row.map(|row| row.epoch),
                wait: match owner {
                    Some(_) => HOLDS_FOR + wanted.timeout,
                    None => Duration::ZERO,
                },
            });
        }
        take
    }

    /// A lease was taken, for which the database was asked at `asked`; whoever wants it gets it.
    pub(super) fn taken(
        &mut self,
        take: &Take,
        epoch: u64,
        asked: Instant,
        now: Instant,
        lease: impl FnOnce(Arc<Term>) -> Lease,
    ) {
        let Some(wanted) = self.wanted.remove(&take.function) else {
            return;
        };
        let function = take.function.clone();
        let ended = wanted.stop.child_token();
        let term = Term::new(function.clone(), epoch, asked, now + take.wait, ended);
        let term = Arc::new(term);
        self.held
            .insert(function, (Arc::clone(&term), wanted.reserved));
        // One that nobody takes is given back.
        let _stopped = wanted.taken.send(lease(term));
    }

    /// A lease was given back.
    pub(super) fn is_given_back(&mut self, function: &str) {
        self.held.remove(function);
    }

    /// When the first term is lost unless it is confirmed.
    pub(super) fn holds_until(&self) -> Option<Instant> {
        let terms = self.held.values();
        terms.filter_map(|(term, _)| term.holds_until()).min()
    }

    /// What this host has of anything that is split.
    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Whether the hosts have agreed on that.
    pub(super) fn is_joined(&self) -> bool {
        self.shares.is_agreed()
    }

    /// How many hosts there are.
    pub(super) fn hosts(&self) -> u32 {
        self.members.count()
    }

    /// The terms this host has.
    pub(super) fn terms(&self) -> impl Iterator<Item = &Arc<Term>> {
        self.held.values().map(|(term, _)| term)
    }

    /// All of it, for an operator.
    pub(super) fn view(&self, host: &str, now: Instant) -> ClusterView {
        let host_view = |row: &HostRow| HostView {
            host: row.host.clone(),
            weight: row.weight,
            members: row.members.clone(),
            live: self.is_live(row),
        };
        let lease_view = |row: &LeaseRow| LeaseView {
            function: row.function.clone(),
            host: row.host.clone(),
            epoch: row.epoch,
            free: row.runtime.is_none(),
            held: self.terms().any(|it| it.function == row.function),
        };
        ClusterView {
            host: host.to_owned(),
            connected: self.watch.is_some_and(|(_, last)| now - last < GAP_MAX),
            hosts: self.hosts.iter().map(host_view).collect(),
            leases: self.leases.iter().map(lease_view).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
