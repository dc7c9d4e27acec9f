//! Two servers under the same load, in turn.

use std::{fmt, time::Duration};

use anyhow::ensure;
use bytes::Bytes;
use serde::Serialize;
use stack::wait;

use super::server::Server;
use crate::{
    commit::median,
    connection::{Connection, Service},
    figures::{Step, Summary},
    load::{ANY_SEED, Bound, Pace, Workers},
    processes::{CpuOfEach, Processes},
    work::{Post, Work},
};

/// How long each server is loaded before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long its first answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_mins(1);

/// Where a server is asked, and which of its processes answers.
pub(super) struct Side {
    name: &'static str,
    pid: u32,
    service: Service,
}

/// What turns are made of.
#[derive(Clone, Copy)]
pub(super) struct Turns {
    pub(super) post: &'static Post,
    pub(super) connections: u32,
    /// Of each turn.
    pub(super) time: Duration,
    pub(super) rounds: u32,
}

/// Both sides at so many connections; ratios are the runtime's figure by the other's, and the
/// median of the rounds counts.
#[derive(Serialize)]
pub(super) struct Compared {
    connections: u32,
    rounds: Vec<Round>,
    /// Of requests per second.
    ratio: f64,
    p50_ratio: f64,
    /// How much later the runtime answers, p50 by p50, in milliseconds.
    added_ms: f64,
    /// CPU of the runtime's own process for a request, in microseconds.
    runtime_cpu_us: f64,
}

#[derive(Serialize)]
struct Round {
    other: Load,
    runtime: Load,
}

#[derive(Serialize)]
struct Load {
    server: &'static str,
    #[serde(flatten)]
    summary: Summary,
    cpu_ms_per_request: CpuOfEach,
}

impl Side {
    pub(super) fn of(server: &Server) -> anyhow::Result<Self> {
        Ok(Self {
            name: server.name,
            pid: server.pid()?,
            service: server.service.clone(),
        })
    }

    /// Called something else.
    pub(super) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Asked at another of its addresses.
    pub(super) fn at(self, service: Service) -> Self {
        Self { service, ..self }
    }

    /// The body of the first 200.
    pub(super) async fn answer(&self, post: &Post) -> anyhow::Result<Bytes> {
        let answer = async || {
            let mut connection = Connection::new(self.service.clone());
            let body = Bytes::from_static(post.body.as_bytes());
            let answer = connection.post(post.path, body).await?;
            ensure!(answer.status == 200, "{} from {}", answer.status, self.name);
            Ok(answer.body)
        };
        wait::until(ANSWERS_WITHIN, answer).await
    }

    async fn load(&self, turns: Turns) -> anyhow::Result<Load> {
        let mut workers = Workers::new(&self.service, turns.connections, ANY_SEED);
        let work = Work::Post(turns.post);
        let pace = |time| Pace::closed(Bound::Time(time));
        workers.run(work, pace(WARM_UP)).await?;
        let processes = Processes::of_parent(self.name, self.pid, "function")?;
        let before = processes.cpu();
        let figures = workers.run(work, pace(turns.time)).await?;
        let cpu = processes.cpu();
        let summary = figures.summary();
        ensure!(
            figures.failures() == 0 && figures.requests() > 0,
            "{}: {summary}",
            self.name
        );
        Ok(Load {
            server: self.name,
            summary,
            cpu_ms_per_request: cpu.of_each(&before, figures.requests()),
        })
    }
}

impl Turns {
    /// Loads `other`, then `runtime`, and so on, once both have given the same answer.
    pub(super) async fn take(self, other: &Side, runtime: &Side) -> anyhow::Result<Compared> {
        let answers = [
            other.answer(self.post).await?,
            runtime.answer(self.post).await?,
        ];
        ensure!(answers[0] == answers[1], "not the same answer: {answers:?}");
        let mut rounds = Vec::new();
        for _ in 0..self.rounds {
            rounds.push(Round {
                other: other.load(self).await?,
                runtime: runtime.load(self).await?,
            });
        }
        let step = self.post.step;
        let median_of = |figure: fn(&Step, &Step) -> f64| {
            let of = |load: &Load| load.summary.steps[step].clone();
            median(
                rounds
                    .iter()
                    .map(|it| figure(&of(&it.runtime), &of(&it.other))),
            )
        };
        Ok(Compared {
            connections: self.connections,
            ratio: median_of(|runtime, other| runtime.per_second / other.per_second),
            p50_ratio: median_of(|runtime, other| runtime.latency.p50_ms / other.latency.p50_ms),
            added_ms: median_of(|runtime, other| runtime.latency.p50_ms - other.latency.p50_ms),
            runtime_cpu_us: median(
                rounds
                    .iter()
                    .map(|it| 1e3 * it.runtime.cpu_ms_per_request.of(runtime.name)),
            ),
            rounds,
        })
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            rounds,
            ratio,
            p50_ratio,
            added_ms,
            runtime_cpu_us,
        } = self;
        writeln!(formatter, "{connections} connections:")?;
        for Round { other, runtime } in rounds {
            write!(formatter, "{other}{runtime}")?;
        }
        writeln!(
            formatter,
            "median     {ratio:.3} of the requests, p50 {p50_ratio:.3}, {added_ms:.3} ms more, CPU of the runtime {runtime_cpu_us:.0} µs per request"
        )
    }
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = &self.cpu_ms_per_request;
        write!(formatter, "{:<8} {}", self.server, self.summary)?;
        writeln!(formatter, "CPU        {cpu} per request")
    }
}
