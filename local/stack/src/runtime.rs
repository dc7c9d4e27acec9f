//! The function runtime with every function of the manifest.

use anyhow::ensure;
use reqwest::{Client, StatusCode};

use crate::{Component, Port, Stack};

/// The manifest, relative to the root of the checkout.
const MANIFEST: &str = "functions/functions.toml";

/// The runtime's command.
///
/// # Errors
/// When it has not been built.
pub fn command(stack: &Stack) -> anyhow::Result<Vec<String>> {
    let address = |port| format!("127.0.0.1:{}", stack.ports.get(port));
    let mut command = vec![stack.program("local-lambda")?, "serve".into()];
    command.extend(["--manifest".into(), MANIFEST.into()]);
    command.extend(["--http".into(), address(Port::Http)]);
    command.extend(["--invoke".into(), address(Port::Invoke)]);
    command.extend(["--admin".into(), address(Port::Admin)]);
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
