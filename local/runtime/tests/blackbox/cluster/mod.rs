//! Several hosts with one manifest: who calls by schedules and continuously, and how many calls each
//! may run.

mod database;
mod lease;
mod namespaces;
mod schedule;
mod shares;

use serde_json::Value;

use self::database::Database;
use crate::harness::{Invocation, Puppeteer, Runtime, eventually};

/// The manifest of the host `name`; `rest` comes after the table of the cluster.
fn manifest(database: &Database, name: &str, rest: &str) -> String {
    let url = database.url_file();
    format!(
        "[cluster]\nhost = '{name}'\ndatabase_url_file = '{}'\n{rest}",
        url.display()
    )
}

/// A host with the function `puppet`, of which an invocation takes 5 seconds at most.
async fn start(database: &Database, puppeteer: &Puppeteer, name: &str, rest: &str) -> Runtime {
    let manifest = manifest(database, name, &puppeteer.manifest("timeout_s = 5", rest));
    Runtime::start(&manifest).await
}

/// The epoch of the lease under which an invocation was made.
fn epoch(invocation: &Invocation) -> u64 {
    let epoch = &invocation.context["clientContext"]["custom"]["leaseEpoch"];
    epoch.as_str().unwrap().parse().unwrap()
}

/// Waits until the only source of a host is in a state.
async fn await_source(runtime: &Runtime, state: &str) -> Value {
    eventually(async || {
        let sources: Vec<Value> = serde_json::from_str(&runtime.admin("/sources").await).unwrap();
        let source = sources.into_iter().next()?;
        (source["state"] == state).then_some(source)
    })
    .await
}
