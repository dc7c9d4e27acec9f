use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Violations of one check that are told in full.
pub const EXAMPLES_MAX: usize = 20;

/// What an audit found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order they were carried out.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// What it looked at.
    pub counted: BTreeMap<&'static str, u64>,
    /// How often it did not hold.
    pub violations: u64,
    /// The first of them: what, and the difference.
    pub examples: Vec<String>,
}

impl Report {
    /// Whether every check holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.violations == 0)
    }
}

impl Check {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            counted: BTreeMap::new(),
            violations: 0,
            examples: Vec::new(),
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counted.entry(what).or_default() += 1;
    }

    pub(crate) fn violated(&mut self, what: impl Into<String>) {
        self.violations += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what.into());
        }
    }

    pub(crate) fn ensure(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(what());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let verdict = if check.violations == 0 {
                "ok"
            } else {
                "VIOLATED"
            };
            write!(formatter, "{:<15} {verdict}", check.name)?;
            for (what, count) in &check.counted {
                write!(formatter, "  {count} {what}")?;
            }
            writeln!(formatter)?;
            for example in &check.examples {
                writeln!(formatter, "    {example}")?;
            }
            let untold = check.violations.saturating_sub(check.examples.len() as u64);
            if untold > 0 {
                writeln!(formatter, "    and {untold} more")?;
            }
        }
        Ok(())
    }
}
