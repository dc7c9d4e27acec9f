//! The cluster as an operator sees it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The cluster as `GET /cluster` shows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterView {
    /// This host.
    pub(crate) host: String,
    /// Whether the database answers.
    pub(crate) connected: bool,
    /// The runtimes known to it.
    pub(crate) hosts: Vec<HostView>,
    /// The leases.
    pub(crate) leases: Vec<LeaseView>,
}

/// A runtime of the cluster.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostView {
    /// Its host.
    pub(crate) host: String,
    /// Its weight.
    pub(crate) weight: u32,
    /// The hosts it counts.
    pub(crate) members: String,
    /// Whether it is counted here.
    pub(crate) live: bool,
}

/// A lease.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeaseView {
    /// The function.
    pub(crate) function: String,
    /// The host that has it, or had it last.
    pub(crate) host: String,
    /// How often it was taken.
    pub(crate) epoch: u64,
    /// Whether nobody has it.
    pub(crate) free: bool,
    /// Whether this runtime has it.
    pub(crate) held: bool,
}

impl ClusterView {
    /// The hosts, and who has which lease, as tables.
    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "{:<24} {:>6} {:<5} {}\n",
            "HOST", "WEIGHT", "LIVE", "COUNTS"
        );
        let word = |is: bool| if is { "yes" } else { "no" };
        for host in &self.hosts {
            let (name, weight, live) = (&host.host, host.weight, word(host.live));
            let _infallible = writeln!(table, "{name:<24} {weight:>6} {live:<5} {}", host.members);
        }
        let _infallible = writeln!(table, "\n{:<24} {:>6} LEASE OF", "FUNCTION", "EPOCH");
        for lease in &self.leases {
            let (function, epoch) = (&lease.function, lease.epoch);
            let host = if lease.free { "-" } else { &lease.host };
            let _infallible = writeln!(table, "{function:<24} {epoch:>6} {host}");
        }
        if !self.connected {
            table += "\nthe database does not answer: this is what was known last\n";
        }
        table
    }
}
