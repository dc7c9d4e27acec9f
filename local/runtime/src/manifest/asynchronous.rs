//! `[functions.NAME.async]`: what happens to the events of asynchronous invocations.

use std::time::Duration;

use toml::Spanned;

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
    /// The function that gets the record of an event that was answered.
    pub(crate) on_success: Option<Spanned<String>>,
    /// The function that gets the record of an event that was given up.
    pub(crate) on_failure: Option<Spanned<String>>,
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
    pub(super) fn read(members: &mut Members<'_>, faults: &mut Faults<'_>) -> Self {
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
            on_success: read_destination(&mut table, "on_success", faults),
            on_failure: read_destination(&mut table, "on_failure", faults),
        };
        table.refuse_rest(faults);
        read
    }

    /// The functions it names.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.on_success.iter().chain(&self.on_failure)
    }
}

/// The name in `function://NAME`.
fn read_destination(
    table: &mut Members<'_>,
    key: &str,
    faults: &mut Faults<'_>,
) -> Option<Spanned<String>> {
    let text: Spanned<String> = table.take(key, faults)?;
    let span = text.span();
    match text.as_ref().split_once("://") {
        Some(("function", name)) => Some(Spanned::new(span, name.to_owned())),
        Some(("kafka", _)) => {
            faults.add(span, format!("{key}: kafka:// is not served yet"));
            None
        }
        _ => {
            faults.add(span, format!("{key} must be \"function://NAME\""));
            None
        }
    }
}
