use std::time::Duration;

use fastrand::Rng;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use stack::Component;

use super::Size;

/// The functions that faults meet.
pub const FUNCTIONS: [&str; 7] = [
    "authorize",
    "capture",
    "refund",
    "void",
    "payment-query",
    "expire",
    "outbox-relay",
];

/// One fault with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Number in the plan.
    pub fault: u32,
    /// When it begins.
    pub at_ms: u64,
    /// How long it lasts: of a kill, how long the part stays away before it is started again.
    pub lasts_ms: u64,
    /// What happens.
    pub kind: Kind,
}

/// What happens to which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// SIGKILL to a function's process.
    KillFunction(&'static str),
    /// SIGSTOP to a function's process, SIGCONT afterwards.
    PauseFunction(&'static str),
    /// SIGKILL to a daemon.
    Kill(#[serde(serialize_with = "name")] Component),
    /// SIGSTOP to a daemon, SIGCONT afterwards.
    Pause(#[serde(serialize_with = "name")] Component),
    /// Redis forgets everything.
    FlushRedis,
    /// Connections end, and new ones meanwhile too.
    Cut(Link),
    /// No byte passes.
    Stall(Link),
    /// Every write waits.
    Slow(Link, u64),
    /// Something happens to the next commits, at most this many.
    Commit(Commit, u32),
    /// The file system of the database has no space left.
    FillDisk,
    /// The file system of the database takes no write.
    StallDisk,
    /// The file system of the database takes no write, and then the database is killed: what it had
    /// not written yet is lost.
    StallDiskAndKill,
}

/// A connection that goes through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Link {
    /// Functions and `MariaDB`.
    Database,
    /// Functions and Redis.
    Redis,
    /// The relay and Kafka.
    Kafka,
    /// Clients and the runtime.
    Http,
}

impl Link {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Database, Self::Redis, Self::Kafka, Self::Http];
}

/// What happens to a COMMIT on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Commit {
    /// The connection ends before the server has it.
    CutBefore,
    /// The server gets it, and the connection ends at once.
    CutAfter,
    /// The connection ends when the server has answered.
    LoseAnswer,
    /// The answer waits for as long as the fault lasts.
    StallAnswer,
}

/// One of each; a plan deals them again and again in a new order, and draws what they leave open.
pub const DECK: [Kind; 32] = [
    Kind::KillFunction("authorize"),
    Kind::KillFunction("capture"),
    Kind::KillFunction("refund"),
    Kind::KillFunction("void"),
    Kind::KillFunction("payment-query"),
    Kind::KillFunction("expire"),
    Kind::KillFunction("outbox-relay"),
    Kind::PauseFunction(""),
    Kind::PauseFunction(""),
    Kind::PauseFunction("outbox-relay"),
    Kind::Kill(Component::Runtime),
    Kind::Kill(Component::Mariadb),
    Kind::Kill(Component::Redis),
    Kind::Kill(Component::Kafka),
    Kind::Pause(Component::Runtime),
    Kind::Pause(Component::Mariadb),
    Kind::Pause(Component::Redis),
    Kind::Pause(Component::Kafka),
    Kind::FlushRedis,
    Kind::Cut(Link::Database),
    Kind::Stall(Link::Database),
    Kind::Slow(Link::Database, 0),
    Kind::Cut(Link::Http),
    Kind::Stall(Link::Redis),
    Kind::Cut(Link::Kafka),
    Kind::Commit(Commit::CutBefore, 0),
    Kind::Commit(Commit::CutAfter, 0),
    Kind::Commit(Commit::LoseAnswer, 0),
    Kind::Commit(Commit::StallAnswer, 0),
    Kind::FillDisk,
    Kind::StallDisk,
    Kind::StallDiskAndKill,
];

/// Faults in slots of `slot_ms`, the first at `begins_ms`. Two that meet the same part never
/// overlap, so that each can be undone by itself.
pub(super) fn schedule(rng: &mut Rng, size: Size, begins_ms: u64, slot_ms: u64) -> Vec<Fault> {
    let deck = match size.only {
        Some(card) => vec![card],
        None => DECK.to_vec(),
    };
    let mut left: Vec<Kind> = Vec::new();
    let mut faults: Vec<Fault> = Vec::with_capacity(size.faults);
    for number in 0..u32::try_from(size.faults).unwrap_or(u32::MAX) {
        if left.is_empty() {
            left.clone_from(&deck);
            rng.shuffle(&mut left);
        }
        let slot = begins_ms + u64::from(number) * slot_ms + rng.u64(..slot_ms / 2);
        // The card whose part is free first.
        let cards = left.iter().enumerate();
        let first = cards.min_by_key(|(_, kind)| free(&faults, **kind).max(slot));
        let kind = drawn(left.swap_remove(first.map_or(0, |(place, _)| place)), rng);
        faults.push(Fault {
            fault: number,
            at_ms: free(&faults, kind).max(slot),
            lasts_ms: lasts_ms(kind, rng),
            kind,
        });
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// From when on no fault meets the parts that `kind` meets.
fn free(faults: &[Fault], kind: Kind) -> u64 {
    let ends = faults.iter().map(|fault| fault.frees(kind));
    ends.max().unwrap_or(0)
}

/// The card with what it leaves open.
fn drawn(card: Kind, rng: &mut Rng) -> Kind {
    let mut one_of = |links: &[Link]| links[rng.usize(..links.len())];
    match card {
        Kind::Cut(Link::Kafka) => Kind::Cut(one_of(&[Link::Kafka, Link::Redis])),
        Kind::Stall(Link::Redis) => Kind::Stall(one_of(&[Link::Redis, Link::Kafka, Link::Http])),
        Kind::Slow(..) => Kind::Slow(one_of(&Link::ALL), rng.u64(5..60)),
        Kind::PauseFunction("") => Kind::PauseFunction(FUNCTIONS[rng.usize(..FUNCTIONS.len())]),
        Kind::Commit(how @ Commit::StallAnswer, _) => Kind::Commit(how, rng.u32(1..=4)),
        Kind::Commit(how, _) => Kind::Commit(how, rng.u32(3..=20)),
        whole => whole,
    }
}

fn lasts_ms(kind: Kind, rng: &mut Rng) -> u64 {
    match kind {
        Kind::KillFunction(_) | Kind::FlushRedis => 0,
        Kind::Kill(_) => rng.u64(..1_500),
        Kind::PauseFunction(_) | Kind::Pause(_) | Kind::Slow(..) => rng.u64(1_000..8_000),
        Kind::Cut(_) => rng.u64(..2_000),
        Kind::Stall(_) | Kind::Commit(..) => rng.u64(1_000..6_000),
        Kind::FillDisk => rng.u64(3_000..8_000),
        Kind::StallDisk | Kind::StallDiskAndKill => rng.u64(500..4_000),
    }
}

/// A part of the system that only one fault at a time may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Function(&'static str),
    AnyFunction,
    Daemon(Component),
    Link(Link),
}

impl Part {
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::AnyFunction, Self::Function(_)) | (Self::Function(_), Self::AnyFunction) => true,
            (one, other) => one == other,
        }
    }
}

impl Kind {
    /// What `--only` calls it: `fillDisk`, `kill:mariadb`.
    #[must_use]
    pub fn name(self) -> String {
        let Value::Object(members) = json!(self) else {
            return json!(self).as_str().unwrap_or_default().to_owned();
        };
        let texts = members
            .iter()
            .map(|(kind, of)| match of.as_str().or(of[0].as_str()) {
                Some(part) => format!("{kind}:{part}"),
                None => kind.clone(),
            });
        texts.collect()
    }

    fn parts(self) -> Vec<Part> {
        match self {
            Self::KillFunction(name) | Self::PauseFunction(name) if name.is_empty() => {
                vec![Part::AnyFunction]
            }
            Self::KillFunction(name) | Self::PauseFunction(name) => vec![Part::Function(name)],
            Self::Kill(Component::Runtime) | Self::Pause(Component::Runtime) => {
                vec![Part::Daemon(Component::Runtime), Part::AnyFunction]
            }
            // A broker that starts is reached through its link.
            Self::Kill(Component::Kafka) | Self::Pause(Component::Kafka) => {
                vec![Part::Daemon(Component::Kafka), Part::Link(Link::Kafka)]
            }
            Self::Kill(component) | Self::Pause(component) => vec![Part::Daemon(component)],
            Self::FlushRedis => vec![Part::Daemon(Component::Redis)],
            Self::Cut(link) | Self::Stall(link) | Self::Slow(link, _) => vec![Part::Link(link)],
            Self::Commit(..) => vec![Part::Link(Link::Database)],
            Self::FillDisk | Self::StallDisk | Self::StallDiskAndKill => {
                vec![Part::Daemon(Component::Mariadb)]
            }
        }
    }

    /// How long the part may need to be itself again.
    fn recovers_ms(self) -> u64 {
        match self {
            Self::Kill(Component::Kafka) => 12_000,
            Self::Kill(_) | Self::FillDisk | Self::StallDiskAndKill => 5_000,
            _ => 1_000,
        }
    }
}

impl Fault {
    /// How long it lasts.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        Duration::from_millis(self.lasts_ms)
    }

    /// From when on the parts that `kind` meets are free of this fault.
    fn frees(&self, kind: Kind) -> u64 {
        let (mine, others) = (self.kind.parts(), kind.parts());
        let shared = mine
            .iter()
            .any(|part| others.iter().any(|other| part.meets(*other)));
        if shared {
            self.at_ms + self.lasts_ms + self.kind.recovers_ms()
        } else {
            0
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn name<S: Serializer>(component: &Component, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(component.name())
}
