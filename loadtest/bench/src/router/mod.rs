//! `bench router`: the runtime with functions of its own, beside other servers and while it changes.

mod against;
mod changes;
mod kafka;
mod memory;
mod routes;
mod runtime;
mod server;
mod turns;
mod zero;

use std::{env, fmt, path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::{Args, ValueEnum, value_parser};
use serde::Serialize;

use crate::{Connections, Rounds, journal::Journal};

/// Where `local/stack/install-dev` puts what the runtime is compared with.
const TOOLS: &str = "local/.state/tools/bin";

/// What is measured, and how much of it.
#[derive(Args)]
pub(crate) struct Size {
    /// What to measure; everything unless given
    #[arg(value_enum)]
    parts: Vec<Part>,
    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    rounds: Rounds,
    /// Records of the Kafka source
    #[arg(long, default_value_t = 300_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    records: u64,
}

/// A measurement of its own.
#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Part {
    /// In turn with a plain server that has the same handler
    Plain,
    /// In turn with `cargo lambda watch --release`
    Watch,
    /// In turn with AWS's Runtime Interface Emulator
    Rie,
    /// From no instance to the answer
    Zero,
    /// 64,000 routes, in turn with one
    Routes,
    /// Memory with idle functions and open connections
    Memory,
    /// From Kafka to a function that does nothing
    Kafka,
    /// Failed requests while it scales, rolls out and back, reloads and is replaced
    Changes,
}

/// A part's figures, as they are kept.
#[derive(Serialize)]
struct Told<M> {
    part: Part,
    #[serde(flatten)]
    measured: M,
}

/// Measures the parts, each of which is told by itself.
pub(crate) async fn measure(size: &Size, journal: &Journal) -> anyhow::Result<()> {
    let parts = match &*size.parts {
        [] => Part::value_variants(),
        parts => parts,
    };
    for part in parts {
        match part.missing() {
            Some(missing) => println!("{part:?} is not measured: no {missing} here"),
            None => part.measure(size, journal).await?,
        }
    }
    Ok(())
}

impl Part {
    /// What this machine lacks for it.
    fn missing(self) -> Option<&'static str> {
        let tool = |name| PathBuf::from(TOOLS).join(name).is_file();
        match self {
            Self::Watch if !tool("cargo-lambda") => {
                Some("cargo-lambda (local/stack/install-dev cargo-lambda)")
            }
            Self::Rie if !tool("aws-lambda-rie") => {
                Some("aws-lambda-rie (local/stack/install-dev aws-lambda-rie)")
            }
            Self::Kafka if env::var_os("KAFKA_BROKERS").is_none() => Some("KAFKA_BROKERS"),
            _ => None,
        }
    }

    async fn measure(self, size: &Size, journal: &Journal) -> anyhow::Result<()> {
        let time = Duration::from_secs(size.rounds.seconds);
        let (rounds, connections) = (size.rounds.rounds, size.connections.connections);
        match self {
            Self::Plain => {
                let measured = against::plain(connections, time, rounds).await?;
                self.tell(measured, journal)
            }
            Self::Watch => {
                let measured = against::watch(connections, time, rounds).await?;
                self.tell(measured, journal)
            }
            Self::Rie => self.tell(against::rie(time, rounds).await?, journal),
            Self::Zero => self.tell(zero::measure().await?, journal),
            Self::Routes => self.tell(routes::measure(time, rounds).await?, journal),
            Self::Memory => self.tell(memory::measure().await?, journal),
            Self::Kafka => self.tell(kafka::measure(size.records).await?, journal),
            Self::Changes => {
                let measured = changes::measure().await?;
                let failures = measured.failures();
                self.tell(measured, journal)?;
                ensure!(failures == 0, "{failures} requests failed");
                Ok(())
            }
        }
    }

    fn tell(
        self,
        measured: impl fmt::Display + Serialize,
        journal: &Journal,
    ) -> anyhow::Result<()> {
        let part = self;
        journal.tell(&Told { part, measured })
    }
}

impl<M: fmt::Display> fmt::Display for Told<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "-- {:?}", self.part)?;
        self.measured.fmt(formatter)
    }
}
