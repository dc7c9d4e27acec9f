//! Business days of Korea: Monday to Friday, without public holidays.
//!
//! Source: `holidays.csv`, the days of the Regulations on Holidays of Public Agencies (관공서의 공휴일에
//! 관한 규정) with substitute and temporary holidays and elections, of the [`YEARS`].

use std::{collections::BTreeSet, ops::RangeInclusive, sync::LazyLock};

use chrono::{Datelike, Days, NaiveDate, Weekday};

/// The years whose holidays are known.
pub const YEARS: RangeInclusive<i32> = 2022..=2027;

static HOLIDAYS: LazyLock<BTreeSet<NaiveDate>> = LazyLock::new(|| {
    let lines = include_str!("holidays.csv").lines();
    let dates = lines.filter_map(|line| line.split(',').next()?.parse().ok());
    dates.collect()
});

/// The holidays of a year are not known, so that business days in it cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the public holidays of {0} are not known, only those of {from} to {to}", from = YEARS.start(), to = YEARS.end())]
pub struct UnknownYear(pub i32);

/// Whether banks work on `date`.
///
/// # Errors
/// [`UnknownYear`].
pub fn is_business_day(date: NaiveDate) -> Result<bool, UnknownYear> {
    if !YEARS.contains(&date.year()) {
        return Err(UnknownYear(date.year()));
    }
    let weekend = matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
    Ok(!weekend && !HOLIDAYS.contains(&date))
}

/// The `count`th business day after `date`, which need not be one: T+N.
///
/// # Errors
/// [`UnknownYear`] if a day in between is of such a year.
pub fn business_days_after(date: NaiveDate, count: u32) -> Result<NaiveDate, UnknownYear> {
    let mut date = date;
    let mut left = count;
    while left > 0 {
        let next = date.checked_add_days(Days::new(1));
        date = next.ok_or(UnknownYear(date.year()))?;
        left -= u32::from(is_business_day(date)?);
    }
    Ok(date)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn six_business_days_are_those_that_an_acquirer_announced_for_2022() {
        for (sold, paid) in [
            ("2022-04-26", "2022-05-04"),
            ("2022-04-27", "2022-05-06"),
            ("2022-04-28", "2022-05-09"),
        ] {
            assert_eq!(business_days_after(date(sold), 6), Ok(date(paid)), "{sold}");
        }
    }

    #[test]
    fn substitute_and_temporary_holidays_and_elections_are_no_business_days() {
        for holiday in [
            "2022-09-12",
            "2023-10-02",
            "2024-04-10",
            "2025-01-27",
            "2025-10-08",
        ] {
            assert_eq!(is_business_day(date(holiday)), Ok(false), "{holiday}");
        }
        for workday in [
            "2022-09-13",
            "2023-10-04",
            "2024-04-11",
            "2025-01-31",
            "2025-10-10",
        ] {
            assert_eq!(is_business_day(date(workday)), Ok(true), "{workday}");
        }
    }

    #[test]
    fn every_line_is_a_day_of_a_known_year_and_every_year_has_days() {
        let lines = include_str!("holidays.csv").lines().count();
        assert_eq!(HOLIDAYS.len(), lines);
        assert!(HOLIDAYS.iter().all(|day| YEARS.contains(&day.year())));
        for year in YEARS {
            let count = HOLIDAYS.iter().filter(|day| day.year() == year).count();
            assert!((15..25).contains(&count), "{year} has {count}");
        }
    }

    #[test]
    fn unknown_year_is_an_error() {
        assert_eq!(is_business_day(date("2021-12-31")), Err(UnknownYear(2021)));
        assert_eq!(
            business_days_after(date("2027-12-30"), 3),
            Err(UnknownYear(2028))
        );
        assert_eq!(
            business_days_after(NaiveDate::MAX, 1).map_err(|it| it.0),
            Err(262_142)
        );
    }

    proptest! {
        #[test]
        fn as_many_business_days_lie_between_as_were_counted(day in 0_u64..1_800, count in 0_u32..30) {
            let from = date("2022-01-01") + Days::new(day);
            let to = business_days_after(from, count).unwrap();
            let between = from.iter_days().skip(1).take_while(|it| *it <= to);
            let worked = between.filter(|it| is_business_day(*it).unwrap()).count();
            prop_assert_eq!(worked, count as usize);
            prop_assert!(count == 0 || is_business_day(to).unwrap());
        }
    }
}
