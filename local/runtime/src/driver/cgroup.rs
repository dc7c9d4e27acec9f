//! Limits of memory and of processes, by control groups of either version.
//!
//! Source: Linux kernel documentation, "Control Group v2", and "Control Groups version 1".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::PIDS_MAX;

/// Where the kernel shows control groups.
const ROOT: &str = "/sys/fs/cgroup";
/// The runtimes' groups, where a runtime has none of its own.
const PARENT: &str = "local-lambda";
/// Bytes in the unit of `memory_mb`.
const MIB: u64 = 1024 * 1024;

/// Makes groups, below one that belongs to this runtime.
pub(super) struct Cgroups {
    /// The folders of that one: version 1 has one for memory and one for processes.
    folders: Vec<PathBuf>,
}

/// The group of one instance.
pub(super) struct Cgroup {
    folders: Vec<PathBuf>,
}

impl Cgroups {
    /// Takes a group for this runtime.
    ///
    /// # Errors
    /// If control groups are not writable here, or do not limit memory.
    pub(super) fn open() -> anyhow::Result<Self> {
        let root = Path::new(ROOT);
        let version_2 = root.join("cgroup.controllers").is_file();
        let folders = if version_2 {
            let base = own_group(root).unwrap_or_else(|| root.to_owned());
            vec![delegated(&base, root)?]
        } else {
            ["memory", "pids"]
                .map(|controller| root.join(controller))
                .into()
        };
        let own = |folder: PathBuf| -> anyhow::Result<PathBuf> {
            let parent = folder.join(PARENT);
            make(&parent)?;
            sweep(&parent);
            let own = parent.join(std::process::id().to_string());
            make(&own)?;
            Ok(own)
        };
        let folders = folders.into_iter().map(own).collect::<Result<_, _>>()?;
        Ok(Self { folders })
    }

    /// Makes the group of the instance `name`, which may use `memory_mb` MiB and no swap.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn create(&self, name: &str, memory_mb: u32) -> anyhow::Result<Cgroup> {
        let folders = self.folders.iter().map(|folder| folder.join(name));
        let mut group = Cgroup {
            folders: Vec::new(),
        };
        for folder in folders {
            fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            // Only now is it this group's, to be ended with it.
            group.folders.push(folder);
        }
        let bytes = (u64::from(memory_mb) * MIB).to_string();
        // Version 2, then version 1: whichever the kernel has. Not every kernel counts swap.
        group.set("memory.max", &bytes)?;
        group.set("memory.swap.max", "0")?;
        group.set("memory.oom.group", "1")?;
        group.set("memory.limit_in_bytes", &bytes)?;
        group.set("memory.memsw.limit_in_bytes", &bytes)?;
        group.set("pids.max", &PIDS_MAX.to_string())?;
        Ok(group)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.folders.iter().for_each(|folder| remove(folder));
    }
}

impl Cgroup {
    /// Where a process joins it: see [`join`].
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Whether the kernel has ended a process of it for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let kills = |file: &str| {
            let texts = self.folders.iter().map(|folder| folder.join(file));
            let texts = texts.filter_map(|file| fs::read_to_string(file).ok());
            texts.map(|text| oom_kills(&text)).sum::<u64>()
        };
        kills("memory.events") + kills("memory.oom_control") > 0
    }

    fn set(&self, file: &str, value: &str) -> anyhow::Result<()> {
        for file in self.folders.iter().map(|folder| folder.join(file)) {
            if file.is_file() {
                fs::write(&file, value)
                    .with_context(|| format!("cannot write {value} to {}", file.display()))?;
            }
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    /// Ends what is left in it, if the kernel can; a group that is still used goes with the runtime's.
    fn drop(&mut self) {
        for folder in &self.folders {
            let _version_1 = fs::write(folder.join("cgroup.kill"), "1");
            let _still_used = fs::remove_dir(folder);
        }
    }
}

/// Makes this process a member of the group at `folder`.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn join(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.procs"), "0")
}

/// The group that this process has for itself, as a unit of systemd with `Delegate=` has.
fn own_group(root: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = root.join(path);
    let members = fs::read_to_string(group.join("cgroup.procs")).ok()?;
    (!path.is_empty() && members.trim() == std::process::id().to_string()).then_some(group)
}

/// Lets groups below `base` have limits. A group with members cannot, unless it is the root, so this
/// process moves into a group of its own.
fn delegated(base: &Path, root: &Path) -> anyhow::Result<PathBuf> {
    if base != root {
        let runtime = base.join("runtime");
        make(&runtime)?;
        join(&runtime).context("cannot move the runtime into a group of its own")?;
    }
    enable(base)?;
    Ok(base.to_owned())
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if folder.join("cgroup.controllers").is_file() && !folder.ends_with("runtime") {
        enable(folder)?;
    }
    Ok(())
}

fn enable(folder: &Path) -> anyhow::Result<()> {
    let file = folder.join("cgroup.subtree_control");
    fs::write(&file, "+memory +pids").with_context(|| format!("cannot write {}", file.display()))
}

/// Removes the groups of runtimes that are gone.
fn sweep(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for group in entries.map(|entry| entry.path()).filter(|it| it.is_dir()) {
        let pid = group.file_name().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            remove(&group);
        }
    }
}

/// Removes a group and those below, as far as nothing is in them.
fn remove(group: &Path) {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    for folder in below.map(|entry| entry.path()).filter(|it| it.is_dir()) {
        let _still_used = fs::remove_dir(folder);
    }
    let _still_used = fs::remove_dir(group);
}

/// The count in the line `oom_kill N`.
fn oom_kills(text: &str) -> u64 {
    let lines = text.lines();
    let count = lines.filter_map(|line| line.strip_prefix("oom_kill "));
    count.filter_map(|count| count.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files the kernel would make in a new group.
    fn group(files: &[&str]) -> (tempfile::TempDir, Cgroup) {
        let folder = tempfile::tempdir().expect("a folder");
        for file in files {
            fs::write(folder.path().join(file), "max").expect("a file");
        }
        let folders = vec![folder.path().to_owned()];
        (folder, Cgroup { folders })
    }

    #[test]
    fn kills_for_want_of_memory_are_seen_in_either_version() {
        for (file, text) in [
            (
                "memory.events",
                "low 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n",
            ),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
        ] {
            let (folder, group) = group(&[]);
            assert!(!group.ran_out_of_memory());
            fs::write(folder.path().join(file), text).expect("a file");
            assert!(group.ran_out_of_memory(), "{file}");
        }
        assert_eq!(oom_kills("oom 3\noom_kill 0\noom_group_kill 1\n"), 0);
    }

    #[test]
    fn only_limits_that_the_kernel_knows_are_written() {
        let (folder, group) = group(&["memory.max"]);
        group.set("memory.max", "7").expect("written");
        group.set("memory.swap.max", "0").expect("left out");
        let read = |file: &str| fs::read_to_string(folder.path().join(file));
        assert_eq!(read("memory.max").expect("there"), "7");
        assert!(read("memory.swap.max").is_err());
    }
}
