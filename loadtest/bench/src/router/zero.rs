//! How long a request waits for the first instance of a function that rests.

use std::{
    collections::BTreeSet,
    fmt,
    fmt::Write as _,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde::Serialize;
use stack::{program::run, wait};
use tokio::{process::Command, time::sleep};

use super::{
    runtime::{Driver, Runtime},
    server::program,
};
use crate::{connection::Connection, figures::Latency};

/// Functions, each of which is started once.
const STARTS: usize = 10;
/// How long their spares may take.
const SPARES_WITHIN: Duration = Duration::from_mins(1);
/// How long nothing is done after that.
const QUIET: Duration = Duration::from_secs(1);
/// Of the functions that are containers.
const IMAGE: &str = "local-lambda-bench/echo:dev";

#[derive(Serialize)]
pub(super) struct Zero {
    /// From the request to its answer.
    process: Latency,
    /// Absent without a Docker engine.
    container: Option<Latency>,
}

pub(super) async fn measure() -> anyhow::Result<Zero> {
    let program = program("echo-function")?;
    let process = starts(Driver::Process, &format!("command = [{program:?}]")).await?;
    let container = if engine_answers().await {
        let mut pack = Command::new("infra/images/pack");
        run(pack.arg(IMAGE).arg(program)).await?;
        Some(starts(Driver::Docker, &format!("image = {IMAGE:?}")).await?)
    } else {
        None
    };
    Ok(Zero { process, container })
}

async fn starts(driver: Driver, what: &str) -> anyhow::Result<Latency> {
    let mut manifest = String::new();
    for number in 0..STARTS {
        writeln!(
            manifest,
            "[functions.bench-zero-{number}]\n{what}\nroutes = [\"POST /{number}\"]\nmin_instances = 0\nmax_instances = 1"
        )?;
    }
    let runtime = Runtime::start_under(driver, &manifest).await?;
    let all_spares = async || {
        let spares = match driver {
            Driver::Process => runtime.children()?,
            Driver::Docker => containers().await?,
        };
        ensure!(spares >= STARTS, "{spares} spares");
        Ok(())
    };
    wait::until(SPARES_WITHIN, all_spares).await?;
    sleep(QUIET).await;
    let mut connection = Connection::new(runtime.server.service.clone());
    let mut took = Vec::new();
    for number in 0..STARTS {
        let began = Instant::now();
        let answer = connection.post(&format!("/{number}"), Bytes::new()).await?;
        took.push(began.elapsed());
        ensure!(answer.status == 200, "{driver:?}: {}", answer.status);
    }
    Latency::of_all(took).context("no start")
}

async fn engine_answers() -> bool {
    run(Command::new("docker").arg("version")).await.is_ok()
}

/// How many of the functions have a container.
async fn containers() -> anyhow::Result<usize> {
    let mut list = Command::new("docker");
    list.args(["ps", "--all", "--filter", "label=local-lambda.function"]);
    list.args(["--format", "{{.Label \"local-lambda.function\"}}"]);
    let output = list
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let names = String::from_utf8(output.stdout)?;
    let names = names.lines().filter(|it| it.starts_with("bench-zero-"));
    Ok(names.collect::<BTreeSet<_>>().len())
}

impl fmt::Display for Zero {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "process    {}", self.process)?;
        match &self.container {
            Some(latency) => writeln!(formatter, "container  {latency}"),
            None => writeln!(formatter, "container  no Docker engine here"),
        }
    }
}
