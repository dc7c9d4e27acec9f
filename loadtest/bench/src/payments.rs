//! `bench authorize` and `bench life`: how much, how fast, at what cost.

use std::{collections::BTreeMap, fmt};

use anyhow::ensure;
use auditor::Report;
use serde::Serialize;

use crate::{
    batches::{Batches, Distribution},
    connection::Service,
    figures::{Figures, Latency, Summary},
    journal::Journal,
    load::{Pace, Workers},
    outbox::Outbox,
    processes::{Cpu, CpuOfEach, Processes, Resident},
    target::books,
    topics::{Consumer, answered_to_consumed},
    work::Work,
};

/// What is done, and how.
pub(crate) struct Plan {
    pub(crate) work: Work,
    pub(crate) connections: u32,
    pub(crate) seed: u64,
    pub(crate) warm_up: Pace,
    pub(crate) measured: Pace,
    /// Whether the topic is read meanwhile.
    pub(crate) consume: bool,
}

/// Everything measured of a load.
#[derive(Serialize)]
struct Payments {
    #[serde(flatten)]
    summary: Summary,
    seed: u64,
    cpu_ms_per_request: CpuOfEach,
    resident_mib: Resident,
    /// By function.
    batches: BTreeMap<String, Distribution>,
    event_to_delivered: Option<Latency>,
    answered_to_consumed: Option<Latency>,
    books: Report,
}

/// How the stack was before the load.
struct Before {
    event: u64,
    cpu: Cpu,
    batches: Batches,
}

/// Warms up, loads, and measures until the last event is delivered.
pub(crate) async fn measure(
    service: &Service,
    plan: Plan,
    journal: &Journal,
) -> anyhow::Result<()> {
    let mut outbox = Outbox::open().await?;
    let mut workers = Workers::new(service, plan.connections, plan.seed);
    workers.run(plan.work, plan.warm_up).await?;
    let consumer = if plan.consume {
        Some(Consumer::start().await?)
    } else {
        None
    };
    let before = Before::now(&mut outbox).await?;
    let figures = workers.run(plan.work, plan.measured).await?;
    let mut payments = before.compare(&mut outbox, &figures, plan.seed).await?;
    if let Some(consumer) = consumer {
        let arrivals = consumer.arrivals().await?;
        payments.answered_to_consumed = answered_to_consumed(&figures, &arrivals);
    }
    journal.tell(&payments)?;
    ensure!(figures.failures() == 0, "requests failed");
    ensure!(payments.books.holds(), "the books do not hold");
    Ok(())
}

impl Before {
    async fn now(outbox: &mut Outbox) -> anyhow::Result<Self> {
        outbox.drained().await?;
        Ok(Self {
            event: outbox.last().await?,
            batches: Batches::read().await?,
            cpu: Processes::of_stack().await?.cpu(),
        })
    }

    /// The relay's work for the load counts too, so it is waited for.
    async fn compare(
        self,
        outbox: &mut Outbox,
        figures: &Figures,
        seed: u64,
    ) -> anyhow::Result<Payments> {
        outbox.drained().await?;
        let processes = Processes::of_stack().await?;
        let cpu = processes.cpu();
        let batches = Batches::read().await?;
        Ok(Payments {
            summary: figures.summary(),
            seed,
            cpu_ms_per_request: cpu.of_each(&self.cpu, figures.requests()),
            resident_mib: processes.resident(),
            batches: batches.since(&self.batches),
            event_to_delivered: outbox.delivery_latency(self.event).await?,
            answered_to_consumed: None,
            books: books().await?,
        })
    }
}

impl fmt::Display for Payments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.summary)?;
        writeln!(
            formatter,
            "CPU        {} per request",
            self.cpu_ms_per_request
        )?;
        writeln!(formatter, "memory     {}", self.resident_mib)?;
        for (name, distribution) in &self.batches {
            writeln!(formatter, "batch      {name} {distribution}")?;
        }
        if let Some(latency) = &self.event_to_delivered {
            writeln!(formatter, "delivered  {latency} after the event's time")?;
        }
        if let Some(latency) = &self.answered_to_consumed {
            writeln!(formatter, "consumed   {latency} after the answer")?;
        }
        write!(formatter, "{}", self.books)
    }
}
