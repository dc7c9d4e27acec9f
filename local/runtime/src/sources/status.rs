//! What the event sources are doing, as `GET /sources` shows it.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use serde::{Deserialize, Serialize};

use crate::function::locked;

/// What a source is doing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// There is nothing to do.
    Waiting,
    /// It calls the function.
    Running,
    /// It pauses after a failure.
    BackingOff,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::BackingOff => "backing-off",
        })
    }
}

/// A source as `sources` shows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceView {
    /// The function it calls.
    pub(crate) function: String,
    /// `schedule` or `continuous`.
    pub(crate) kind: String,
    /// The times it comes from.
    pub(crate) from: String,
    /// What it is doing.
    pub(crate) state: State,
    /// Why it failed last.
    pub(crate) last_error: Option<String>,
}

/// What a source is doing.
pub(crate) struct Status {
    function: String,
    kind: &'static str,
    from: String,
    now: Mutex<(State, Option<String>)>,
}

/// The sources that run.
#[derive(Default)]
pub(crate) struct SourceList(Mutex<Vec<Weak<Status>>>);

impl SourceList {
    /// Adds a source, which stays until what is returned is dropped.
    pub(super) fn add(&self, function: &str, kind: &'static str, from: String) -> Arc<Status> {
        let status = Arc::new(Status {
            function: function.to_owned(),
            kind,
            from,
            now: Mutex::new((State::Waiting, None)),
        });
        let mut list = locked(&self.0);
        list.retain(|other| other.strong_count() > 0);
        list.push(Arc::downgrade(&status));
        status
    }

    /// All of them, by function.
    pub(crate) fn view(&self) -> Vec<SourceView> {
        let list = locked(&self.0);
        let running = list.iter().filter_map(Weak::upgrade);
        let mut views: Vec<_> = running.map(|status| status.view()).collect();
        views.sort_by(|a, b| a.function.cmp(&b.function));
        views
    }
}

impl Status {
    /// It does something else now.
    pub(super) fn set(&self, state: State) {
        locked(&self.now).0 = state;
    }

    /// It has failed.
    pub(super) fn fail(&self, state: State, error: String) {
        *locked(&self.now) = (state, Some(error));
    }

    fn view(&self) -> SourceView {
        let (state, last_error) = locked(&self.now).clone();
        SourceView {
            function: self.function.clone(),
            kind: self.kind.to_owned(),
            from: self.from.clone(),
            state,
            last_error,
        }
    }
}
