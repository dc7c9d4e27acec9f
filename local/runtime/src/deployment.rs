//! A function's name, and the version of it that runs.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::call::{Call, Failure, Outcome};
use crate::function::{Function, Lease, Version, locked};
use crate::manifest::{Route, Sources};

/// What a function's name leads to.
pub(crate) struct Deployment {
    /// The name.
    pub(crate) name: String,
    /// Wakes its continuous source.
    pub(crate) wake: Arc<Notify>,
    state: Mutex<State>,
}

struct State {
    function: Arc<Function>,
    versions: u64,
    routes: Vec<Route>,
    sources: Sources,
    listeners: Vec<Arc<Notify>>,
}

impl Deployment {
    /// Leads to `function`.
    pub(crate) fn new(function: Arc<Function>) -> Self {
        Self {
            name: function.config.name.clone(),
            wake: Arc::default(),
            state: Mutex::new(State {
                versions: function.version.number,
                function,
                routes: Vec::new(),
                sources: Sources::default(),
                listeners: Vec::new(),
            }),
        }
    }

    /// The version that takes the next call; it may be another one for the call after that.
    pub(crate) fn function(&self) -> Lease {
        Lease::of(&self.state().function)
    }

    /// Calls the function; if it answers, the sources that listen to it are woken.
    pub(crate) async fn invoke(&self, call: Call) -> Outcome {
        let outcome = self.function().invoke(call).await;
        if outcome.is_ok() {
            self.answered();
        }
        outcome
    }

    /// As [`Deployment::invoke`], for all of the answer, even if it comes as a stream.
    pub(crate) async fn invoke_whole(&self, call: Call) -> Result<Bytes, Failure> {
        self.invoke(call).await?.whole().await
    }

    /// The function has answered a request, an invocation or a schedule: wakes who listens to it.
    pub(crate) fn answered(&self) {
        for listener in &self.state().listeners {
            // A wake nobody waits for yet is kept, and many are one.
            listener.notify_one();
        }
    }

    /// The next version.
    pub(crate) fn next_version(&self) -> Version {
        let mut state = self.state();
        state.versions += 1;
        Version {
            number: state.versions,
            instances: Arc::clone(&state.function.version.instances),
        }
    }

    /// Sends further calls to `function`; the version that took them until now.
    pub(crate) fn switch_to(&self, function: Arc<Function>) -> Arc<Function> {
        std::mem::replace(&mut self.state().function, function)
    }

    /// What the manifest says leads to it.
    pub(crate) fn declare(&self, routes: Vec<Route>, sources: Sources) {
        let mut state = self.state();
        (state.routes, state.sources) = (routes, sources);
    }

    /// Its HTTP routes.
    pub(crate) fn routes(&self) -> Vec<Route> {
        self.state().routes.clone()
    }

    /// What calls it besides.
    pub(crate) fn sources(&self) -> Sources {
        self.state().sources.clone()
    }

    /// Who is woken when it has answered.
    pub(crate) fn set_listeners(&self, listeners: Vec<Arc<Notify>>) {
        self.state().listeners = listeners;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}
