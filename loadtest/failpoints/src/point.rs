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

    fn name(self) -> &'static str {
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
}

impl Scenario {
    /// Every action at every place.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        POINTS
            .into_iter()
            .flat_map(|point| Action::ALL.map(|action| Self { point, action }))
    }

    /// The value of `FAILPOINTS`.
    pub(crate) fn setting(self) -> String {
        format!("{}=1*return({})", self.point, self.action.name())
    }

    /// What a process writes when it reaches the place.
    pub(crate) fn trace(self) -> String {
        format!("failpoint {self}")
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
        write!(formatter, "{} {}", self.point, self.action.name())
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
