use chrono::NaiveDate;

use crate::{Cycle, FeeRate, Period};

/// What was agreed with a merchant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Of captures sold on or after this day.
    pub effective_from: NaiveDate,
    /// Counts a merchant's contracts from 1, in the order of recording.
    pub revision: u16,
    /// What is kept of a capture.
    pub rate: FeeRate,
    /// How often is settled.
    pub cycle: Cycle,
    /// Business days from a period's last day to its payout.
    pub payout_days: u32,
}

/// A merchant's contracts, and those of every merchant that has none of its own.
#[derive(Clone, Debug, Default)]
pub struct Contracts {
    /// The merchant's own.
    pub own: Vec<Contract>,
    /// The standard ones.
    pub standard: Vec<Contract>,
}

/// How many contracts there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// The merchant's own.
    pub own: u16,
    /// The standard ones.
    pub standard: u16,
}

/// No contract says what a day's captures cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no contract was in force on {0}")]
pub struct NoContract(pub NaiveDate);

impl Contracts {
    /// The one in force on `day`: it took effect last; of two from the same day, the later revision.
    ///
    /// # Errors
    /// [`NoContract`].
    pub fn in_force(&self, day: NaiveDate) -> Result<Contract, NoContract> {
        let latest = |contracts: &[Contract]| {
            let begun = contracts.iter().filter(|it| it.effective_from <= day);
            begun
                .max_by_key(|it| (it.effective_from, it.revision))
                .copied()
        };
        latest(&self.own)
            .or_else(|| latest(&self.standard))
            .ok_or(NoContract(day))
    }

    /// The newest revisions.
    #[must_use]
    pub fn revisions(&self) -> Revisions {
        let newest = |contracts: &[Contract]| contracts.iter().map(|it| it.revision).max();
        Revisions {
            own: newest(&self.own).unwrap_or_default(),
            standard: newest(&self.standard).unwrap_or_default(),
        }
    }

    /// The first day for which there is a contract that is newer than these revisions.
    #[must_use]
    pub fn changed_from(&self, known: Revisions) -> Option<NaiveDate> {
        let own = self.own.iter().filter(|it| it.revision > known.own);
        let standard = self.standard.iter();
        let standard = standard.filter(|it| it.revision > known.standard);
        own.chain(standard).map(|it| it.effective_from).min()
    }

    /// The periods whose last day is one from `from` to `to`, in order, each with its contract.
    ///
    /// # Errors
    /// [`NoContract`].
    pub fn due(
        &self,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<(Period, Contract)>, NoContract> {
        let mut due = Vec::new();
        for day in from.iter_days().take_while(|day| *day <= to) {
            let contract = self.in_force(day)?;
            let period = contract.cycle.period(day);
            due.extend(
                period
                    .filter(|period| period.to == day)
                    .map(|period| (period, contract)),
            );
        }
        Ok(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn contract(revision: u16, from: &str, cycle: Cycle) -> Contract {
        Contract {
            effective_from: date(from),
            revision,
            rate: FeeRate::new(100 + revision).unwrap(),
            cycle,
            payout_days: 2,
        }
    }

    fn contracts() -> Contracts {
        Contracts {
            own: vec![
                contract(1, "2026-03-01", Cycle::Weekly),
                contract(2, "2026-05-01", Cycle::Monthly),
                contract(3, "2026-04-01", Cycle::Weekly),
                contract(4, "2026-04-01", Cycle::Weekly),
            ],
            standard: vec![contract(1, "2026-01-01", Cycle::Daily)],
        }
    }

    #[test]
    fn contract_that_took_effect_last_is_in_force() {
        let revision = |day| contracts().in_force(date(day)).map(|it| it.revision);
        assert_eq!(revision("2026-03-31"), Ok(1));
        assert_eq!(revision("2026-04-30"), Ok(4));
        assert_eq!(revision("2026-05-01"), Ok(2));
        let standard = contracts().in_force(date("2026-02-01")).unwrap();
        assert_eq!(standard.cycle, Cycle::Daily);
        let before = date("2025-12-31");
        assert_eq!(contracts().in_force(before), Err(NoContract(before)));
    }

    #[test]
    fn contracts_that_came_since_say_from_which_day_on_they_change_something() {
        let known = |own, standard| Revisions { own, standard };
        let from = |known| contracts().changed_from(known).map(|day| day.to_string());
        assert_eq!(contracts().revisions(), known(4, 1));
        assert_eq!(from(known(4, 1)), None);
        assert_eq!(from(known(2, 1)).as_deref(), Some("2026-04-01"));
        assert_eq!(from(known(1, 1)).as_deref(), Some("2026-04-01"));
        assert_eq!(from(known(4, 0)).as_deref(), Some("2026-01-01"));
    }

    #[test]
    fn period_is_due_when_its_last_day_is_asked_for() {
        let due = |from, to| {
            let due = contracts().due(date(from), date(to)).unwrap();
            due.into_iter()
                .map(|(period, _)| (period.from.to_string(), period.to.to_string()))
                .collect::<Vec<_>>()
        };
        let days = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(
            due("2026-02-03", "2026-02-04"),
            [
                days("2026-02-03", "2026-02-03"),
                days("2026-02-04", "2026-02-04")
            ]
        );
        assert_eq!(due("2026-03-09", "2026-03-14"), []);
        assert_eq!(
            due("2026-03-15", "2026-03-15"),
            [days("2026-03-09", "2026-03-15")]
        );
        assert_eq!(
            due("2026-05-01", "2026-06-15"),
            [days("2026-05-01", "2026-05-31")]
        );
    }
}
