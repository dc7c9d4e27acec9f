//! Every failpoint, and what is done there.

use std::fmt;

/// The places that `failpoint::at!` names.
pub(crate) const POINTS: [&str; 16] = [
    "db.committed",
    "db.worked",
    "guard.admitted",
    "guard.answered",
    "operation.claimed",
    "operation.journals-posted",
    "operation.locked",
    "operation.payments-written",
    "operation.written",
    "outbox.events-written",
    "relay.deleted",
    "relay.locked",
    "relay.read",
    "relay.sent",
    "relay.settled",
    "relay.taken-over",
];

/// The places that an expiry passes too: its changes are written as a command's are.
const EXPIRY: [&str; 5] = [
    "db.committed",
    "db.worked",
    "operation.journals-posted",
    "operation.payments-written",
    "outbox.events-written",
];

/// What a transaction of several commands meets.
const BATCHED: [(&str, Action); 5] = [
    ("operation.payments-written", Action::Abort),
    ("db.worked", Action::Abort),
    ("db.committed", Action::Abort),
    ("operation.payments-written", Action::Error),
    ("db.committed", Action::Error),
];

/// What happens at a place, when a process first reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The process dies.
    Abort,
    /// The connection is lost.
    Error,
    /// Time passes.
    Delay,
}

impl Action {
    const ALL: [Self; 3] = [Self::Abort, Self::Error, Self::Delay];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Error => "error",
            Self::Delay => "delay",
        }
    }
}

/// An action at a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) point: &'static str,
    pub(crate) action: Action,
    /// Only the third transaction meets the action; the two before are delayed, so that commands
    /// gather for it.
    pub(crate) batched: bool,
}

impl Scenario {
    /// Every action at every place, and those that a batch meets.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let scenario = |batched| {
            move |(point, action)| Self {
                point,
                action,
                batched,
            }
        };
        let each = POINTS
            .into_iter()
            .flat_map(|point| Action::ALL.map(|action| (point, action)));
        each.map(scenario(false))
            .chain(BATCHED.into_iter().map(scenario(true)))
    }

    /// The value of `FAILPOINTS`.
    pub(crate) fn setting(self) -> String {
        let gather = if self.batched {
            "2*return(delay)->"
        } else {
            ""
        };
        format!("{}={gather}1*return({})", self.point, self.action.name())
    }

    /// What a process writes when it does something at the place.
    pub(crate) fn trace(self, action: Action) -> String {
        format!("failpoint {} {}", self.point, action.name())
    }

    /// Whether an operation is prepared for it. Beside the relay a refund is not: it is made there,
    /// on a payment whose events all wait.
    pub(crate) fn concerns(self, function: &str) -> bool {
        match function {
            "expire" => self.in_relay() || EXPIRY.contains(&self.point),
            "refund" => !self.in_relay(),
            _ => true,
        }
    }

    /// Whether an event was sent and not settled: it must be sent again.
    pub(crate) fn sends_again(self) -> bool {
        ["relay.sent", "relay.locked", "relay.deleted"].contains(&self.point)
            && self.action != Action::Delay
    }

    /// Whether the place is in the relay, not in the functions that callers wait for.
    pub(crate) fn in_relay(self) -> bool {
        self.point.starts_with("relay.")
    }

    /// Whether callers are answered as if nothing had happened.
    pub(crate) fn is_hidden(self) -> bool {
        let told = self.point.starts_with("guard.");
        self.in_relay()
            || match self.action {
                Action::Abort => false,
                Action::Error => !told,
                Action::Delay => true,
            }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.point, self.action.name())?;
        if self.batched {
            formatter.write_str(" batched")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn named_in(directory: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                named_in(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let found = text.split("failpoint::at!(\"").skip(1);
                names.extend(found.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn every_place_in_the_source_is_tried() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut names = BTreeSet::new();
        named_in(&root.join("shared"), &mut names);
        named_in(&root.join("functions"), &mut names);
        let points: BTreeSet<String> = POINTS.map(str::to_owned).into();
        assert_eq!(names, points);
    }
}
