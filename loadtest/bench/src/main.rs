//! Measures the stack that is up: how much, how fast, at what cost, and whether the books still
//! balance afterwards.

#![expect(clippy::float_arithmetic, reason = "figures, not money")]

mod alarm;
mod batches;
mod commit;
mod connection;
mod consumers;
mod crowd;
mod figures;
mod journal;
mod load;
mod outbox;
mod overload;
mod payments;
mod processes;
mod relay;
mod router;
mod settle;
mod start;
mod target;
mod topics;
mod work;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, value_parser};

use crate::{
    journal::Journal,
    load::{Bound, Pace},
    payments::Plan,
    work::Work,
};

/// Measures the stack that is up.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    measured: Measured,
    /// Append the figures to this file, one line of JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Sign with this key of the key file
    #[arg(long, global = true, value_name = "KEYID", default_value = "demo")]
    key: String,
}

#[derive(Subcommand)]
enum Measured {
    /// New authorizations
    Authorize(Load),
    /// Whole lives: authorize, capture, refund
    Life(Load),
    /// How fast the relay sends what waits: fills the outbox while Kafka is paused
    Relay {
        #[command(flatten)]
        connections: Connections,
        /// Events that wait
        #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u64).range(1..))]
        events: u64,
    },
    /// The runtime with functions of its own: against other servers, in turn, and while it changes
    Router(router::Size),
    /// Far more than can be served, what is served then, and what connections cost that only wait
    Overload(overload::Size),
    /// One authorize at a time against its transaction alone, in turn
    Commit {
        #[command(flatten)]
        rounds: Rounds,
    },
    /// Settlements of some sizes; spoils the books of the stack
    Settle {
        /// Captures of each
        #[arg(long, value_delimiter = ',', default_value = "5000,10000,100000,300000",
              value_parser = value_parser!(u64).range(1..))]
        items: Vec<u64>,
    },
    /// Events of payments that nobody made, and how fast other services take them; spoils the books
    Consumers {
        /// Events that are sent
        #[arg(long, default_value_t = 200_000, value_parser = value_parser!(u64).range(1..))]
        events: u64,
    },
    /// From the start of the runtime to the first answer, and what it uses while idle
    Start,
}

#[derive(Args)]
struct Connections {
    /// Connections; with --rate the most requests under way at once
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u32).range(1..=4096))]
    connections: u32,
}

#[derive(Args)]
struct Rounds {
    /// Measurements, of which the median counts
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of a measurement
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,
}

#[derive(Args)]
struct Load {
    #[command(flatten)]
    connections: Connections,
    /// Begin so many per second, at fixed times; else each connection begins when it was answered
    #[arg(long, value_name = "PER_SECOND", value_parser = value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,
    /// Seconds of load before
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Decides the amounts; random unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Read the topic meanwhile and tell when events arrive
    #[arg(long)]
    consume: bool,
}

impl Load {
    fn plan(&self, work: Work) -> Plan {
        let pace = |seconds| Pace {
            rate: self.rate,
            bound: Bound::Time(Duration::from_secs(seconds)),
        };
        Plan {
            work,
            connections: self.connections.connections,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
            warm_up: pace(self.warm_up),
            measured: pace(self.seconds),
            consume: self.consume,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let journal = Journal {
        file: arguments.json,
    };
    let service = || target::service(&arguments.key);
    match arguments.measured {
        Measured::Authorize(load) => {
            payments::measure(&service()?, load.plan(Work::Authorize), &journal).await
        }
        Measured::Life(load) => {
            payments::measure(&service()?, load.plan(Work::Life), &journal).await
        }
        Measured::Relay {
            connections,
            events,
        } => relay::measure(&service()?, connections.connections, events, &journal).await,
        Measured::Router(size) => router::measure(&size, &journal).await,
        Measured::Overload(size) => overload::measure(&service()?, &size, &journal).await,
        Measured::Commit { rounds } => {
            let time = Duration::from_secs(rounds.seconds);
            commit::measure(&service()?, time, rounds.rounds, &journal).await
        }
        Measured::Settle { items } => {
            settle::measure(&target::service("ops")?, &items, &journal).await
        }
        Measured::Consumers { events } => consumers::measure(events, &journal).await,
        Measured::Start => start::measure(&service()?, &journal).await,
    }
}
