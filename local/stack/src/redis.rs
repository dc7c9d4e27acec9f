//! One Redis server without persistence: losing what it holds costs speed, never correctness.

use crate::{Component, Port, Stack};

/// What differs from the server's own defaults.
const SETTINGS: [&str; 12] = [
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
    "--maxmemory",
    "256mb",
    "--maxmemory-policy",
    // Not volatile-ttl: rate limits and locks live for seconds and would go first, although they
    // are in use; the cached replies that nobody asks for would stay.
    "allkeys-lru",
    "--daemonize",
    "no",
];

/// The server's command.
///
/// # Errors
/// When its directory cannot be made.
pub fn command(stack: &Stack) -> anyhow::Result<Vec<String>> {
    let data = stack.state.data(Component::Redis);
    std::fs::create_dir_all(&data)?;
    let mut command = vec!["redis-server".to_owned()];
    command.extend(["--port".into(), stack.ports.get(Port::Redis).to_string()]);
    command.extend(["--dir".into(), data.display().to_string()]);
    command.extend(SETTINGS.map(str::to_owned));
    Ok(command)
}

/// Succeeds once the server answers `PING`.
///
/// # Errors
/// While it does not.
pub async fn answers(stack: &Stack) -> anyhow::Result<()> {
    let client = redis::Client::open(format!("redis://{}", stack.address(Component::Redis)))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(redis::cmd("PING").exec_async(&mut connection).await?)
}
