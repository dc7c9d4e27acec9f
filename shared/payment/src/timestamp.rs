use std::fmt;

use chrono::{DateTime, Days, SecondsFormat, SubsecRound, Utc};
use serde::{Serialize, Serializer};

/// A moment in UTC with milliseconds, as the database keeps it and JSON shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// The moment of the call.
    #[must_use]
    pub fn now() -> Self {
        Utc::now().into()
    }

    /// The same time of day, `days` days on; the end of the calendar where there is no such day.
    #[must_use]
    pub fn plus_days(self, days: u32) -> Self {
        let later = self.0.checked_add_days(Days::new(u64::from(days)));
        Self(later.unwrap_or(DateTime::<Utc>::MAX_UTC))
    }

    /// The same time of day, `days` days ago; the start of the calendar where there is no such day.
    #[must_use]
    pub fn minus_days(self, days: u32) -> Self {
        let earlier = self.0.checked_sub_days(Days::new(u64::from(days)));
        Self(earlier.unwrap_or(DateTime::<Utc>::MIN_UTC))
    }

    /// For the database.
    #[must_use]
    pub fn utc(self) -> DateTime<Utc> {
        self.0
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(moment: DateTime<Utc>) -> Self {
        Self(moment.trunc_subsecs(3))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_utc_with_milliseconds() {
        let moment: DateTime<Utc> = "2026-11-23T13:00:00.123456+09:00".parse().unwrap();
        assert_eq!(
            Timestamp::from(moment).to_string(),
            "2026-11-23T04:00:00.123Z"
        );
    }
}
