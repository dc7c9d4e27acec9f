//! `[functions.NAME.async]`: what happens to the events of asynchronous invocations.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::kafka::is_topic;
use super::members::{Faults, Members};

/// Most retries, as on AWS.
const RETRIES_MAX: u32 = 2;
/// Shortest and longest age of an event, as on AWS.
const AGE_S_MIN: u64 = 60;
const AGE_S_MAX: u64 = 21_600;
/// Longest pause before the first retry.
const RETRY_S_MAX: u64 = 3600;
/// Most events that may be asked for.
const QUEUE_MAX_MAX: usize = 1_000_000;

const DEFAULT_RETRY_S: u64 = 60;
const DEFAULT_QUEUE_MAX: usize = 100_000;

/// What the name of a topic follows; no name of a function begins like this.
const TOPIC: &str = "kafka://";

/// Who gets the record of an event. As a text on disk it is the name of a function, or `kafka://TOPIC`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum Destination {
    /// The function of that name.
    Function(String),
    /// The topic of that name.
    Topic(String),
}

impl From<String> for Destination {
    fn from(text: String) -> Self {
        match text.strip_prefix(TOPIC) {
            Some(topic) => Self::Topic(topic.to_owned()),
            None => Self::Function(text),
        }
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        match destination {
            Destination::Function(name) => name,
            Destination::Topic(topic) => format!("{TOPIC}{topic}"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(name) => write!(formatter, "function://{name}"),
            Self::Topic(topic) => write!(formatter, "{TOPIC}{topic}"),
        }
    }
}

/// How events are run, and who is told how that went.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asynchronous {
    /// How often one runs again after a failure.
    pub(crate) max_retries: u32,
    /// Oldest age of an event that runs.
    pub(crate) max_age: Duration,
    /// Pause before the first retry; it doubles for the second.
    pub(crate) retry: Duration,
    /// Most events that are not over.
    pub(crate) queue_max: usize,
    /// Who gets the record of an event that was answered.
    pub(crate) on_success: Option<Spanned<Destination>>,
    /// Who gets the record of an event that was given up.
    pub(crate) on_failure: Option<Spanned<Destination>>,
}

impl Default for Asynchronous {
    fn default() -> Self {
        Self {
            max_retries: RETRIES_MAX,
            max_age: Duration::from_secs(AGE_S_MAX),
            retry: Duration::from_secs(DEFAULT_RETRY_S),
            queue_max: DEFAULT_QUEUE_MAX,
            on_success: None,
            on_failure: None,
        }
    }
}

impl Asynchronous {
    /// Reads the table; its topics are in `cluster`.
    pub(super) fn read(
        cluster: Option<&str>,
        members: &mut Members<'_>,
        faults: &mut Faults<'_>,
    ) -> Self {
        let mut table = members.take_table("async", faults);
        let max_retries = table.take_number("max_retries", 0..=RETRIES_MAX, faults);
        let max_age_s = table.take_number("max_age_s", AGE_S_MIN..=AGE_S_MAX, faults);
        let retry_s = table.take_number("retry_s", 1..=RETRY_S_MAX, faults);
        let queue_max = table.take_number("queue_max", 0..=QUEUE_MAX_MAX, faults);
        let default = Self::default();
        let read = Self {
            max_retries: max_retries.unwrap_or(default.max_retries),
            max_age: max_age_s.map_or(default.max_age, Duration::from_secs),
            retry: retry_s.map_or(default.retry, Duration::from_secs),
            queue_max: queue_max.unwrap_or(default.queue_max),
            on_success: read_destination("on_success", cluster, &mut table, faults),
            on_failure: read_destination("on_failure", cluster, &mut table, faults),
        };
        table.refuse_rest(faults);
        read
    }

    /// The functions it names.
    pub(crate) fn functions(&self) -> impl Iterator<Item = Spanned<&str>> {
        self.destinations().filter_map(|it| match it.as_ref() {
            Destination::Function(name) => Some(Spanned::new(it.span(), name.as_str())),
            Destination::Topic(_) => None,
        })
    }

    /// Most records that may follow an event, one after the other, given that of a function.
    pub(crate) fn records_after(&self, mut of_function: impl FnMut(&str) -> usize) -> usize {
        let after = self.destinations().map(|it| match it.as_ref() {
            Destination::Function(name) => 1 + of_function(name),
            Destination::Topic(_) => 1,
        });
        after.max().unwrap_or_default()
    }

    fn destinations(&self) -> impl Iterator<Item = &Spanned<Destination>> {
        self.on_success.iter().chain(&self.on_failure)
    }
}

/// The destination in `function://NAME` or `kafka://TOPIC`.
fn read_destination(
    key: &str,
    cluster: Option<&str>,
    table: &mut Members<'_>,
    faults: &mut Faults<'_>,
) -> Option<Spanned<Destination>> {
    let text: Spanned<String> = table.take(key, faults)?;
    let span = text.span();
    let fault = match text.as_ref().split_once("://") {
        Some(("function", name)) => {
            return Some(Spanned::new(span, Destination::Function(name.to_owned())));
        }
        Some(("kafka", topic)) if !is_topic(topic) => {
            format!("{key}: \"{topic}\" is no name of a topic")
        }
        Some(("kafka", _)) if cluster.is_none() => format!("{key} needs the table [kafka]"),
        Some(("kafka", topic)) => {
            return Some(Spanned::new(span, Destination::Topic(topic.to_owned())));
        }
        _ => format!("{key} must be \"function://NAME\" or \"kafka://TOPIC\""),
    };
    faults.add(span, fault);
    None
}
