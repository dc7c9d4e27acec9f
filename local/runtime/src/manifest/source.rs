//! The event sources a function may declare.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono_tz::Tz;
use croner::Cron;
use serde_json::{Map, Value};
use toml::Spanned;

use super::members::{Faults, Members};

/// Time zone of a `cron` that names none.
const DEFAULT_TIMEZONE: Tz = chrono_tz::Asia::Seoul;
/// Longest pause of an idle continuous function that names none, in milliseconds.
const DEFAULT_IDLE_MS: u64 = 200;
/// Shortest period of `every`.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// One `[[functions.NAME.schedule]]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schedule {
    /// When it is due.
    pub(crate) timing: Timing,
    /// The event, a JSON object.
    pub(crate) input: Map<String, Value>,
}

/// When a schedule is due.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Timing {
    /// At the times a cron pattern matches in a time zone.
    Cron(Box<Cron>, Tz),
    /// Once in each period, first one period after the start.
    Every(Duration),
}

/// `[functions.NAME.continuous]`: one invocation after the other, as long as there is work.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Continuous {
    /// Functions whose successful answer ends a pause.
    pub(crate) wake_on: Vec<Spanned<String>>,
    /// Longest pause after an idle answer.
    pub(crate) idle: Duration,
}

impl fmt::Display for Timing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron, zone) => write!(formatter, "{cron} {zone}"),
            Self::Every(period) => {
                write!(formatter, "every {}", humantime::format_duration(*period))
            }
        }
    }
}

impl Schedule {
    pub(super) fn read_all(members: &mut Members<'_>, faults: &mut Faults<'_>) -> Vec<Self> {
        let tables = members.take_tables("schedule", faults);
        tables
            .into_iter()
            .filter_map(|table| Self::read(table, faults))
            .collect()
    }

    fn read(mut table: Members<'_>, faults: &mut Faults<'_>) -> Option<Self> {
        let cron = table.take::<Spanned<String>>("cron", faults);
        let every = table.take::<Spanned<String>>("every", faults);
        let timezone = table.take::<Spanned<String>>("timezone", faults);
        let input = table.take("input", faults).unwrap_or_default();
        table.refuse_rest(faults);
        let timing = match (cron, every) {
            (Some(cron), None) => read_cron(&cron, timezone.as_ref(), faults)?,
            (None, Some(every)) => {
                if let Some(timezone) = timezone {
                    faults.add(timezone.span(), "timezone belongs to cron, not to every");
                }
                read_period(&every, faults)?
            }
            _ => {
                faults.add(table.span(), "a schedule needs either cron or every");
                return None;
            }
        };
        Some(Self { timing, input })
    }
}

fn read_cron(
    cron: &Spanned<String>,
    timezone: Option<&Spanned<String>>,
    faults: &mut Faults<'_>,
) -> Option<Timing> {
    let zone = match timezone {
        None => Some(DEFAULT_TIMEZONE),
        Some(name) => Tz::from_str(name.as_ref())
            .map_err(|_| {
                let message = format!("timezone: \"{}\" is no IANA time zone", name.as_ref());
                faults.add(name.span(), message);
            })
            .ok(),
    };
    let pattern = Cron::from_str(cron.as_ref())
        .map_err(|error| faults.add(cron.span(), format!("cron \"{}\": {error}", cron.as_ref())))
        .ok();
    Some(Timing::Cron(Box::new(pattern?), zone?))
}

fn read_period(every: &Spanned<String>, faults: &mut Faults<'_>) -> Option<Timing> {
    match humantime::parse_duration(every.as_ref()) {
        Ok(period) if period >= MIN_PERIOD => Some(Timing::Every(period)),
        Ok(_) => {
            faults.add(every.span(), format!("every: less than {MIN_PERIOD:?}"));
            None
        }
        Err(error) => {
            faults.add(
                every.span(),
                format!("every: \"{}\": {error}", every.as_ref()),
            );
            None
        }
    }
}

impl Continuous {
    pub(super) fn read(members: &mut Members<'_>, faults: &mut Faults<'_>) -> Option<Self> {
        if !members.has("continuous") {
            return None;
        }
        let mut table = members.take_table("continuous", faults);
        let wake_on = table.take("wake_on", faults).unwrap_or_default();
        let idle_ms = table.take("idle_ms", faults).unwrap_or(DEFAULT_IDLE_MS);
        table.refuse_rest(faults);
        Some(Self {
            wake_on,
            idle: Duration::from_millis(idle_ms),
        })
    }
}
