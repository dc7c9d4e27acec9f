//! The versions that a function has had.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::function::{Function, Tally, Version};
use crate::manifest::FunctionConfig;

/// Versions remembered; older ones cannot be returned to.
const VERSIONS_KEPT: usize = 10;

/// The last versions of a function, in the order of their numbers.
#[derive(Default)]
pub(super) struct History(VecDeque<Record>);

struct Record {
    config: FunctionConfig,
    version: Version,
    tally: Arc<Tally>,
    state: State,
    since: DateTime<Utc>,
    reason: String,
}

/// What has become of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It takes the calls.
    Current,
    /// It takes a share of the calls.
    Canary,
    /// Another has taken its place.
    Replaced,
    /// It was taken back.
    RolledBack,
}

/// A version as `history` shows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VersionView {
    /// Its number.
    pub(crate) version: u64,
    /// What has become of it.
    pub(crate) state: State,
    /// Since when (RFC 3339).
    pub(crate) since: String,
    /// Why.
    pub(crate) reason: String,
    /// Calls that it has ended since it last began.
    pub(crate) calls: u64,
    /// Those of them that failed.
    pub(crate) errors: u64,
}

impl History {
    /// A version begins to take calls, for the first time or again.
    pub(super) fn begin(&mut self, function: &Function, state: State, reason: &str) {
        let number = function.version.number;
        self.0.retain(|record| record.version.number != number);
        let record = Record {
            config: function.config.clone(),
            version: function.version.clone(),
            tally: Arc::clone(&function.tally),
            state,
            since: Utc::now(),
            reason: reason.to_owned(),
        };
        let place = self.0.partition_point(|it| it.version.number < number);
        self.0.insert(place, record);
        if self.0.len() > VERSIONS_KEPT {
            // Those that were taken back first; one that takes calls never.
            let of = |state| self.0.iter().position(|record| record.state == state);
            let surplus = of(State::RolledBack).or_else(|| of(State::Replaced));
            surplus.and_then(|position| self.0.remove(position));
        }
    }

    /// A version is in another state from now on.
    pub(super) fn enter(&mut self, version: u64, state: State, reason: &str) {
        let record = self.0.iter_mut().find(|it| it.version.number == version);
        if let Some(record) = record {
            record.state = state;
            record.since = Utc::now();
            reason.clone_into(&mut record.reason);
        }
    }

    /// What the current version has replaced.
    pub(super) fn previous(&self) -> Option<(FunctionConfig, Version)> {
        let replaced = self.0.iter().filter(|it| it.state == State::Replaced);
        let last = replaced.max_by_key(|record| record.since)?;
        Some((last.config.clone(), last.version.clone()))
    }

    /// All of it, as people see it.
    pub(super) fn view(&self) -> Vec<VersionView> {
        let view = |record: &Record| VersionView {
            version: record.version.number,
            state: record.state,
            since: record.since.to_rfc3339_opts(SecondsFormat::Secs, true),
            reason: record.reason.clone(),
            calls: record.tally.calls(),
            errors: record.tally.errors(),
        };
        self.0.iter().map(view).collect()
    }
}
