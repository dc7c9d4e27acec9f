//! `bench relay`: how fast the relay sends what waits.

use std::fmt;

use anyhow::{Context, ensure};
use auditor::Report;
use serde::Serialize;
use stack::{Component, Stack};

use crate::{
    connection::Service,
    journal::Journal,
    load::{ANY_SEED, Bound, Pace, Workers},
    outbox::Outbox,
    processes::{Cpu, CpuOfEach, Processes},
    target::books,
    work::Work,
};

#[derive(Serialize)]
struct Relay {
    events: u64,
    /// From the first delivery to the last.
    seconds: f64,
    events_per_second: f64,
    cpu_ms_per_event: CpuOfEach,
    books: Report,
}

/// Lets events wait, and measures how they are sent.
pub(crate) async fn measure(
    service: &Service,
    connections: u32,
    events: u64,
    journal: &Journal,
) -> anyhow::Result<()> {
    let mut outbox = Outbox::open().await?;
    outbox.drained().await?;
    let first = outbox.last().await?;
    let processes = Processes::of_stack().await?;
    let mut workers = Workers::new(service, connections, ANY_SEED);
    let before = fill(&mut workers, events, &mut outbox, &processes).await?;
    outbox.drained().await?;
    let cpu = processes.cpu();
    let (delivered, took) = outbox.delivered(first).await?;
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    let relay = Relay {
        events,
        seconds: took.as_secs_f64(),
        events_per_second: delivered as f64 / took.as_secs_f64(),
        cpu_ms_per_event: cpu.of_each(&before, events),
        books: books().await?,
    };
    journal.tell(&relay)?;
    ensure!(relay.books.holds(), "the books do not hold");
    Ok(())
}

/// Authorizes while the broker stands still, and tells the CPU used until it goes on.
async fn fill(
    workers: &mut Workers,
    events: u64,
    outbox: &mut Outbox,
    processes: &Processes,
) -> anyhow::Result<Cpu> {
    let kafka = Stack::open()?.daemon(Component::Kafka)?;
    let kafka = kafka.context("kafka does not run")?;
    kafka.pause()?;
    let pace = Pace::closed(Bound::Count(events));
    let filled = workers.run(Work::Authorize, pace).await;
    let waiting = outbox.pending().await;
    let cpu = processes.cpu();
    kafka.resume()?;
    let (filled, waiting) = (filled?, waiting?);
    ensure!(filled.failures() == 0, "{}", filled.summary());
    ensure!(waiting == events, "{waiting} of {events} events wait");
    Ok(cpu)
}

impl fmt::Display for Relay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            seconds,
            events_per_second,
            cpu_ms_per_event,
            books,
        } = self;
        writeln!(
            formatter,
            "relay      {events_per_second:.0} events/s, {events} in {seconds:.2} s"
        )?;
        writeln!(formatter, "CPU        {cpu_ms_per_event} per event")?;
        write!(formatter, "{books}")
    }
}
