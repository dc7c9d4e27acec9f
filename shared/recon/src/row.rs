use std::{borrow::Cow, ops::RangeInclusive};

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime};
use money::{Currency, Money};
use payment::PaymentId;
use source::{Kind, day_of};
use uuid::Uuid;

use crate::{Profile, TransactionKey, profile::Places};

/// Most characters of a key of theirs.
const KEY_CHARS_MAX: usize = 64;
/// Most characters of an approval number.
const APPROVAL_CHARS_MAX: usize = 16;
/// Most characters of a fault.
const FAULT_CHARS_MAX: usize = 200;
/// Of an amount in a file without a column for it.
const CURRENCY_DEFAULT: &str = "KRW";
/// How a day or a moment may be written; a moment without a zone is one in Seoul.
const DAY_FORMATS: [&str; 3] = ["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d"];
const MOMENT_FORMATS: [&str; 2] = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"];
/// The years that a DATE of the database holds.
const YEARS: RangeInclusive<i32> = 1000..=9999;

/// One capture or refund as the acquirer has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TheirRow {
    /// Its transaction key, when it is one of ours.
    pub key: Option<TransactionKey>,
    /// The payment it names, when it is one of ours.
    pub payment_id: Option<Uuid>,
    /// Its transaction key, when it is none of ours.
    pub reference: Option<String>,
    /// Its approval number.
    pub approval_number: Option<String>,
    /// What moved.
    pub kind: Kind,
    /// Whether it took place for them.
    pub done: bool,
    /// How much.
    pub amount: Money,
    /// The day, in Asia/Seoul.
    pub traded_on: NaiveDate,
}

/// Why a row cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl Fault {
    pub(crate) fn new(why: &str, text: &str) -> Self {
        let mut fault = format!("{why}: {}", text.escape_debug());
        if let Some((end, _)) = fault.char_indices().nth(FAULT_CHARS_MAX) {
            fault.truncate(end);
        }
        Self(fault)
    }
}

/// Reads the fields of a row.
///
/// # Errors
/// [`Fault`].
pub(crate) fn read(
    profile: &Profile,
    places: &Places,
    fields: &[Cow<'_, str>],
) -> Result<TheirRow, Fault> {
    let at = |place: usize| fields.get(place).map_or("", |field| field.trim());
    let given = |place: Option<usize>| place.map(at).filter(|text| !text.is_empty());
    let (key, named, approval) = (
        given(places.transaction_key),
        given(places.payment_key),
        given(places.approval_number),
    );
    if key.or(named).or(approval).is_none() {
        return Err(Fault("the row has no key".to_owned()));
    }
    let kind = at(places.kind);
    let kind = profile
        .kind(kind)
        .ok_or_else(|| Fault::new("unknown type", kind))?;
    let ours: Option<TransactionKey> = key.and_then(|key| key.parse().ok());
    let reference = key.filter(|_| ours.is_none());
    Ok(TheirRow {
        key: ours,
        payment_id: named
            .and_then(|named| named.parse().ok())
            .map(PaymentId::uuid),
        reference: reference.map(|it| short(it, KEY_CHARS_MAX)).transpose()?,
        approval_number: approval.map(approval_number).transpose()?,
        kind,
        done: done(profile, given(places.status))?,
        amount: amount(at(places.amount), kind, currency(given(places.currency))?)?,
        traded_on: day(at(places.traded_on))?,
    })
}

fn short(text: &str, chars_max: usize) -> Result<String, Fault> {
    let fits = text.chars().count() <= chars_max && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
        .ok_or_else(|| Fault::new("too long or unreadable", text))
}

fn approval_number(text: &str) -> Result<String, Fault> {
    if text.is_ascii() {
        short(text, APPROVAL_CHARS_MAX)
    } else {
        Err(Fault::new("not an approval number", text))
    }
}

/// Whether it took place for them; without a status it did.
fn done(profile: &Profile, status: Option<&str>) -> Result<bool, Fault> {
    status.map_or(Ok(true), |text| {
        profile
            .done(text)
            .ok_or_else(|| Fault::new("unknown status", text))
    })
}

fn currency(code: Option<&str>) -> Result<Currency, Fault> {
    let code = code.unwrap_or(CURRENCY_DEFAULT);
    code.parse()
        .map_err(|_| Fault::new("unknown currency", code))
}

/// An amount in the currency's minor unit: digits, in groups of three or not; a refund's may be
/// negative.
fn amount(text: &str, kind: Kind, currency: Currency) -> Result<Money, Fault> {
    let wrong = || Fault::new("not an amount", text);
    let digits = match kind {
        Kind::Refund => text.strip_prefix('-').unwrap_or(text),
        Kind::Capture => text,
    };
    let mut groups = digits.split(',');
    let first = groups.next().unwrap_or_default();
    let rest: Vec<&str> = groups.collect();
    let numeric = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b',');
    let grouped = rest.is_empty() || first.len() <= 3 && rest.iter().all(|it| it.len() == 3);
    if first.is_empty() || !numeric || !grouped {
        return Err(wrong());
    }
    let minor: u64 = digits.replace(',', "").parse().map_err(|_| wrong())?;
    let money = Money::new(minor, currency).map_err(|_| wrong())?;
    (!money.is_zero()).then_some(money).ok_or_else(wrong)
}

/// A day, or the day of a moment in Seoul.
fn day(text: &str) -> Result<NaiveDate, Fault> {
    let day = || {
        let mut days = DAY_FORMATS
            .iter()
            .filter_map(|format| NaiveDate::parse_from_str(text, format).ok());
        days.next()
    };
    let local = || {
        let mut moments = MOMENT_FORMATS
            .iter()
            .filter_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
        moments.next().map(|moment| moment.date())
    };
    let moment = || {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|it| day_of(it.to_utc()))
    };
    day()
        .or_else(local)
        .or_else(moment)
        .filter(|day| YEARS.contains(&day.year()))
        .ok_or_else(|| Fault::new("not a date", text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: [&str; 8] = [
        "transaction_key",
        "payment_id",
        "approval_number",
        "type",
        "amount",
        "currency",
        "date",
        "status",
    ];

    fn parse(fields: [&str; 8]) -> Result<TheirRow, Fault> {
        let (profile, places) = Profile::of(&HEADER).unwrap();
        let fields: Vec<Cow<'_, str>> = fields.into_iter().map(Cow::from).collect();
        read(profile, &places, &fields)
    }

    #[test]
    fn row_reads_as_it_is_written() {
        let payment = PaymentId::generate();
        let key = format!("{payment}-3");
        let row = parse([
            &key,
            &payment.to_string(),
            "01234567",
            "refund",
            "-1,500",
            "KRW",
            "2026-03-31T15:00:00Z",
            "DONE",
        ])
        .unwrap();
        assert_eq!(row.key, Some(key.parse().unwrap()));
        assert_eq!(row.payment_id, Some(payment.uuid()));
        assert_eq!(row.reference, None);
        assert_eq!((row.kind, row.done), (Kind::Refund, true));
        assert_eq!(row.amount.minor(), 1_500);
        assert_eq!(row.traded_on.to_string(), "2026-04-01", "in Seoul");
    }

    #[test]
    fn key_of_theirs_is_kept_as_it_is() {
        let row = parse(["T-1", "", "", "CAPTURE", "10", "", "20260331", ""]).unwrap();
        assert_eq!((row.key, row.payment_id), (None, None));
        assert_eq!(row.reference.as_deref(), Some("T-1"));
        assert_eq!(row.amount.currency().code(), "KRW");
        assert!(row.done);
    }

    #[test]
    fn amounts_that_are_no_whole_positive_number_are_faults() {
        for text in [
            "",
            "0",
            "-0",
            "1e9",
            "1.5",
            "+5",
            "１２",
            "1,50",
            "12,",
            ",5",
            "0x10",
            "1 000",
            "-5",
            "99999999999999999999",
            "=1+1",
            "NaN",
        ] {
            let fault = parse(["k", "", "", "CAPTURE", text, "", "2026-03-31", ""]);
            assert!(fault.is_err(), "{text}");
        }
    }

    #[test]
    fn faults_name_what_is_wrong_and_are_short() {
        let long = "x".repeat(70_000);
        for (fields, why) in [
            (
                ["", "", "", "CAPTURE", "1", "", "2026-03-31", ""],
                "the row has no key",
            ),
            (
                ["k", "", "", "GIFT", "1", "", "2026-03-31", ""],
                "unknown type",
            ),
            (
                ["k", "", "", "CAPTURE", "1", "KRX", "2026-03-31", ""],
                "unknown currency",
            ),
            (
                ["k", "", "", "CAPTURE", "1", "", "2026-02-30", ""],
                "not a date",
            ),
            (
                ["k", "", "", "CAPTURE", "1", "", "2026-03-31", "MAYBE"],
                "unknown status",
            ),
            (
                [&long, "", "", "CAPTURE", "1", "", "2026-03-31", ""],
                "too long",
            ),
            (
                ["a\u{0}b", "", "", "CAPTURE", "1", "", "2026-03-31", ""],
                "too long or unreadable",
            ),
        ] {
            let Fault(told) = parse(fields).unwrap_err();
            assert!(told.starts_with(why), "{told}");
            assert!(told.chars().count() <= FAULT_CHARS_MAX);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(fields in prop::array::uniform8(".{0,20}")) {
            let _read = parse(fields.each_ref().map(String::as_str));
        }

        #[test]
        fn every_amount_is_read_in_groups_and_without(minor in 1..1_000_000_000_000_u64) {
            let plain = minor.to_string();
            let mut grouped = String::new();
            for (index, digit) in plain.chars().enumerate() {
                if index > 0 && (plain.len() - index) % 3 == 0 {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            for text in [plain, grouped] {
                let row = parse(["k", "", "", "CAPTURE", &text, "", "2026-03-31", ""]).unwrap();
                prop_assert_eq!(row.amount.minor(), minor);
            }
        }
    }
}
