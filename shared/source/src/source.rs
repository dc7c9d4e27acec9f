use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Asia::Seoul;
use money::Money;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Kind {
    /// Money was taken for the merchant.
    Capture,
    /// Money was given back.
    Refund,
}

/// One capture or refund of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The payment.
    pub payment_id: Uuid,
    /// Numbers what happened to the payment: contiguous from its capture on.
    pub seq: u32,
    /// The event that told it.
    pub event_id: Uuid,
    /// Whose payment it is.
    pub merchant_id: String,
    /// What moved.
    pub kind: Kind,
    /// How much this time.
    pub amount: Money,
    /// Captured of the payment in all.
    pub captured: Money,
    /// Given back of the payment until then.
    pub refunded: Money,
    /// When.
    pub occurred_at: DateTime<Utc>,
}

/// When a day begins in Korea; `None` at the end of the calendar.
#[must_use]
pub fn start_of(day: NaiveDate) -> Option<DateTime<Utc>> {
    let midnight = day.and_time(NaiveTime::MIN);
    Some(midnight.and_local_timezone(Seoul).earliest()?.to_utc())
}

/// The day in Korea.
#[must_use]
pub fn day_of(moment: DateTime<Utc>) -> NaiveDate {
    moment.with_timezone(&Seoul).date_naive()
}

impl Kind {
    /// As the database has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Capture => "CAPTURE",
            Self::Refund => "REFUND",
        }
    }
}

impl Source {
    /// The day it counts to, in Korea.
    #[must_use]
    pub fn sold_on(&self) -> NaiveDate {
        day_of(self.occurred_at)
    }

    /// Whether it is the next after `last` of its payment, the newest that is known. A capture is the
    /// first.
    #[must_use]
    pub fn follows(&self, last: Option<u32>) -> bool {
        match last {
            None => self.kind == Kind::Capture,
            Some(last) => self.kind == Kind::Refund && last.checked_add(1) == Some(self.seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(kind: Kind, seq: u32, time: &str) -> Source {
        let won = Money::new(100, "KRW".parse().unwrap()).unwrap();
        Source {
            payment_id: Uuid::nil(),
            seq,
            event_id: Uuid::nil(),
            merchant_id: "m".to_owned(),
            kind,
            amount: won,
            captured: won,
            refunded: Money::zero(won.currency()),
            occurred_at: time.parse().unwrap(),
        }
    }

    #[test]
    fn day_changes_at_midnight_in_seoul() {
        let last = source(Kind::Capture, 2, "2026-03-31T14:59:59.999Z");
        assert_eq!(last.sold_on().to_string(), "2026-03-31");
        let first = source(Kind::Capture, 2, "2026-03-31T15:00:00Z");
        assert_eq!(first.sold_on().to_string(), "2026-04-01");
        assert_eq!(start_of(first.sold_on()), Some(first.occurred_at));
    }

    #[test]
    fn only_a_capture_begins_and_only_the_next_refund_follows() {
        let time = "2026-03-31T00:00:00Z";
        let (capture, refund) = (
            source(Kind::Capture, 2, time),
            source(Kind::Refund, 3, time),
        );
        assert!(capture.follows(None) && !refund.follows(None));
        assert!(refund.follows(Some(2)));
        assert!(!refund.follows(Some(1)) && !refund.follows(Some(3)));
        assert!(!capture.follows(Some(1)));
    }
}
