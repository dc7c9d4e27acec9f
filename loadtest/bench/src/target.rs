//! The stack that is measured, as its `endpoints.env` describes it.

use std::{env, path::Path};

use anyhow::Context;
use auditor::{Options, Report, Sources, audit};
use serde::Deserialize;

use crate::connection::Service;

/// A function as the runtime's admin address shows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Calls that wait for an instance.
    pub(crate) queued: u64,
    pub(crate) instances: Vec<Instance>,
}

/// A process of a function.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Instance {
    pub(crate) pid: u32,
    pub(crate) in_flight: u64,
    pub(crate) metrics_address: String,
}

/// A variable of `endpoints.env`.
pub(crate) fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| {
        format!("{name} is not set: load endpoints.env, or begin with loadtest/bench/run")
    })
}

/// The service, called with a key of its key file.
pub(crate) fn service(key_id: &str) -> anyhow::Result<Service> {
    let url = variable("PAYFN_URL")?;
    let address = url
        .strip_prefix("http://")
        .with_context(|| format!("PAYFN_URL is {url}: only http:// can be measured"))?;
    let key = client::key_from_file(Path::new(&variable("KEYS_FILE")?), key_id)?;
    Ok(Service {
        address: address.trim_end_matches('/').to_owned(),
        key: Some(key),
    })
}

/// The functions and their processes.
pub(crate) async fn functions() -> anyhow::Result<Vec<Function>> {
    let url = format!("{}/functions", variable("ADMIN_URL")?);
    Ok(reqwest::get(url).await?.error_for_status()?.json().await?)
}

/// Proves the books.
pub(crate) async fn books() -> anyhow::Result<Report> {
    audit(&Sources::from_env()?, &Options::default()).await
}
