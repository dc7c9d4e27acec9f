//! The function runtime with every function of the manifest.

use std::{env, time::Duration};

use anyhow::{anyhow, ensure};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::{Component, Port, Stack, wait};

/// The manifest, relative to the root of the checkout.
const MANIFEST: &str = "functions/functions.toml";
/// How long the functions may take until each has an instance that is ready.
const FUNCTIONS_READY_WITHIN: Duration = Duration::from_mins(1);

/// A function as the runtime shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Function {
    /// Its name.
    pub name: String,
    /// How many instances are kept running.
    pub min_instances: u32,
    /// Those that run.
    pub instances: Vec<Instance>,
    /// Calls that wait for one.
    pub queued: u64,
}

/// A process of a function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Where it speaks with the runtime.
    pub address: String,
    /// `starting` or `ready`.
    pub state: String,
    /// Calls it is running.
    pub in_flight: u64,
}

impl Function {
    /// Whether an instance takes calls.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.instances.iter().any(|it| it.state == "ready")
    }
}

/// The runtime's command.
///
/// # Errors
/// When it has not been built.
pub fn command(stack: &Stack) -> anyhow::Result<Vec<String>> {
    let address = |port| format!("127.0.0.1:{}", stack.ports.get(port));
    let mut command = vec![stack.program("local-lambda")?, "serve".into()];
    command.extend(["--manifest".into(), MANIFEST.into()]);
    // Set by local/up.
    if let Ok(driver) = env::var("PAYFN_DRIVER") {
        command.extend(["--driver".into(), driver]);
    }
    command.extend(["--http".into(), address(Port::Http)]);
    command.extend(["--invoke".into(), address(Port::Invoke)]);
    command.extend(["--admin".into(), address(Port::Admin)]);
    let state = stack.state.data(Component::Runtime);
    command.extend(["--state".into(), state.display().to_string()]);
    Ok(command)
}

/// The variables the manifest refers to.
#[must_use]
pub fn environment(stack: &Stack) -> Vec<(&'static str, String)> {
    vec![
        ("PAYFN_STATE", stack.state.directory().display().to_string()),
        (
            "REDIS_URL",
            format!("redis://{}", stack.reached_at(Component::Redis)),
        ),
        ("KAFKA_BROKERS", stack.reached_at(Component::Kafka)),
        (
            "INVOKE_URL",
            format!("http://127.0.0.1:{}", stack.ports.get(Port::Invoke)),
        ),
    ]
}

/// Succeeds once the runtime serves requests.
///
/// # Errors
/// While it does not.
pub async fn answers(stack: &Stack) -> anyhow::Result<()> {
    let url = format!("http://{}/healthz", stack.address(Component::Runtime));
    let status = Client::new().get(url).send().await?.status();
    ensure!(status == StatusCode::OK, "/healthz answers {status}");
    Ok(())
}

/// The functions of a runtime that serves requests.
///
/// # Errors
/// When it does not answer.
pub async fn functions(stack: &Stack) -> reqwest::Result<Vec<Function>> {
    let port = stack.ports.get(Port::Admin);
    let request = Client::new().get(format!("http://127.0.0.1:{port}/functions"));
    request.send().await?.error_for_status()?.json().await
}

/// Waits until each function that is kept running has an instance that takes calls.
///
/// # Errors
/// Names a function that has none in time, and shows the end of what was logged about it.
pub async fn functions_are_ready(stack: &Stack) -> anyhow::Result<()> {
    let ready = wait::until(FUNCTIONS_READY_WITHIN, async || {
        let functions = functions(stack).await?.into_iter();
        let mut kept = functions.filter(|function| function.min_instances > 0);
        match kept.find(|function| !function.is_ready()) {
            Some(function) => Err(NotReady(function.name).into()),
            None => Ok(()),
        }
    });
    ready.await.map_err(|error| {
        let Some(NotReady(name)) = error.downcast_ref() else {
            return error;
        };
        let about = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["function"] == **name
        };
        let log = stack.state.log_tail_of(Component::Runtime, about);
        anyhow!("{error:#}\n{log}")
    })
}

/// A function has no instance that takes calls.
#[derive(Debug, thiserror::Error)]
#[error("the function {0} does not start")]
struct NotReady(String);
