//! Which payments are settled together, and when they are paid out.

use std::str::FromStr;

use chrono::{Datelike, Days, Months, NaiveDate, Weekday};

use crate::{UnknownYear, business_days_after};

/// How often a merchant is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cycle {
    /// Each day by itself.
    Daily,
    /// Monday to Sunday.
    Weekly,
    /// The first to the last day of a month.
    Monthly,
}

/// Days that are settled together, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    /// The first day.
    pub from: NaiveDate,
    /// The last one: the day that the payments count as sold on.
    pub to: NaiveDate,
}

/// Not a cycle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cycle of settlement")]
pub struct UnknownCycle(String);

impl FromStr for Cycle {
    type Err = UnknownCycle;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = [Self::Daily, Self::Weekly, Self::Monthly];
        known
            .into_iter()
            .find(|cycle| cycle.name() == name)
            .ok_or_else(|| UnknownCycle(name.to_owned()))
    }
}

impl Cycle {
    /// As the database and JSON have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Daily => "DAILY",
            Self::Weekly => "WEEKLY",
            Self::Monthly => "MONTHLY",
        }
    }

    /// The period that `date` is in; `None` at the end of the calendar.
    #[must_use]
    pub fn period(self, date: NaiveDate) -> Option<Period> {
        let (from, to) = match self {
            Self::Daily => (date, date),
            Self::Weekly => {
                let week = date.week(Weekday::Mon);
                (week.checked_first_day()?, week.checked_last_day()?)
            }
            Self::Monthly => {
                let first = date.with_day(1)?;
                let next = first.checked_add_months(Months::new(1))?;
                (first, next.checked_sub_days(Days::new(1))?)
            }
        };
        Some(Period { from, to })
    }
}

impl Period {
    /// When it is paid out: `business_days` after its last day.
    ///
    /// # Errors
    /// [`UnknownYear`].
    pub fn paid_out(self, business_days: u32) -> Result<NaiveDate, UnknownYear> {
        business_days_after(self.to, business_days)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn period(cycle: Cycle, day: &str) -> (String, String) {
        let Period { from, to } = cycle.period(date(day)).unwrap();
        (from.to_string(), to.to_string())
    }

    #[test]
    fn payments_are_sold_on_their_day_on_sunday_or_on_the_last_of_the_month() {
        let days = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let day = "2024-02-07";
        assert_eq!(period(Cycle::Daily, day), days(day, day));
        assert_eq!(period(Cycle::Weekly, day), days("2024-02-05", "2024-02-11"));
        assert_eq!(
            period(Cycle::Monthly, day),
            days("2024-02-01", "2024-02-29")
        );
    }

    #[test]
    fn week_sold_on_a_sunday_is_paid_out_as_a_statement_of_2025_says() {
        let week = Cycle::Weekly.period(date("2025-02-05")).unwrap();
        assert_eq!(week.to, date("2025-02-09"));
        assert_eq!(week.paid_out(4), Ok(date("2025-02-13")));
    }

    proptest! {
        #[test]
        fn periods_follow_each_other_without_gap_or_overlap(day in 0_u64..2_000) {
            let day = date("2022-01-01") + Days::new(day);
            for cycle in [Cycle::Daily, Cycle::Weekly, Cycle::Monthly] {
                let Period { from, to } = cycle.period(day).unwrap();
                prop_assert!(from <= day && day <= to);
                prop_assert_eq!(cycle.period(from), cycle.period(to));
                let next = cycle.period(to + Days::new(1)).unwrap();
                prop_assert_eq!(next.from, to + Days::new(1));
            }
        }
    }
}
