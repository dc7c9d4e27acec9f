//! `bench start`: how long the functions need from nothing to the first answer, and what they use
//! while nobody asks.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::ensure;
use auditor::Report;
use serde::Serialize;
use stack::{
    Component, Stack,
    daemon::{Daemon, End, Setup},
    runtime,
};
use tokio::time::sleep;

use crate::{
    connection::{Connection, Service},
    journal::Journal,
    outbox::Outbox,
    processes::{CpuOfEach, Processes, Resident},
    target,
    work::{AUTHORIZE, authorize_body},
};

/// How long the first answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_mins(1);
/// Pause between two requests that nobody answers yet.
const ASK_EVERY: Duration = Duration::from_millis(2);
/// How long nothing is done before idleness is measured.
const QUIET: Duration = Duration::from_secs(5);
/// How long it may take to become quiet.
const QUIET_WITHIN: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Start {
    /// From the start of the runtime's process to the first 200, in milliseconds.
    first_answer_ms: f64,
    idle_mib: Resident,
    /// Of runtime and functions together.
    idle_serverless_mib: u64,
    /// CPU milliseconds per second.
    idle_cpu_ms_per_second: CpuOfEach,
    books: Report,
}

/// Stops the runtime and starts it anew; the services go on.
pub(crate) async fn measure(service: &Service, journal: &Journal) -> anyhow::Result<()> {
    let stack = Stack::open()?;
    stack.end(Component::Runtime, End::Terminate).await?;
    let first_answer = first_answer(&stack, service).await?;
    quiet().await?;
    let processes = Processes::of_stack().await?;
    let before = processes.cpu();
    sleep(QUIET).await;
    let idle_mib = processes.resident();
    let start = Start {
        first_answer_ms: first_answer.as_secs_f64() * 1e3,
        idle_serverless_mib: idle_mib.serverless(),
        idle_mib,
        idle_cpu_ms_per_second: processes.cpu().of_each(&before, QUIET.as_secs()),
        books: target::books().await?,
    };
    journal.tell(&start)?;
    ensure!(start.books.holds(), "the books do not hold");
    Ok(())
}

async fn first_answer(stack: &Stack, service: &Service) -> anyhow::Result<Duration> {
    let command = runtime::command(stack)?;
    let environment = runtime::environment(stack);
    let setup = Setup {
        directory: &stack.root,
        environment: &environment,
    };
    let log = stack.state.new_log(Component::Runtime)?;
    let pid_file = stack.state.pid_file(Component::Runtime);
    let mut connection = Connection::new(service.clone());
    let began = Instant::now();
    Daemon::spawn(&command, log, &pid_file, setup)?;
    loop {
        let body = authorize_body(&mut fastrand::Rng::new());
        match connection.post(AUTHORIZE, body).await {
            Ok(answer) if answer.status == 200 => return Ok(began.elapsed()),
            _ => sleep(ASK_EVERY).await,
        }
        let log = || stack.state.log_tail(Component::Runtime);
        ensure!(began.elapsed() < ANSWERS_WITHIN, "no answer\n{}", log());
    }
}

/// Waits until nothing was under way for [`QUIET`].
async fn quiet() -> anyhow::Result<()> {
    let mut outbox = Outbox::open().await?;
    let began = Instant::now();
    let mut busy = began;
    while busy.elapsed() < QUIET {
        ensure!(began.elapsed() < QUIET_WITHIN, "it does not become quiet");
        if calls().await? + outbox.pending().await? > 0 {
            busy = Instant::now();
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Calls that are under way or wait, but those of the relay, which never stops.
async fn calls() -> anyhow::Result<u64> {
    let functions = target::functions().await?;
    let finite = functions.iter().filter(|it| it.name != "outbox-relay");
    let calls = finite.map(|function| {
        let in_flight = function.instances.iter().map(|it| it.in_flight);
        function.queued + in_flight.sum::<u64>()
    });
    Ok(calls.sum())
}

impl fmt::Display for Start {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first_answer_ms,
            idle_mib,
            idle_cpu_ms_per_second,
            books,
            ..
        } = self;
        writeln!(
            formatter,
            "start      {first_answer_ms:.0} ms to the first 200"
        )?;
        writeln!(formatter, "idle       {idle_mib}")?;
        writeln!(formatter, "idle CPU   {idle_cpu_ms_per_second} per second")?;
        write!(formatter, "{books}")
    }
}
