//! Which runtime something outside of it belongs to.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// A runtime, unlike any other that this machine has or had; as text, `NAMESPACE-PID-START`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Its PID namespace: what a process id means.
    namespace: u64,
    pid: u32,
    /// When it was started, in clock ticks since the machine was.
    started: u64,
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// If `/proc` does not describe it.
    pub(super) fn this() -> io::Result<Self> {
        let pid = std::process::id();
        Ok(Self {
            namespace: namespace()?,
            pid,
            started: started(pid)?,
        })
    }

    /// The runtime that `text` names.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').map(|number| number.parse::<u64>().ok());
        let owner = Self {
            namespace: numbers.next()??,
            pid: numbers.next()??.try_into().ok()?,
            started: numbers.next()??,
        };
        numbers.next().is_none().then_some(owner)
    }

    /// Whether it certainly does not run any more.
    pub(super) fn is_gone(self) -> bool {
        let ours = namespace().is_ok_and(|namespace| namespace == self.namespace);
        ours && started(self.pid).ok() != Some(self.started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            pid,
            started,
        } = self;
        write!(formatter, "{namespace}-{pid}-{started}")
    }
}

fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

fn started(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, and may hold anything.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let started = fields.and_then(|fields| fields.split(' ').nth(19)?.parse().ok());
    started.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_others_with_its_id() {
        let this = Owner::this().expect("/proc");
        assert_eq!(Owner::parse(&this.to_string()), Some(this));
        assert!(!this.is_gone());
        let before = Owner {
            started: this.started - 1,
            ..this
        };
        assert!(before.is_gone());
        let elsewhere = Owner {
            namespace: this.namespace + 1,
            ..before
        };
        assert!(!elsewhere.is_gone(), "it cannot be known");
    }

    #[test]
    fn what_is_no_owner_is_not_taken_for_one() {
        for text in ["", "1-2", "1-2-3-4", "1--3", "a-b-c", "1-99999999999-3"] {
            assert_eq!(Owner::parse(text), None, "{text}");
        }
    }
}
