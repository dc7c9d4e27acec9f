//! `loadtest/faults/run`: whole payments under faults, from the command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::RangeInclusive,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use faults::{
    history::Outcome,
    plan::{DECK, Kind, Plan, Size},
    run::{self, Verdict},
};
use serde_json::json;
use stack::output::say;

/// Seeds of `short`.
const SHORT: RangeInclusive<u64> = 1..=3;
/// What `short` has to send, and which faults have to take place, for its verdict to count.
const SHORT_OPERATIONS_MIN: usize = 30_000;
const SHORT_FAULTS_MIN: usize = 60;
/// Operations of each seed of `short`: some are never sent, because nobody knew their payment.
const SHORT_SIZE: SizeArguments = SizeArguments {
    operations: 10_200,
    faults: DECK.len(),
    only: None,
};
/// Violations shown of a failed seed.
const SHOWN_MAX: usize = 5;
/// Seconds of an hour.
const HOUR_S: u64 = 3600;

/// Whole payments under faults: a seed makes the schedule, a private stack runs it, and every
/// promise is checked
#[derive(Parser)]
#[command(name = "loadtest/faults/run")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the schedule of a seed as JSON lines
    Plan {
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        size: SizeArguments,
    },
    /// Runs one seed, or several one after the other
    Run {
        #[arg(long, required_unless_present = "seeds", conflicts_with = "seeds")]
        seed: Option<u64>,
        /// From the first to the last, both included: 1..25
        #[arg(long, value_parser = parse_seeds)]
        seeds: Option<RangeInclusive<u64>>,
        #[command(flatten)]
        size: SizeArguments,
        /// Keep schedule, history, logs and data of seeds that pass, too
        #[arg(long)]
        keep: bool,
    },
    /// Three seeds in less than ten minutes
    Short,
    /// One seed after the other for some hours
    Long {
        #[arg(long, default_value_t = 1)]
        hours: u64,
        /// The first seed
        #[arg(long, default_value_t = 1000)]
        from: u64,
    },
}

#[derive(Args, Clone, Copy)]
struct SizeArguments {
    /// Operations at least
    #[arg(long, default_value_t = 10_000)]
    operations: usize,
    /// Faults
    #[arg(long, default_value_t = DECK.len())]
    faults: usize,
    /// Every fault is this one, as in `fillDisk` or `kill:mariadb`
    #[arg(long, value_parser = parse_card)]
    only: Option<Kind>,
}

impl From<SizeArguments> for Size {
    fn from(size: SizeArguments) -> Self {
        Self {
            operations: size.operations,
            faults: size.faults,
            only: size.only,
        }
    }
}

impl Default for SizeArguments {
    fn default() -> Self {
        Self {
            operations: 10_000,
            faults: DECK.len(),
            only: None,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Plan { seed, size } => {
            Plan::new(seed, size.into()).write(io::stdout().lock())?;
            Ok(true)
        }
        Command::Run {
            seed,
            seeds,
            size,
            keep,
        } => {
            let seeds = seeds.or(seed.map(|seed| seed..=seed)).context("no seed")?;
            Ok(all(seeds, size, keep).await?.failed.is_empty())
        }
        Command::Short => short().await,
        Command::Long { hours, from } => {
            let ends = Instant::now() + Duration::from_secs(hours * HOUR_S);
            let seeds = (from..).take_while(|_| Instant::now() < ends);
            let done = all(seeds, SizeArguments::default(), false).await?;
            Ok(done.failed.is_empty())
        }
    }
}

/// What some seeds came to.
struct Done {
    /// Operations that were sent.
    operations: usize,
    /// Faults that took place.
    faults: usize,
    /// Seeds with violations.
    failed: Vec<u64>,
}

/// The seeds of CI; whether none failed, and whether they did enough to tell.
async fn short() -> anyhow::Result<bool> {
    let done = all(SHORT, SHORT_SIZE, false).await?;
    let Done {
        operations, faults, ..
    } = done;
    ensure!(
        operations >= SHORT_OPERATIONS_MIN && faults >= SHORT_FAULTS_MIN,
        "{operations} operations and {faults} faults are too few: at least \
         {SHORT_OPERATIONS_MIN} and {SHORT_FAULTS_MIN} are needed"
    );
    Ok(done.failed.is_empty())
}

/// Runs seeds one after the other, those after a failed one too.
async fn all(
    seeds: impl IntoIterator<Item = u64>,
    size: SizeArguments,
    keep: bool,
) -> anyhow::Result<Done> {
    let began = Instant::now();
    let (mut operations, mut faults, mut settled) = (0, 0, 0);
    let mut failed = Vec::new();
    for seed in seeds {
        let verdict = run::run(seed, size.into()).await?;
        say(summary(&verdict));
        if !verdict.holds() {
            show(&verdict);
            failed.push(seed);
        } else if !keep {
            verdict.discard()?;
        }
        operations += verdict.sent();
        faults += verdict.faults;
        settled += verdict.unknowns_settled();
    }
    say(format_args!(
        "{operations} operations, {faults} faults, {settled} unknown outcomes settled; \
         seeds with violations: {failed:?}; {:.0?}",
        began.elapsed()
    ));
    Ok(Done {
        operations,
        faults,
        failed,
    })
}

fn summary(verdict: &Verdict) -> String {
    let Verdict {
        plan,
        attempts,
        goodput,
        faults,
        impossible,
        took,
        ..
    } = verdict;
    let [ok, refused, later, unknown] = [
        Outcome::Ok,
        Outcome::Refused,
        Outcome::Later,
        Outcome::Unknown,
    ]
    .map(|outcome| verdict.count(outcome));
    format!(
        "seed {}: {} payments, {} of {} operations sent in {} requests (ok {ok}, refused \
         {refused}, later {later}, unknown {unknown}), {} unknown outcomes settled; {faults} \
         faults, {impossible} not possible here; {goodput}; {} violations; {took:.0?}",
        plan.seed,
        plan.payments(),
        verdict.sent(),
        plan.operations.len(),
        attempts.len(),
        verdict.unknowns_settled(),
        verdict.violations.len(),
    )
}

fn show(verdict: &Verdict) {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for violation in &verdict.violations {
        *counts.entry(violation.check).or_default() += 1;
    }
    say(format_args!("violations: {counts:?}, of them the first:"));
    let shown = &verdict.violations[..verdict.violations.len().min(SHOWN_MAX)];
    shown.iter().for_each(say);
    let payments: BTreeSet<u32> = shown.iter().filter_map(|it| it.payment).collect();
    for payment in payments {
        say(format_args!("\npayment {payment} of the plan:"));
        let attempts = verdict
            .attempts
            .iter()
            .filter(|attempt| attempt.payment == payment);
        attempts.for_each(|attempt| say(json!(attempt)));
    }
    let again = run::command(verdict.plan.seed, verdict.plan.size);
    say(format_args!(
        "\nschedule, history and logs: {}",
        verdict.folder.display()
    ));
    say(format_args!("run it again: {again}"));
}

fn parse_seeds(text: &str) -> anyhow::Result<RangeInclusive<u64>> {
    let (first, last) = text.split_once("..").context("write it as FIRST..LAST")?;
    Ok(first.parse()?..=last.parse()?)
}

fn parse_card(name: &str) -> anyhow::Result<Kind> {
    let card = DECK.into_iter().find(|card| card.name() == name);
    card.with_context(|| {
        let names: BTreeSet<String> = DECK.into_iter().map(Kind::name).collect();
        format!("the deck has {}", Vec::from_iter(names).join(", "))
    })
}
