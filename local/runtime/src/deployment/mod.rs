//! A function's name, and the version of it that runs.

mod history;

use std::mem::replace;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;

use self::history::History;
pub(crate) use self::history::{State, VersionView};
use crate::call::{Call, Failure, Outcome};
use crate::function::{Function, Hold, Version, locked};
use crate::manifest::{Asynchronous, Declaration, FunctionConfig, Route, Sources};
use crate::program::Program;

/// Calls of a canary before which nothing is concluded from their failures.
const CALLS_JUDGED_MIN: u64 = 20;

/// What a function's name leads to.
pub(crate) struct Deployment {
    /// The name.
    pub(crate) name: String,
    /// Wakes its continuous source.
    pub(crate) wake: Arc<Notify>,
    state: Mutex<Deployed>,
}

struct Deployed {
    current: Arc<Function>,
    canary: Option<Canary>,
    history: History,
    versions: u64,
    asked_for: FunctionConfig,
    routes: Vec<Route>,
    sources: Sources,
    listeners: Vec<Arc<Notify>>,
    records_after: usize,
}

/// A version that takes a share of the calls until it is promoted or taken back.
struct Canary {
    function: Arc<Function>,
    terms: Terms,
    /// Hundredths of a call that it is behind.
    due: u32,
}

/// On which terms a version begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Calls of a hundred that it takes: 1 to 99.
    pub(crate) share: u32,
    /// Failed calls of a hundred above which it is taken back.
    pub(crate) errors_max: u32,
}

impl Deployment {
    /// Leads to `function`.
    pub(crate) fn new(function: Arc<Function>) -> Self {
        let mut history = History::default();
        history.begin(&function, State::Current, "start");
        Self {
            name: function.config.name.clone(),
            wake: Arc::default(),
            state: Mutex::new(Deployed {
                versions: function.version.number,
                asked_for: function.config.clone(),
                current: function,
                canary: None,
                history,
                routes: Vec::new(),
                sources: Sources::default(),
                listeners: Vec::new(),
                records_after: 0,
            }),
        }
    }

    /// The version that takes the next call; it may be another one for the call after that.
    pub(crate) fn function(&self) -> Hold {
        let mut state = self.state();
        if let Some(canary) = &mut state.canary {
            canary.due += canary.terms.share;
            if canary.due >= 100 {
                canary.due -= 100;
                return Hold::of(&canary.function);
            }
        }
        Hold::of(&state.current)
    }

    /// The version that takes all calls but a canary's.
    pub(crate) fn current(&self) -> Arc<Function> {
        Arc::clone(&self.state().current)
    }

    /// Calls a version of the function; if it answers, the sources that listen to it are woken.
    pub(crate) async fn invoke(&self, version: &Arc<Function>, call: Call) -> Outcome {
        let outcome = version.invoke(call).await;
        if outcome.is_ok() {
            for listener in &self.state().listeners {
                // A wake nobody waits for yet is kept, and many are one.
                listener.notify_one();
            }
        }
        outcome
    }

    /// Calls the function, for all of the answer, even if it comes as a stream.
    pub(crate) async fn invoke_whole(&self, call: Call) -> Result<Bytes, Failure> {
        self.invoke(&self.function(), call).await?.whole().await
    }

    /// The next version, which runs `program`.
    pub(crate) fn next_version(&self, program: Option<Program>) -> Version {
        let mut state = self.state();
        state.versions += 1;
        Version {
            number: state.versions,
            series: Arc::clone(&state.current.version.series),
            program,
            image: Arc::default(),
        }
    }

    /// Sends all further calls to `function`. What took them until now ends with those it has.
    pub(crate) fn switch_to(&self, function: Arc<Function>, reason: &str) {
        let mut state = self.state();
        state.drop_canary("another version came");
        state.replace_current(function, reason);
    }

    /// Sends a share of the calls to `function`, instead of to the canary there may be.
    pub(crate) fn try_out(&self, function: Arc<Function>, terms: Terms) {
        let mut state = self.state();
        state.drop_canary("another canary came");
        let reason = format!("{} % of the calls", terms.share);
        state.history.begin(&function, State::Canary, &reason);
        state.canary = Some(Canary {
            function,
            terms,
            due: 0,
        });
    }

    /// Sends all calls to the canary; its number. `None` if there is none.
    pub(crate) fn promote(&self) -> Option<u64> {
        let mut state = self.state();
        let canary = state.canary.take()?;
        let number = canary.function.version.number;
        state.replace_current(canary.function, "promoted");
        Some(number)
    }

    /// Sends no more calls to the canary; its number. `None` if there is none.
    pub(crate) fn drop_canary(&self, reason: &str) -> Option<u64> {
        self.state().drop_canary(reason)
    }

    /// Takes the canary back if more of its calls fail than may; its number, and why.
    pub(crate) fn judge_canary(&self) -> Option<(u64, String)> {
        let mut state = self.state();
        let reason = state.canary.as_ref()?.verdict()?;
        Some((state.drop_canary(&reason)?, reason))
    }

    /// No call comes any more: its versions end with those they have.
    pub(crate) fn retire(&self) {
        let mut state = self.state();
        state.drop_canary("the function is gone");
        state.current.retire();
    }

    /// The last lines that its instances have logged, and those that come.
    pub(crate) fn log(&self, lines: usize) -> (Vec<Bytes>, Receiver<Bytes>) {
        self.state().current.version.series.journal.read(lines)
    }

    /// What `rollback` leads to when there is no canary.
    pub(crate) fn previous(&self) -> Option<(FunctionConfig, Version)> {
        self.state().history.previous()
    }

    /// Goes back to `function`, a version there was before.
    pub(crate) fn return_to(&self, function: Arc<Function>) {
        let mut state = self.state();
        let left = state.current.version.number;
        state.replace_current(function, "rolled back to");
        let reason = "rolled back by command";
        state.history.enter(left, State::RolledBack, reason);
    }

    /// The versions there have been, the newest last.
    pub(crate) fn history(&self) -> Vec<VersionView> {
        self.state().history.view()
    }

    /// Whether this is what was last asked for, by the manifest or a rollout.
    pub(crate) fn is_asked_for(&self, config: &FunctionConfig) -> bool {
        self.state().asked_for == *config
    }

    /// A rollout has asked for this.
    pub(crate) fn ask_for(&self, config: FunctionConfig) {
        self.state().asked_for = config;
    }

    /// What the manifest says of it.
    pub(crate) fn declare(&self, declaration: Declaration) {
        let mut state = self.state();
        state.asked_for = declaration.config;
        state.routes = declaration.routes;
        state.sources = declaration.sources;
    }

    /// Its HTTP routes.
    pub(crate) fn routes(&self) -> Vec<Route> {
        self.state().routes.clone()
    }

    /// What calls it besides.
    pub(crate) fn sources(&self) -> Sources {
        self.state().sources.clone()
    }

    /// How its events are run.
    pub(crate) fn asynchronous(&self) -> Asynchronous {
        self.state().sources.asynchronous.clone()
    }

    /// Who is woken when it has answered.
    pub(crate) fn set_listeners(&self, listeners: Vec<Arc<Notify>>) {
        self.state().listeners = listeners;
    }

    /// How many records may follow one of its events, one after the other: its own, that of the event
    /// which this is for its destination, and so on.
    pub(crate) fn records_after(&self) -> usize {
        self.state().records_after
    }

    /// How many that are now.
    pub(crate) fn set_records_after(&self, records: usize) {
        self.state().records_after = records;
    }

    fn state(&self) -> MutexGuard<'_, Deployed> {
        locked(&self.state)
    }
}

impl Deployed {
    fn replace_current(&mut self, function: Arc<Function>, reason: &str) {
        self.history.begin(&function, State::Current, reason);
        let replaced = replace(&mut self.current, function);
        let by = format!("version {} came", self.current.version.number);
        self.history
            .enter(replaced.version.number, State::Replaced, &by);
        replaced.retire();
    }

    fn drop_canary(&mut self, reason: &str) -> Option<u64> {
        let canary = self.canary.take()?.function;
        let number = canary.version.number;
        self.history.enter(number, State::RolledBack, reason);
        canary.retire();
        Some(number)
    }
}

impl Canary {
    /// Why it is to be taken back, if it is.
    fn verdict(&self) -> Option<String> {
        let tally = &self.function.tally;
        let (calls, errors) = (tally.calls(), tally.errors());
        let bound = self.terms.errors_max;
        let too_often = calls >= CALLS_JUDGED_MIN && errors * 100 > calls * u64::from(bound);
        too_often.then(|| format!("{errors} of {calls} calls failed, more than {bound} %"))
    }
}

#[cfg(test)]
mod tests;
