//! The runtime in turn with other servers of the same function.

use std::{fmt, fs, path::Path, process::Stdio, time::Duration};

use anyhow::Context;
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::Command;

use super::{
    TOOLS,
    runtime::Runtime,
    server::{Server, free_address, program},
    turns::{Compared, Side, Turns},
};
use crate::work::Post;

/// Invocations that the echo function serves at once.
const CONCURRENCY: u32 = 64;
/// What the function gets over HTTP.
const ECHO: Post = Post {
    step: "echo",
    path: "/",
    body: r#"{"a":1}"#,
};
/// The same as an event, by the only name that the emulator knows.
const INVOKE: Post = Post {
    step: "invoke",
    path: "/2015-03-31/functions/function/invocations",
    body: r#"{"version":"2.0","routeKey":"POST /","rawPath":"/","rawQueryString":"","headers":{"content-type":"application/json"},"requestContext":{"accountId":"1","apiId":"1","domainName":"localhost","domainPrefix":"localhost","http":{"method":"POST","path":"/","protocol":"HTTP/1.1","sourceIp":"127.0.0.1","userAgent":"bench"},"requestId":"1","routeKey":"POST /","stage":"$default","time":"12/Mar/2020:19:03:58 +0000","timeEpoch":1583348638390},"body":"{\"a\":1}","isBase64Encoded":false}"#,
};
/// A package whose program is the function, for a server that only runs packages.
const PACKAGE: &str = "[package]\nname = \"function\"\nedition = \"2024\"\n[workspace]\n";

/// At one connection, and at many if the other can do that.
#[derive(Serialize)]
pub(super) struct Against {
    loads: Vec<Compared>,
}

/// A plain server with the same handler.
pub(super) async fn plain(
    connections: u32,
    time: Duration,
    rounds: u32,
) -> anyhow::Result<Against> {
    let address = free_address()?;
    let mut command = Command::new(program("echo-server")?);
    command.arg(&address);
    let plain = Server::start("plain", command, address, None).await?;
    over_http(&plain, connections, time, rounds).await
}

/// `cargo lambda watch --release`, whose program becomes the function.
pub(super) async fn watch(
    connections: u32,
    time: Duration,
    rounds: u32,
) -> anyhow::Result<Against> {
    let directory = TempDir::new()?;
    let root = directory.path();
    fs::create_dir(root.join("src"))?;
    fs::write(root.join("Cargo.toml"), PACKAGE)?;
    let function = program("echo-function")?;
    let source = format!(
        "fn main() {{ let error = std::os::unix::process::CommandExt::exec(&mut std::process::Command::new({function:?})); panic!(\"{{error}}\") }}"
    );
    fs::write(root.join("src/main.rs"), source)?;
    let address = free_address()?;
    let (host, port) = address.split_once(':').context("a port")?;
    let mut command = Command::new(fs::canonicalize(Path::new(TOOLS).join("cargo-lambda"))?);
    command.args([
        "lambda",
        "watch",
        "--release",
        "--ignore-changes",
        "--offline",
    ]);
    command.args(["--invoke-address", host, "--invoke-port", port]);
    command
        .current_dir(root)
        .env("CARGO_TARGET_DIR", root.join("target"));
    command.stderr(Stdio::null());
    let watch = Server::start("watch", command, address, Some(directory)).await?;
    over_http(&watch, connections, time, rounds).await
}

/// The Runtime Interface Emulator, which takes one request at a time.
pub(super) async fn rie(time: Duration, rounds: u32) -> anyhow::Result<Against> {
    let address = free_address()?;
    let mut command = Command::new(fs::canonicalize(Path::new(TOOLS).join("aws-lambda-rie"))?);
    command.args(["--runtime-interface-emulator-address", &address]);
    command.args(["--runtime-api-address", &free_address()?]);
    command.arg(program("echo-function")?).stderr(Stdio::null());
    let rie = Server::start("rie", command, address, None).await?;
    let runtime = start_runtime().await?;
    let turns = Turns {
        post: &INVOKE,
        connections: 1,
        time,
        rounds,
    };
    let runtime = Side::of(&runtime.server)?.at(runtime.invoke());
    let loads = vec![turns.take(&Side::of(&rie)?, &runtime).await?];
    Ok(Against { loads })
}

async fn over_http(
    other: &Server,
    connections: u32,
    time: Duration,
    rounds: u32,
) -> anyhow::Result<Against> {
    let runtime = start_runtime().await?;
    let sides = [Side::of(other)?, Side::of(&runtime.server)?];
    let mut loads = Vec::new();
    for connections in [1, connections] {
        let turns = Turns {
            post: &ECHO,
            connections,
            time,
            rounds,
        };
        loads.push(turns.take(&sides[0], &sides[1]).await?);
    }
    Ok(Against { loads })
}

async fn start_runtime() -> anyhow::Result<Runtime> {
    let function = program("echo-function")?;
    let manifest = format!(
        "[functions.function]\ncommand = [{function:?}]\nroutes = [\"POST /\"]\nconcurrency = {CONCURRENCY}\n"
    );
    Runtime::start(&manifest).await
}

impl fmt::Display for Against {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.loads
            .iter()
            .try_for_each(|compared| compared.fmt(formatter))
    }
}
