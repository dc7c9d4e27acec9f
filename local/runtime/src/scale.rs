//! Keeps as many instances of a function as `dispatch` decides, within the host's memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::sysinfo::sysinfo;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::function::Function;
use crate::logs::LogSink;
use crate::manifest::FunctionConfig;
use crate::process;

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
    memory: Arc<Memory>,
    sink: LogSink,
    stop: CancellationToken,
) {
    let stop = stop.child_token();
    let mut slots = Slots {
        function: Arc::clone(&function),
        memory,
        sink,
        stop: stop.clone(),
        running: JoinSet::new(),
    };
    slots.start(function.to_start(0));
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() && !function.is_over() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = function.demand.notified() => {}
            _ = looks.tick() => function.retire_idle(slots.running.len()),
            Some(_retired) = slots.running.join_next() => {}
        }
        slots.start(function.to_start(slots.running.len()));
    }
    stop.cancel();
    slots.running.join_all().await;
}

/// The instances of a function; each is replaced when it ends by itself.
struct Slots {
    function: Arc<Function>,
    memory: Arc<Memory>,
    sink: LogSink,
    stop: CancellationToken,
    running: JoinSet<()>,
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
            let instance = process::supervise(
                Arc::clone(&self.function),
                self.sink.clone(),
                self.stop.clone(),
            );
            self.running.spawn(async move {
                instance.await;
                drop(memory);
            });
        }
    }
}
