//! What one seed makes: the whole schedule of operations and faults, before anything runs.

mod fault;
mod life;
mod operation;

use std::io::{self, Write};

use fastrand::Rng;
use serde::Serialize;
use serde_json::json;

pub use fault::{Commit, DECK, FUNCTIONS, Fault, Kind, Link};
pub use operation::{Action, Caller, Operation, PERSONAL_DATA};

/// Time before the first fault; goodput afterwards is held against that of this time.
pub const QUIET_MS: u64 = 12_000;
/// Time that each fault adds to the schedule.
const PER_FAULT_MS: u64 = 2_000;
/// Time between the last fault's slot and the end, in which everything heals.
const CALM_MS: u64 = 28_000;
/// The last part of the schedule, in which goodput must be back.
pub const WINDOW_MS: u64 = 8_000;

/// How much a plan holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Operations at least; the last payment's life is planned to its end.
    pub operations: usize,
    /// Faults.
    pub faults: usize,
    /// The card of the deck that every fault is, instead of the whole deck.
    pub only: Option<Kind>,
}

/// The schedule of one seed; times are milliseconds since the run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it was made of.
    pub seed: u64,
    /// What it was asked to hold.
    pub size: Size,
    /// When the last operation is due.
    pub ends_ms: u64,
    /// In the order of their times.
    pub operations: Vec<Operation>,
    /// In the order of their times.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// The plan of a seed: the same for the same arguments.
    #[must_use]
    pub fn new(seed: u64, size: Size) -> Self {
        let mut rng = Rng::with_seed(seed);
        let slots = u64::try_from(size.faults).unwrap_or(u64::MAX);
        let faults_ms = QUIET_MS.saturating_add(slots.saturating_mul(PER_FAULT_MS));
        let faults = fault::schedule(&mut rng.fork(), size, QUIET_MS, PER_FAULT_MS);
        let last_ms = faults.last().map_or(0, |fault| fault.at_ms);
        let ends_ms = faults_ms.max(last_ms).saturating_add(CALM_MS);
        let operations = life::schedule(&mut rng, size.operations, ends_ms);
        Self {
            seed,
            size,
            ends_ms,
            operations,
            faults,
        }
    }

    /// How many payments it is about.
    #[must_use]
    pub fn payments(&self) -> usize {
        let last = self.operations.iter().map(|operation| operation.payment);
        last.max().map_or(0, |last| last as usize + 1)
    }

    /// Writes it as JSON lines: a head, then operations and faults by time.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let head = json!({ "seed": self.seed, "size": self.size, "endsMs": self.ends_ms });
        writeln!(out, "{head}")?;
        let mut faults = self.faults.iter().peekable();
        for operation in &self.operations {
            while let Some(fault) = faults.next_if(|fault| fault.at_ms <= operation.at_ms) {
                writeln!(out, "{}", json!(fault))?;
            }
            writeln!(out, "{}", json!(operation))?;
        }
        faults.try_for_each(|fault| writeln!(out, "{}", json!(fault)))
    }
}

#[cfg(test)]
mod tests;
