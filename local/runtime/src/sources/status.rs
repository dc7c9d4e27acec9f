//! What the event sources are doing, as `GET /sources` shows it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use serde::{Deserialize, Serialize};

use super::kafka::DeadLetters;
use crate::cluster::Cluster;
use crate::function::locked;
use crate::metrics::Registry;

/// What a source, or one of its partitions, is doing; of several states the last one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// There is nothing to do.
    Waiting,
    /// It is not there yet, or finds out which keys are parked.
    Starting,
    /// It calls the function, or gives up records.
    Running,
    /// It pauses after a failure.
    BackingOff,
    /// What it reads from cannot be reached.
    Unreachable,
    /// Another host has the lease.
    Standby,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing-off",
            Self::Unreachable => "unreachable",
            Self::Standby => "standby",
        })
    }
}

/// A source as `sources` shows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceView {
    /// The function it calls.
    pub(crate) function: String,
    /// `schedule`, `continuous` or `kafka`.
    pub(crate) kind: String,
    /// What it comes from: times, or topics.
    pub(crate) from: String,
    /// What it is doing.
    pub(crate) state: State,
    /// The epoch of the lease it runs under, if there are other hosts.
    pub(crate) epoch: Option<u64>,
    /// Why it failed last.
    pub(crate) last_error: Option<String>,
    /// The partitions that this runtime reads.
    pub(crate) partitions: Vec<PartitionView>,
}

/// A partition as `sources` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartitionView {
    /// Its topic.
    pub(crate) topic: String,
    /// Its number.
    pub(crate) partition: i32,
    /// What is done with its records.
    pub(crate) state: State,
    /// The offset up to which every record is finished.
    pub(crate) position: Option<i64>,
    /// The offset that is committed.
    pub(crate) committed: Option<i64>,
    /// The offset of the next record that comes.
    pub(crate) end: Option<i64>,
    /// Records that are not finished.
    pub(crate) lag: Option<i64>,
    /// Why records of it failed last.
    pub(crate) last_error: Option<String>,
}

/// What a source is doing.
pub(crate) struct Status {
    function: String,
    kind: &'static str,
    from: String,
    now: Mutex<(State, Option<String>)>,
    epoch: Mutex<Option<u64>>,
    partitions: Mutex<BTreeMap<(Arc<str>, i32), PartitionView>>,
    /// Where its records go that are given up.
    pub(super) letters: OnceLock<Arc<DeadLetters>>,
}

/// The sources that run.
pub(crate) struct SourceList {
    /// Where they count.
    pub(super) registry: Arc<Registry>,
    /// The hosts that share them.
    pub(super) cluster: Option<Arc<Cluster>>,
    sources: Mutex<Vec<Weak<Status>>>,
}

impl SourceList {
    /// No sources yet.
    pub(crate) fn new(registry: Arc<Registry>, cluster: Option<Arc<Cluster>>) -> Self {
        Self {
            registry,
            cluster,
            sources: Mutex::default(),
        }
    }

    /// Adds a source, which stays until what is returned is dropped.
    pub(super) fn add(&self, function: &str, kind: &'static str, from: String) -> Arc<Status> {
        let status = Arc::new(Status {
            function: function.to_owned(),
            kind,
            from,
            now: Mutex::new((State::Waiting, None)),
            epoch: Mutex::default(),
            partitions: Mutex::default(),
            letters: OnceLock::new(),
        });
        let mut list = locked(&self.sources);
        list.retain(|other| other.strong_count() > 0);
        list.push(Arc::downgrade(&status));
        status
    }

    /// All of them, by function.
    pub(crate) fn view(&self) -> Vec<SourceView> {
        let mut views: Vec<_> = self.all().iter().map(|status| status.view()).collect();
        views.sort_by(|a, b| a.function.cmp(&b.function));
        views
    }

    /// Where `function` parks keys of `topic`.
    pub(crate) fn letters(&self, function: &str, topic: &str) -> Option<Arc<DeadLetters>> {
        let of_function = |status: &Arc<Status>| status.function == function;
        let all = self.all();
        let mut letters = all
            .iter()
            .filter(|it| of_function(it))
            .filter_map(|status| status.letters.get());
        letters
            .find(|letters| letters.parks_keys_of(topic))
            .cloned()
    }

    fn all(&self) -> Vec<Arc<Status>> {
        let sources = locked(&self.sources);
        sources.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Status {
    /// It does something else now.
    pub(super) fn set(&self, state: State) {
        locked(&self.now).0 = state;
    }

    /// It runs under a lease of this epoch.
    pub(super) fn set_epoch(&self, epoch: Option<u64>) {
        *locked(&self.epoch) = epoch;
    }

    /// It has failed.
    pub(super) fn fail(&self, state: State, error: String) {
        *locked(&self.now) = (state, Some(error));
    }

    /// Changes what is known of a partition.
    pub(super) fn update(
        &self,
        topic: &Arc<str>,
        partition: i32,
        with: impl FnOnce(&mut PartitionView),
    ) {
        let mut partitions = locked(&self.partitions);
        if let Some(view) = partitions.get_mut(&(Arc::clone(topic), partition)) {
            with(view);
        }
    }

    /// A partition is read from now on, from `position` if that is known.
    pub(super) fn add_partition(&self, topic: &Arc<str>, partition: i32, position: Option<i64>) {
        let view = PartitionView {
            topic: topic.to_string(),
            partition,
            state: State::Starting,
            position,
            committed: None,
            end: None,
            lag: None,
            last_error: None,
        };
        locked(&self.partitions).insert((Arc::clone(topic), partition), view);
    }

    /// A partition is not read any more.
    pub(super) fn remove_partition(&self, topic: &Arc<str>, partition: i32) {
        locked(&self.partitions).remove(&(Arc::clone(topic), partition));
    }

    /// The partitions that are read.
    pub(super) fn partitions(&self) -> Vec<PartitionView> {
        locked(&self.partitions).values().cloned().collect()
    }

    fn view(&self) -> SourceView {
        let (state, last_error) = locked(&self.now).clone();
        let partitions = self.partitions();
        let busiest = partitions.iter().map(|partition| partition.state).max();
        SourceView {
            function: self.function.clone(),
            kind: self.kind.to_owned(),
            from: self.from.clone(),
            state: state.max(busiest.unwrap_or(state)),
            epoch: *locked(&self.epoch),
            last_error,
            partitions,
        }
    }
}
