//! What each process of the stack uses of the machine.

use std::{collections::BTreeMap, fmt, fs};

use anyhow::Context;
use serde::Serialize;
use stack::{Component, Stack};

use crate::target;

/// The load generator among the processes.
const CLIENT: &str = "client";
/// What a stack has beside the runtime and its functions.
const SERVICES: [Component; 3] = [Component::Mariadb, Component::Redis, Component::Kafka];
/// Less is not worth printing.
const SHOWN_MS: f64 = 0.0005;

/// Processes by name; several of one name are counted together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes(Vec<(String, u32)>);

/// CPU used so far, by process, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu(BTreeMap<String, u64>);

/// CPU of one request, event or second, by process, in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct CpuOfEach(BTreeMap<String, f64>);

/// Resident memory by process, in MiB.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Resident(BTreeMap<String, u64>);

impl Processes {
    /// The components and functions of the stack, and this process as `client`.
    pub(crate) async fn of_stack() -> anyhow::Result<Self> {
        let stack = Stack::open()?;
        let mut all = vec![client()];
        for component in Component::ALL {
            let daemon = stack.daemon(component)?;
            let daemon = daemon.with_context(|| format!("{component} does not run"))?;
            all.push((component.to_string(), daemon.pid()));
        }
        for function in target::functions().await? {
            let pids = function.instances.iter().map(|instance| instance.pid);
            all.extend(pids.map(|pid| (function.name.clone(), pid)));
        }
        Ok(Self(all))
    }

    /// A process and its children, and this process as `client`.
    pub(crate) fn of_parent(name: &str, pid: u32, children: &str) -> anyhow::Result<Self> {
        let mut all = vec![client(), (name.to_owned(), pid)];
        let pids = self::children(pid)?.into_iter();
        all.extend(pids.map(|pid| (children.to_owned(), pid)));
        Ok(Self(all))
    }

    /// CPU used so far; a process that ended counts nothing.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu(self.sum("stat", cpu_ms))
    }

    /// Resident memory now.
    pub(crate) fn resident(&self) -> Resident {
        let kib = self.sum("status", resident_kib);
        Resident(
            kib.into_iter()
                .map(|(name, kib)| (name, kib / 1024))
                .collect(),
        )
    }

    fn sum(&self, file: &str, figure: impl Fn(&str) -> Option<u64>) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for (name, pid) in &self.0 {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            *all.entry(name.clone()).or_default() += figure(&text).unwrap_or_default();
        }
        all
    }
}

/// The processes that a process has started, by any of its threads, and that run.
pub(crate) fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has ended meanwhile has none.
        let listed = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        all.extend(
            listed
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    Ok(all)
}

fn client() -> (String, u32) {
    (CLIENT.to_owned(), std::process::id())
}

impl Resident {
    /// Of one process, in MiB.
    pub(crate) fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// What the runtime and the functions have together, in MiB.
    pub(crate) fn serverless(&self) -> u64 {
        let of_others = |name: &str| {
            name == CLIENT || SERVICES.iter().any(|component| component.name() == name)
        };
        let all = self.0.iter().filter(|(name, _)| !of_others(name));
        all.map(|(_, mib)| mib).sum()
    }
}

impl Cpu {
    /// What was used since `before`, for each of `count` requests, events or seconds.
    pub(crate) fn of_each(&self, before: &Self, count: u64) -> CpuOfEach {
        let used = self.0.iter().map(|(name, after)| {
            let before = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), after.saturating_sub(before))
        });
        #[expect(clippy::cast_precision_loss, reason = "a figure")]
        let each = used.map(|(name, ms)| (name, ms as f64 / count.max(1) as f64));
        CpuOfEach(each.collect())
    }
}

impl CpuOfEach {
    /// Of one process, in milliseconds.
    pub(crate) fn of(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

/// User and system time of `/proc/PID/stat` (`proc_pid_stat(5)`, fields 14 and 15), in milliseconds.
fn cpu_ms(stat: &str) -> Option<u64> {
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The sum leaves this process out.
impl fmt::Display for CpuOfEach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = self.0.iter().filter(|(name, _)| *name != CLIENT);
        let sum: f64 = measured.map(|(_, ms)| ms).sum();
        write!(formatter, "{sum:.3} ms:")?;
        for (name, ms) in self.0.iter().filter(|(_, ms)| **ms >= SHOWN_MS) {
            write!(formatter, "  {name} {ms:.3}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Resident {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MiB:")?;
        for (name, mib) in &self.0 {
            write!(formatter, "  {name} {mib}")?;
        }
        let sum = self.serverless();
        write!(formatter, "; runtime and functions {sum}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let ticks_ms = 1000 / rustix::param::clock_ticks_per_second();
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_ms(stat), Some(200 * ticks_ms));
        assert_eq!(cpu_ms(""), None);
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t  2048 kB\n"), Some(2048));
    }

    #[test]
    fn this_process_uses_memory() {
        let processes = Processes(vec![client()]);
        assert!(processes.resident().0[CLIENT] > 0);
        assert!(processes.cpu().0.contains_key(CLIENT));
    }

    #[test]
    fn runtime_and_functions_are_told_together_without_services_and_client() {
        let names = ["authorize", "runtime", "mariadb", "redis", "kafka", CLIENT];
        let resident = Resident(names.map(|name| (name.to_owned(), 7)).into());
        assert_eq!(resident.serverless(), 14);
    }

    #[test]
    fn use_is_told_for_each_and_a_new_process_counts_from_zero() {
        let cpu = |mariadb| Cpu(BTreeMap::from([("mariadb".to_owned(), mariadb)]));
        assert!((cpu(300).of_each(&cpu(100), 1000).0["mariadb"] - 0.2).abs() < 1e-9);
        assert!((cpu(300).of_each(&Cpu::default(), 1000).0["mariadb"] - 0.3).abs() < 1e-9);
    }
}
