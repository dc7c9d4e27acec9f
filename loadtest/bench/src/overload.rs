//! `bench overload`: what is still served when far more is asked for than can be.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use auditor::Report;
use clap::{Args, value_parser};
use serde::Serialize;

use crate::{
    commit::median,
    connection::Service,
    crowd::Crowd,
    figures::{Figures, Latency, Summary},
    journal::Journal,
    load::{ANY_SEED, Bound, Pace, Workers},
    outbox::Outbox,
    processes::{Processes, Resident},
    target::books,
    work::Work,
};

/// Connections of the loads that can be served.
const CONNECTIONS: u32 = 64;
/// How often peak and excess take turns.
const ROUNDS: u32 = 3;
/// What is asked for above capacity, by the peak.
const EXCESS: f64 = 3.0;
/// What is asked for afterwards, by the peak.
const CALM: f64 = 0.5;
/// The steady load beside many connections, by the peak.
const MODERATE: f64 = 0.25;
/// Seconds that are watched for the end of refusals.
const RECOVERY_WATCHED: u32 = 15;

/// Above capacity at least so much of the peak is served.
const GOODPUT_RATIO_MIN: f64 = 0.9;
/// Refusals end after so many seconds at most.
const RECOVERY_MAX_S: f64 = 5.0;
/// Connections that only wait make the p99 of others less than so many times as long.
const P99_RATIO_MAX: f64 = 2.0;

/// How much is done.
#[derive(Args)]
pub(crate) struct Size {
    /// Seconds of each load
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,
    /// Most requests under way at once above capacity
    #[arg(long, default_value_t = 1024, value_parser = value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// Connections that are held open and ask for nothing
    #[arg(long, default_value_t = 10_000)]
    idle: u32,
    /// Connections that send a head a byte a second
    #[arg(long, default_value_t = 1_000)]
    slow: u32,
}

#[derive(Serialize)]
struct Overload {
    rounds: Vec<Round>,
    /// The median of the rounds'.
    goodput_ratio: f64,
    /// Whole lives above capacity.
    lives: Summary,
    /// Of each step's requests, those answered with 200.
    served: BTreeMap<&'static str, f64>,
    resident_mib_before: Resident,
    resident_mib_after: Resident,
    /// Seconds until a whole second had no refusal; `None` when none had.
    recovery_s: Option<f64>,
    alone: Latency,
    crowded: Latency,
    /// Connections that were open at the end of the crowded load.
    idle_open: u32,
    slow_open: u32,
    /// Of the p99 beside them by the one alone.
    p99_ratio: f64,
    /// Answers other than 200 and refusals, and errors.
    unexpected: u64,
    books: Report,
}

/// The peak, and then far above it.
#[derive(Serialize)]
struct Round {
    peak: Summary,
    above: Summary,
    /// Requests answered with 200 per second above capacity, by those of the peak.
    goodput_ratio: f64,
    /// Of all requests above capacity, those that were refused and told when to ask again.
    refused: f64,
}

/// The loads, one after the other.
struct Bench {
    few: Workers,
    many: Workers,
    time: Bound,
    /// 200s per second at the peak.
    peak: f64,
    unexpected: u64,
}

/// Measures the peak, far above it, after it, and beside connections that only wait.
pub(crate) async fn measure(
    service: &Service,
    size: &Size,
    journal: &Journal,
) -> anyhow::Result<()> {
    let mut bench = Bench {
        few: Workers::new(service, CONNECTIONS, ANY_SEED),
        many: Workers::new(service, size.connections, ANY_SEED),
        time: Bound::Time(Duration::from_secs(size.seconds)),
        peak: f64::NAN,
        unexpected: 0,
    };
    let mut outbox = Outbox::open().await?;
    // Warms everything up.
    bench.peak().await?;
    let resident_mib_before = Processes::of_stack().await?.resident();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(bench.round().await?);
    }
    let lives = bench.above(Work::Life).await?;
    let recovery_s = bench.recovery().await?;
    let resident_mib_after = Processes::of_stack().await?.resident();
    outbox.drained().await?;
    let mut alone = bench.moderate().await?;
    let crowd = Crowd::gather(&service.address, size.idle, size.slow).await?;
    let crowded = bench.moderate().await?;
    let (idle_open, slow_open) = crowd.open();
    let held = crowd.holds(size.idle, size.slow);
    drop(crowd);
    alone.merge(bench.moderate().await?);
    outbox.drained().await?;

    let (alone, crowded) = (latency(&alone)?, latency(&crowded)?);
    let overload = Overload {
        goodput_ratio: median(rounds.iter().map(|round| round.goodput_ratio)),
        rounds,
        served: lives.served(),
        lives: lives.summary(),
        resident_mib_before,
        resident_mib_after,
        recovery_s,
        p99_ratio: crowded.p99_ms / alone.p99_ms,
        alone,
        crowded,
        idle_open,
        slow_open,
        unexpected: bench.unexpected,
        books: books().await?,
    };
    journal.tell(&overload)?;
    ensure!(
        held,
        "{idle_open} idle and {slow_open} slow connections were open in the end"
    );
    overload.judge()
}

impl Bench {
    async fn round(&mut self) -> anyhow::Result<Round> {
        let peak = self.peak().await?;
        let above = self.above(Work::Authorize).await?;
        Ok(Round {
            goodput_ratio: per_second(&above)? / self.peak,
            refused: share(above.refusals(), above.requests() + above.failures()),
            peak: peak.summary(),
            above: above.summary(),
        })
    }

    async fn peak(&mut self) -> anyhow::Result<Figures> {
        let figures = self
            .few
            .run(Work::Authorize, Pace::closed(self.time))
            .await?;
        self.unexpected += figures.unexpected();
        self.peak = per_second(&figures)?;
        Ok(figures)
    }

    /// Far more than can be served.
    async fn above(&mut self, work: Work) -> anyhow::Result<Figures> {
        let pace = self.pace(EXCESS, self.time);
        let figures = self.many.run(work, pace).await?;
        self.unexpected += figures.unexpected();
        Ok(figures)
    }

    /// Seconds until a whole second had no refusal.
    async fn recovery(&mut self) -> anyhow::Result<Option<f64>> {
        let began = Instant::now();
        let pace = self.pace(CALM, Bound::Time(Duration::from_secs(1)));
        for _ in 0..RECOVERY_WATCHED {
            let waited = began.elapsed();
            let figures = self.many.run(Work::Authorize, pace).await?;
            self.unexpected += figures.unexpected();
            if figures.refusals() == 0 {
                return Ok(Some(waited.as_secs_f64()));
            }
        }
        Ok(None)
    }

    /// A steady load that is easily served.
    async fn moderate(&mut self) -> anyhow::Result<Figures> {
        let pace = self.pace(MODERATE, self.time);
        let figures = self.few.run(Work::Authorize, pace).await?;
        self.unexpected += figures.unexpected();
        Ok(figures)
    }

    /// So many times the peak, at fixed times.
    fn pace(&self, times: f64, bound: Bound) -> Pace {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates; a rate is small and positive"
        )]
        let rate = (self.peak * times).ceil() as u32;
        Pace {
            rate: Some(rate),
            bound,
        }
    }
}

fn per_second(figures: &Figures) -> anyhow::Result<f64> {
    let summary = figures.summary();
    let step = summary.steps.get("authorize");
    Ok(step
        .context("no authorize was answered with 200")?
        .per_second)
}

fn latency(figures: &Figures) -> anyhow::Result<Latency> {
    let summary = figures.summary();
    let step = summary.steps.get("authorize");
    let step = step.context("no authorize was answered with 200")?;
    Ok(step.latency.clone())
}

fn share(part: u64, all: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    let share = part as f64 / all.max(1) as f64;
    share
}

impl Overload {
    /// Fails when something is missed that overload must not take away.
    fn judge(&self) -> anyhow::Result<()> {
        ensure!(self.books.holds(), "the books do not hold");
        ensure!(
            self.unexpected == 0,
            "{} requests were neither served nor refused",
            self.unexpected
        );
        ensure!(
            self.goodput_ratio >= GOODPUT_RATIO_MIN,
            "above capacity {:.2} of the peak is served, less than {GOODPUT_RATIO_MIN}",
            self.goodput_ratio
        );
        ensure!(
            self.recovery_s.is_some_and(|it| it <= RECOVERY_MAX_S),
            "refusals go on for more than {RECOVERY_MAX_S} s"
        );
        ensure!(
            self.p99_ratio < P99_RATIO_MAX,
            "connections that only wait make the p99 {:.2} times as long, not less than {P99_RATIO_MAX}",
            self.p99_ratio
        );
        Ok(())
    }
}

impl fmt::Display for Overload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for round in &self.rounds {
            write!(formatter, "at the peak:\n{}", round.peak)?;
            write!(formatter, "{EXCESS} times the peak:\n{}", round.above)?;
            writeln!(formatter, "refused    {:.1} %", round.refused * 100.0)?;
            writeln!(formatter, "goodput    {:.3}", round.goodput_ratio)?;
        }
        writeln!(
            formatter,
            "median     {:.3} of the peak",
            self.goodput_ratio
        )?;
        write!(formatter, "as many whole lives:\n{}", self.lives)?;
        write!(formatter, "served   ")?;
        for (step, share) in &self.served {
            write!(formatter, "  {step} {:.1} %", share * 100.0)?;
        }
        writeln!(formatter, "\nbefore     {}", self.resident_mib_before)?;
        writeln!(formatter, "after      {}", self.resident_mib_after)?;
        match self.recovery_s {
            Some(seconds) => writeln!(formatter, "recovery   {seconds:.1} s")?,
            None => writeln!(formatter, "recovery   not in {RECOVERY_WATCHED} s")?,
        }
        writeln!(formatter, "alone      {}", self.alone)?;
        writeln!(
            formatter,
            "crowded    {} beside {} idle and {} slow connections",
            self.crowded, self.idle_open, self.slow_open
        )?;
        writeln!(
            formatter,
            "p99        {:.2} times the one alone",
            self.p99_ratio
        )?;
        writeln!(
            formatter,
            "other      {} answers and errors",
            self.unexpected
        )?;
        write!(formatter, "{}", self.books)
    }
}
