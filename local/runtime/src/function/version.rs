//! A version's place among those of its function, who may call it, and how that has gone.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::Function;
use crate::journal::Journal;
use crate::program::Program;

/// The place of a version among those of its function.
#[derive(Clone)]
pub(crate) struct Version {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// What all versions have in common.
    pub(crate) series: Arc<Series>,
    /// The program of its instances, if it is kept.
    pub(crate) program: Option<Program>,
    /// The id of its image, once a container of it has been started.
    pub(crate) image: Arc<OnceLock<String>>,
}

/// What the versions of a function have in common.
#[derive(Default)]
pub(crate) struct Series {
    /// What their instances log.
    pub(crate) journal: Journal,
    /// Counts their instances.
    pub(super) instances: AtomicU64,
}

impl Version {
    /// The first version of a function, which runs `program`.
    pub(crate) fn first(series: Arc<Series>, program: Option<Program>) -> Self {
        Self {
            number: 1,
            series,
            program,
            image: Arc::default(),
        }
    }
}

/// How the calls of a version have ended.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    calls: AtomicU64,
    errors: AtomicU64,
}

impl Tally {
    /// Calls that have ended.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Those of them that failed.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Counts a call that an instance has ended.
    pub(crate) fn ended(&self, failed: bool) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    /// A call that was no failure to its instance is one to its caller.
    pub(crate) fn was_bad(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }
}

/// The right to call a version: it does not end as long as somebody has one.
pub(crate) struct Hold(Arc<Function>);

impl Hold {
    /// Keeps `function` from ending.
    pub(crate) fn of(function: &Arc<Function>) -> Self {
        function.holds.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(function))
    }
}

impl Deref for Hold {
    type Target = Arc<Function>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::Relaxed);
    }
}
