//! Keeps as many instances of a function as `dispatch` decides, within the host's memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::sysinfo::sysinfo;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::driver::{self, Driver, Spare};
use crate::function::Function;
use crate::logs::LogSink;
use crate::manifest::FunctionConfig;

/// How often idle instances are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Bytes in the unit of `memory_mb`.
const MIB: u64 = 1024 * 1024;

/// The memory that all instances may have together, in MiB: nine tenths of the host's. An instance
/// counts with its `memory_mb`, whatever it uses.
pub(crate) struct Memory {
    total: usize,
    free: Arc<Semaphore>,
}

impl Memory {
    /// The host's.
    ///
    /// # Errors
    /// If the host does not tell how much it has.
    pub(crate) fn of_host() -> anyhow::Result<Self> {
        let host = sysinfo().context("cannot ask how much memory there is")?;
        let total = usize::try_from(host.ram_total() / MIB / 10 * 9)?.min(Semaphore::MAX_PERMITS);
        Ok(Self {
            total,
            free: Arc::new(Semaphore::new(total)),
        })
    }

    /// Whether the instances that functions keep running have room together.
    ///
    /// # Errors
    /// If they have not.
    pub(crate) fn check<'a>(
        &self,
        functions: impl Iterator<Item = &'a FunctionConfig>,
    ) -> anyhow::Result<()> {
        let kept = functions.map(|it| it.min_instances as usize * it.memory_mb as usize);
        let (kept, total): (usize, _) = (kept.sum(), self.total);
        ensure!(
            kept <= total,
            "min_instances of all functions need {kept} MiB; nine tenths of the memory are {total} MiB"
        );
        Ok(())
    }
}

/// Runs instances of `function` until it is over or `stop`, and stops them then.
pub(crate) async fn run(
    function: Arc<Function>,
    driver: Arc<Driver>,
    memory: Arc<Memory>,
    sink: LogSink,
    stop: CancellationToken,
) {
    let stop = stop.child_token();
    let mut slots = Slots {
        function: Arc::clone(&function),
        driver,
        memory,
        sink,
        stop: stop.clone(),
        running: JoinSet::new(),
        spare: None,
        preparing: JoinSet::new(),
    };
    slots.start(function.to_start(0));
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() && !function.is_over() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = function.demand.notified() => {}
            _ = looks.tick() => {
                function.retire_idle(slots.running.len());
                slots.keep_spare();
            }
            Some(_retired) = slots.running.join_next() => {}
            Some(prepared) = slots.preparing.join_next() => slots.spare = prepared.ok().flatten(),
        }
        slots.start(function.to_start(slots.running.len()));
    }
    stop.cancel();
    slots.end().await;
}

/// The instances of a function; each is replaced when it ends by itself.
struct Slots {
    function: Arc<Function>,
    driver: Arc<Driver>,
    memory: Arc<Memory>,
    sink: LogSink,
    stop: CancellationToken,
    running: JoinSet<()>,
    /// The next instance, if it is prepared.
    spare: Option<Spare>,
    preparing: JoinSet<Option<Spare>>,
}

impl Slots {
    fn start(&mut self, instances: usize) {
        let memory_mb = self.function.config.memory_mb;
        for _ in 0..instances {
            let Ok(memory) = Arc::clone(&self.memory.free).try_acquire_many_owned(memory_mb) else {
                let total = self.memory.total;
                let name = &self.function.config.name;
                tracing::debug!(
                    function = name,
                    "no room in {total} MiB for another instance"
                );
                return;
            };
            let instance = driver::supervise(
                Arc::clone(&self.function),
                Arc::clone(&self.driver),
                self.spare.take(),
                self.sink.clone(),
                self.stop.clone(),
            );
            self.running.spawn(async move {
                instance.await;
                drop(memory);
            });
        }
    }

    /// Sees to it that the next instance is prepared, if there may be one.
    fn keep_spare(&mut self) {
        let (min, max) = self.function.bounds();
        let wanted = self.driver.keeps_spares() && min < max && self.running.len() < max;
        if !wanted || self.spare.is_some() || !self.preparing.is_empty() {
            return;
        }
        let (function, driver) = (Arc::clone(&self.function), Arc::clone(&self.driver));
        self.preparing.spawn(async move {
            let spare = driver.spare(&function).await;
            let name = &function.config.name;
            spare
                .inspect_err(|error| tracing::debug!(function = name, "no spare: {error:#}"))
                .ok()
        });
    }

    /// Waits for the instances, which have been told to stop.
    async fn end(self) {
        self.running.join_all().await;
        let prepared = self.preparing.join_all().await;
        for spare in prepared.into_iter().chain([self.spare]).flatten() {
            spare.discard().await;
        }
    }
}
