//! `bench router`: the runtime against a plain server with the same handler, in turn.

use std::{
    fmt, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde::Serialize;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

use crate::{
    commit::median,
    connection::Service,
    figures::Summary,
    journal::Journal,
    load::{ANY_SEED, Bound, Pace, Workers},
    processes::{CpuOfEach, Processes},
    work::Work,
};

/// How long a server may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Invocations that the echo function serves at once.
const CONCURRENCY: u32 = 64;
/// How long each server is loaded before it is measured.
const WARM_UP: Pace = Pace {
    rate: None,
    bound: Bound::Time(Duration::from_secs(1)),
};

#[derive(Serialize)]
struct Router {
    rounds: Vec<Round>,
    /// Requests per second of the runtime by those of the plain server, median of the rounds.
    ratio: f64,
    one_connection: Round,
    /// How much later the runtime answers at one connection, in milliseconds.
    added_ms: f64,
}

#[derive(Serialize)]
struct Round {
    plain: Load,
    runtime: Load,
}

#[derive(Serialize)]
struct Load {
    #[serde(flatten)]
    summary: Summary,
    cpu_ms_per_request: CpuOfEach,
}

/// A server under load, ended when it is dropped.
struct Server {
    name: &'static str,
    service: Service,
    process: Child,
    _directory: Option<TempDir>,
}

/// Measures both servers in turn, then both at one connection.
pub(crate) async fn measure(
    connections: u32,
    time: Duration,
    count: u32,
    journal: &Journal,
) -> anyhow::Result<()> {
    let programs = std::env::current_exe()?;
    let programs = programs.parent().context("a directory")?;
    let servers = [plain(programs).await?, runtime(programs).await?];
    let mut rounds = Vec::new();
    for _ in 0..count {
        rounds.push(round(&servers, connections, time).await?);
    }
    let one_connection = round(&servers, 1, time).await?;
    let router = Router {
        ratio: median(rounds.iter().map(Round::ratio)),
        rounds,
        added_ms: one_connection.added_ms(),
        one_connection,
    };
    journal.tell(&router)
}

async fn round(servers: &[Server; 2], connections: u32, time: Duration) -> anyhow::Result<Round> {
    let [plain, runtime] = servers;
    Ok(Round {
        plain: plain.load(connections, time).await?,
        runtime: runtime.load(connections, time).await?,
    })
}

impl Round {
    fn ratio(&self) -> f64 {
        let rate = |load: &Load| load.summary.steps["echo"].per_second;
        rate(&self.runtime) / rate(&self.plain)
    }

    fn added_ms(&self) -> f64 {
        let p50_ms = |load: &Load| load.summary.steps["echo"].latency.p50_ms;
        p50_ms(&self.runtime) - p50_ms(&self.plain)
    }
}

impl Server {
    async fn load(&self, connections: u32, time: Duration) -> anyhow::Result<Load> {
        let pid = self.process.id().context("the server ended")?;
        let mut workers = Workers::new(&self.service, connections, ANY_SEED);
        workers.run(Work::Echo, WARM_UP).await?;
        let processes = Processes::of_parent(self.name, pid, "function")?;
        let before = processes.cpu();
        let pace = Pace::closed(Bound::Time(time));
        let figures = workers.run(Work::Echo, pace).await?;
        let cpu = processes.cpu();
        let summary = figures.summary();
        ensure!(
            figures.failures() == 0 && figures.requests() > 0,
            "{}: {summary}",
            self.name
        );
        Ok(Load {
            summary,
            cpu_ms_per_request: cpu.of_each(&before, figures.requests()),
        })
    }
}

async fn plain(programs: &Path) -> anyhow::Result<Server> {
    let address = free_address()?;
    let mut command = Command::new(program(programs, "echo-server")?);
    command.arg(&address);
    start("plain", command, address, None).await
}

async fn runtime(programs: &Path) -> anyhow::Result<Server> {
    let directory = TempDir::new()?;
    let manifest = directory.path().join("functions.toml");
    let function = program(programs, "echo-function")?.display().to_string();
    let text = format!(
        "[functions.echo]\ncommand = [{function:?}]\nroutes = [\"POST /\"]\nconcurrency = {CONCURRENCY}\n",
    );
    fs::write(&manifest, text)?;
    let address = free_address()?;
    let mut command = Command::new(program(programs, "local-lambda")?);
    command.arg("serve").arg("--manifest").arg(&manifest);
    command.args(["--http", &address]);
    command.args(["--invoke", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    start("runtime", command, address, Some(directory)).await
}

async fn start(
    name: &'static str,
    mut command: Command,
    address: String,
    directory: Option<TempDir>,
) -> anyhow::Result<Server> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let process = command.kill_on_drop(true).spawn().context(name)?;
    let began = Instant::now();
    while TcpStream::connect(&address).await.is_err() {
        ensure!(
            began.elapsed() < LISTENS_WITHIN,
            "{name} does not listen on {address}"
        );
        sleep(LOOK_EVERY).await;
    }
    Ok(Server {
        name,
        service: Service { address, key: None },
        process,
        _directory: directory,
    })
}

fn program(programs: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = programs.join(name);
    let built = path.is_file();
    ensure!(built, "{} is missing: build the workspace", path.display());
    Ok(path)
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

impl fmt::Display for Router {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for round in &self.rounds {
            writeln!(formatter, "{round}ratio      {:.3}", round.ratio())?;
        }
        writeln!(formatter, "one connection:\n{}", self.one_connection)?;
        let Self {
            ratio, added_ms, ..
        } = self;
        writeln!(
            formatter,
            "median     {ratio:.3} of the plain server's requests"
        )?;
        writeln!(
            formatter,
            "latency    {added_ms:.3} ms more at one connection"
        )
    }
}

impl fmt::Display for Round {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, load) in [("plain", &self.plain), ("runtime", &self.runtime)] {
            write!(formatter, "{name:<8} {}", load.summary)?;
            let cpu = &load.cpu_ms_per_request;
            writeln!(formatter, "CPU        {cpu} per request")?;
        }
        Ok(())
    }
}
