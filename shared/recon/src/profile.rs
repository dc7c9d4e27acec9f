use std::{collections::HashMap, sync::LazyLock};

use serde::Deserialize;
use source::Kind;

/// How one acquirer writes its files.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Names it.
    pub name: &'static str,
    columns: Columns,
    kinds: HashMap<String, Kind>,
    statuses: HashMap<String, bool>,
    /// Up to how much of a difference one operator decides alone, in the currency's minor unit.
    pub alone_max: u64,
    /// How far the two sides may be apart.
    pub tolerance: Tolerance,
}

/// How far the two sides may be apart and still match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// In the currency's minor unit.
    #[serde(rename = "tolerance")]
    pub amount: u32,
    /// Between the days.
    pub days: u8,
}

/// Headers that a column may have, by what it holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    transaction_key: Vec<String>,
    payment_key: Vec<String>,
    approval_number: Vec<String>,
    kind: Vec<String>,
    amount: Vec<String>,
    currency: Vec<String>,
    traded_on: Vec<String>,
    status: Vec<String>,
}

/// The file of a profile.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    alone_max: u64,
    columns: Columns,
    kinds: Kinds,
    statuses: Statuses,
    #[serde(rename = "match")]
    tolerance: Tolerance,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kinds {
    capture: Vec<String>,
    refund: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statuses {
    done: Vec<String>,
    undone: Vec<String>,
}

/// Where a file has what; a row needs at least one of the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) transaction_key: Option<usize>,
    pub(crate) payment_key: Option<usize>,
    pub(crate) approval_number: Option<usize>,
    pub(crate) kind: usize,
    pub(crate) amount: usize,
    pub(crate) currency: Option<usize>,
    pub(crate) traded_on: usize,
    pub(crate) status: Option<usize>,
}

/// Every profile.
pub static PROFILES: LazyLock<[Profile; 2]> = LazyLock::new(|| {
    [
        read("generic", include_str!("../profiles/generic.toml")),
        read("toss", include_str!("../profiles/toss.toml")),
    ]
});

#[expect(
    clippy::expect_used,
    reason = "the files are part of the program, and a test reads them"
)]
fn read(name: &'static str, text: &str) -> Profile {
    let written: Written = toml::from_str(text).expect("a profile");
    let kind = |names: Vec<String>, kind| names.into_iter().map(move |name| (normal(&name), kind));
    let status =
        |names: Vec<String>, done| names.into_iter().map(move |name| (normal(&name), done));
    Profile {
        name,
        columns: written.columns,
        kinds: kind(written.kinds.capture, Kind::Capture)
            .chain(kind(written.kinds.refund, Kind::Refund))
            .collect(),
        statuses: status(written.statuses.done, true)
            .chain(status(written.statuses.undone, false))
            .collect(),
        alone_max: written.alone_max,
        tolerance: written.tolerance,
    }
}

/// Case and blanks at the ends do not count.
fn normal(text: &str) -> String {
    text.trim().to_uppercase()
}

impl Profile {
    /// The profile of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// The profile that a header is of, and where the file has what. A header that names a column twice
    /// is of none.
    pub(crate) fn of(header: &[&str]) -> Option<(&'static Self, Places)> {
        let header: Vec<String> = header.iter().map(|name| normal(name)).collect();
        PROFILES
            .iter()
            .find_map(|profile| Some((profile, profile.columns.places(&header)?)))
    }

    pub(crate) fn kind(&self, text: &str) -> Option<Kind> {
        self.kinds.get(&normal(text)).copied()
    }

    /// Whether a status says that it took place.
    pub(crate) fn done(&self, text: &str) -> Option<bool> {
        self.statuses.get(&normal(text)).copied()
    }
}

impl Columns {
    fn places(&self, header: &[String]) -> Option<Places> {
        let place = |names: &[String]| {
            let named = |name: &String| names.iter().any(|it| normal(it) == *name);
            let mut places = (0..header.len()).filter(|index| named(&header[*index]));
            match (places.next(), places.next()) {
                (Some(_), Some(_)) => Err(()),
                (place, _) => Ok(place),
            }
        };
        let places = Places {
            transaction_key: place(&self.transaction_key).ok()?,
            payment_key: place(&self.payment_key).ok()?,
            approval_number: place(&self.approval_number).ok()?,
            kind: place(&self.kind).ok()??,
            amount: place(&self.amount).ok()??,
            currency: place(&self.currency).ok()?,
            traded_on: place(&self.traded_on).ok()??,
            status: place(&self.status).ok()?,
        };
        let keys = [
            places.transaction_key,
            places.payment_key,
            places.approval_number,
        ];
        keys.iter().any(Option::is_some).then_some(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_its_profile_in_any_order_and_case() {
        let (generic, places) = Profile::of(&["Amount", " type", "DATE", "payment_id"]).unwrap();
        assert_eq!(
            (generic.name, places.amount, places.kind),
            ("generic", 0, 1)
        );
        assert_eq!(places.transaction_key, None);
        let (toss, _) = Profile::of(&["거래일시", "거래키", "구분", "금액"]).unwrap();
        assert_eq!(toss.name, "toss");
    }

    #[test]
    fn header_without_a_key_or_with_a_column_twice_is_of_no_profile() {
        for header in [
            &["amount", "type", "date"][..],
            &["amount", "type", "payment_id"],
            &["amount", "amount", "type", "date", "payment_id"],
            &["결제키", "amount", "type", "date"],
            &[],
        ] {
            assert!(Profile::of(header).is_none(), "{header:?}");
        }
    }

    #[test]
    fn words_of_one_profile_mean_one_thing() {
        for profile in PROFILES.iter() {
            assert!(profile.kinds.values().any(|kind| *kind == Kind::Refund));
            assert!(profile.statuses.values().any(|done| !done));
            assert_eq!(
                Profile::named(profile.name).map(|it| it.name),
                Some(profile.name)
            );
        }
        let toss = Profile::named("toss").unwrap();
        assert_eq!(toss.kind(" 취소 "), Some(Kind::Refund));
        assert_eq!(toss.done("완료"), Some(true));
        assert_eq!(toss.kind("CAPTURE"), None);
    }
}
