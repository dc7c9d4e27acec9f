//! The instances of a function as an operator sees them.

use std::sync::Arc;

use super::{Function, locked};
use crate::dispatch::Phase;
use crate::instance::Instance;

/// An instance as `ps` shows it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstanceView {
    /// Its name.
    pub(crate) name: String,
    /// The version of the function it runs.
    pub(crate) version: u64,
    /// Its process id; 0 before the start, or before the first poll on another machine.
    pub(crate) pid: u32,
    /// The address of its Runtime API, or the one from which another machine has attached it.
    pub(crate) address: String,
    /// The machine that has attached it.
    pub(crate) host: Option<String>,
    /// Where it may serve metrics, if it runs on this machine.
    pub(crate) metrics_address: Option<String>,
    /// `starting`, `ready` or `draining`.
    pub(crate) state: String,
    /// Calls it is running.
    pub(crate) in_flight: usize,
}

impl Function {
    /// The instances as `ps` shows them.
    pub(crate) fn instances(&self) -> Vec<InstanceView> {
        let dispatcher = self.dispatcher();
        let view = |instance: &Arc<Instance>| {
            let (phase, in_flight) = dispatcher.instance(self.id, instance.id)?;
            let state = match phase {
                Phase::Starting => "starting",
                Phase::Ready => "ready",
                Phase::Draining => "draining",
            };
            Some(InstanceView {
                name: instance.name.to_string(),
                version: self.version.number,
                pid: instance.pid(),
                address: instance.address.to_string(),
                host: instance.host.clone(),
                metrics_address: instance
                    .host
                    .is_none()
                    .then(|| instance.metrics_address().to_string()),
                state: state.to_owned(),
                in_flight,
            })
        };
        locked(&self.instances).values().filter_map(view).collect()
    }
}
