//! Failed requests while the runtime changes under a steady load.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde::Serialize;
use stack::wait;
use tokio::time::{sleep, timeout};

use super::{runtime::Runtime, server::program};
use crate::{
    figures::Summary,
    load::{ANY_SEED, Bound, Pace, Workers},
    work::{Post, Work},
};

/// Requests that begin per second.
const RATE: u32 = 1_000;
/// Most of them under way at once.
const CONNECTIONS: u32 = 64;
/// Instances after scaling up.
const INSTANCES: usize = 4;
/// How long each load lasts, when its change begins, and how long that may take.
const LOAD: Duration = Duration::from_secs(10);
const CHANGES_AFTER: Duration = Duration::from_secs(1);
const CHANGES_WITHIN: Duration = Duration::from_secs(8);
const POST: Post = Post {
    step: "echo",
    path: "/",
    body: r#"{"a":1}"#,
};

/// What is changed, in this order.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Scaling,
    Rollout,
    Rollback,
    Reload,
    Upgrade,
}

#[derive(Serialize)]
pub(super) struct Changes {
    rate: u32,
    loads: Vec<Load>,
}

#[derive(Serialize)]
struct Load {
    change: Change,
    change_ms: f64,
    #[serde(flatten)]
    summary: Summary,
}

pub(super) async fn measure() -> anyhow::Result<Changes> {
    let mut runtime = Runtime::start(&manifest(1)?).await?;
    let mut workers = Workers::new(&runtime.server.service, CONNECTIONS, ANY_SEED);
    let mut loads = Vec::new();
    for change in [
        Change::Scaling,
        Change::Rollout,
        Change::Rollback,
        Change::Reload,
        Change::Upgrade,
    ] {
        let pace = Pace {
            rate: Some(RATE),
            bound: Bound::Time(LOAD),
        };
        let load = workers.run(Work::Post(&POST), pace);
        let changed = async {
            sleep(CHANGES_AFTER).await;
            let began = Instant::now();
            let made = timeout(CHANGES_WITHIN, change.make(&mut runtime)).await;
            made.with_context(|| format!("{change:?} takes too long"))??;
            Ok(began.elapsed())
        };
        let (figures, took) = tokio::try_join!(load, changed)?;
        loads.push(Load {
            change,
            change_ms: took.as_secs_f64() * 1e3,
            summary: figures.summary(),
        });
    }
    Ok(Changes { rate: RATE, loads })
}

impl Change {
    async fn make(self, runtime: &mut Runtime) -> anyhow::Result<()> {
        match self {
            Self::Scaling => {
                scale(runtime, INSTANCES).await?;
                scale(runtime, 1).await
            }
            Self::Rollout => runtime.command(&["rollout", "echo"]).await,
            Self::Rollback => runtime.command(&["rollback", "echo"]).await,
            Self::Reload => runtime.reload(&manifest(2)?).await,
            Self::Upgrade => runtime.upgrade().await,
        }
    }
}

/// Until exactly so many instances run.
async fn scale(runtime: &Runtime, instances: usize) -> anyhow::Result<()> {
    let number = instances.to_string();
    let bounds = ["scale", "echo", "--min", &number, "--max", &number];
    runtime.command(&bounds).await?;
    let scaled = async || {
        let running = runtime.children()?;
        ensure!(running == instances, "{running} instances");
        Ok(())
    };
    wait::until(CHANGES_WITHIN, scaled).await
}

/// Manifests of different numbers are different.
fn manifest(number: u32) -> anyhow::Result<String> {
    let program = program("echo-function")?;
    Ok(format!(
        "[functions.echo]\ncommand = [{program:?}]\nroutes = [\"POST /\"]\nconcurrency = 64\nenvironment = {{ NUMBER = \"{number}\" }}\n"
    ))
}

impl Changes {
    pub(super) fn failures(&self) -> u64 {
        let failed = self.loads.iter().flat_map(|it| it.summary.failed.values());
        failed.sum()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} requests per second:", self.rate)?;
        for Load {
            change,
            change_ms,
            summary,
        } in &self.loads
        {
            write!(formatter, "{change:?}, {change_ms:.0} ms\n{summary}")?;
        }
        writeln!(formatter, "failed     {}", self.failures())
    }
}
