//! What a payment is after each of its events, and what each must have posted. Pure, and written
//! apart from the rules that made the events.

use serde::Deserialize;

/// `data` of an event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Data {
    pub(crate) payment_id: String,
    pub(crate) merchant_id: String,
    pub(crate) order_id: String,
    pub(crate) status: String,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) captured_amount: u64,
    pub(crate) refunded_amount: u64,
    pub(crate) seq: u32,
    pub(crate) released_amount: Option<u64>,
    pub(crate) refund_amount: Option<u64>,
}

/// A payment after some events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) merchant_id: String,
    pub(crate) order_id: String,
    pub(crate) status: &'static str,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) captured: u64,
    pub(crate) refunded: u64,
    pub(crate) captured_seq: Option<u32>,
    pub(crate) version: u32,
}

/// One posting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting {
    pub(crate) debit: String,
    pub(crate) credit: String,
    pub(crate) amount: u64,
    /// The entry (seq, line) of the same payment that this one reverses.
    pub(crate) reverses: Option<(u32, u8)>,
}

/// The line of a capture's journal that says what the network owes and what the merchant is owed.
const CAPTURE_LINE: u8 = 1;

impl State {
    /// The state after an event on top of the one before, and the postings of the event in order.
    ///
    /// # Errors
    /// Says why the event cannot follow.
    pub(crate) fn after(
        before: Option<&Self>,
        event_type: &str,
        data: &Data,
    ) -> Result<(Self, Vec<Posting>), String> {
        let (state, postings) = match (event_type, before) {
            ("payment.authorized", None) => authorized(data),
            ("payment.captured", Some(before)) => before.captured(data)?,
            ("payment.refunded", Some(before)) => before.refunded(data)?,
            ("payment.voided", Some(before)) => before.released("VOIDED")?,
            ("payment.expired", Some(before)) => before.released("EXPIRED")?,
            (_, None) => return Err(format!("begins with {event_type}")),
            (_, Some(before)) => return Err(format!("{event_type} follows {}", before.status)),
        };
        let told = (
            data.status.as_str(),
            data.captured_amount,
            data.refunded_amount,
            data.amount,
        );
        let folded = (state.status, state.captured, state.refunded, state.amount);
        if told != folded || data.currency != state.currency || data.seq != state.version {
            return Err(format!("tells {told:?}, folded {folded:?}"));
        }
        if (&data.merchant_id, &data.order_id) != (&state.merchant_id, &state.order_id) {
            return Err("is another merchant's or order's".to_owned());
        }
        Ok((state, postings))
    }

    fn next(&self) -> Self {
        Self {
            version: self.version + 1,
            ..self.clone()
        }
    }

    fn captured(&self, data: &Data) -> Result<(Self, Vec<Posting>), String> {
        let captured = data.captured_amount;
        let whole = captured.checked_add(data.released_amount.unwrap_or_default());
        if self.status != "REQUESTED" || captured == 0 || whole != Some(self.amount) {
            return Err(format!(
                "captures {captured} of {} in {}",
                self.amount, self.status
            ));
        }
        let mut state = self.next();
        state.status = "COMPLETED";
        state.captured = captured;
        state.captured_seq = Some(state.version);
        let postings = vec![
            posting("memo:hold-contra", "memo:hold", self.amount),
            posting(
                "asset:network-receivable",
                "liability:merchant-payable",
                captured,
            ),
        ];
        Ok((state, postings))
    }

    fn refunded(&self, data: &Data) -> Result<(Self, Vec<Posting>), String> {
        let amount = data.refund_amount.unwrap_or_default();
        let refunded = self.refunded.saturating_add(amount);
        let Some(captured_seq) = self.captured_seq else {
            return Err(format!("refunds in {}", self.status));
        };
        if amount == 0 || refunded > self.captured {
            return Err(format!("refunds {refunded} of {}", self.captured));
        }
        let mut state = self.next();
        state.refunded = refunded;
        state.status = if refunded == self.captured {
            "REFUNDED"
        } else {
            "PARTIALLY_REFUNDED"
        };
        let mut back = posting(
            "liability:merchant-payable",
            "asset:network-receivable",
            amount,
        );
        back.reverses = Some((captured_seq, CAPTURE_LINE));
        Ok((state, vec![back]))
    }

    fn released(&self, status: &'static str) -> Result<(Self, Vec<Posting>), String> {
        if self.status != "REQUESTED" {
            return Err(format!("{status} follows {}", self.status));
        }
        let mut state = self.next();
        state.status = status;
        Ok((
            state,
            vec![posting("memo:hold-contra", "memo:hold", self.amount)],
        ))
    }
}

fn authorized(data: &Data) -> (State, Vec<Posting>) {
    let state = State {
        merchant_id: data.merchant_id.clone(),
        order_id: data.order_id.clone(),
        status: "REQUESTED",
        amount: data.amount,
        currency: data.currency.clone(),
        captured: 0,
        refunded: 0,
        captured_seq: None,
        version: 1,
    };
    (
        state,
        vec![posting("memo:hold", "memo:hold-contra", data.amount)],
    )
}

fn posting(debit: &str, credit: &str, amount: u64) -> Posting {
    Posting {
        debit: debit.to_owned(),
        credit: credit.to_owned(),
        amount,
        reverses: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(status: &str, captured: u64, refunded: u64, seq: u32) -> Data {
        Data {
            payment_id: "pay_1".to_owned(),
            merchant_id: "m".to_owned(),
            order_id: "o".to_owned(),
            status: status.to_owned(),
            amount: 100,
            currency: "KRW".to_owned(),
            captured_amount: captured,
            refunded_amount: refunded,
            seq,
            released_amount: None,
            refund_amount: None,
        }
    }

    fn captured_80() -> State {
        let (held, _) =
            State::after(None, "payment.authorized", &data("REQUESTED", 0, 0, 1)).unwrap();
        let taken = Data {
            released_amount: Some(20),
            ..data("COMPLETED", 80, 0, 2)
        };
        State::after(Some(&held), "payment.captured", &taken)
            .unwrap()
            .0
    }

    #[test]
    fn a_whole_life_folds_to_its_end() {
        let half = Data {
            refund_amount: Some(40),
            ..data("PARTIALLY_REFUNDED", 80, 40, 3)
        };
        let (state, _) = State::after(Some(&captured_80()), "payment.refunded", &half).unwrap();
        let rest = Data {
            refund_amount: Some(40),
            ..data("REFUNDED", 80, 80, 4)
        };
        let (state, postings) = State::after(Some(&state), "payment.refunded", &rest).unwrap();
        assert_eq!(
            (state.status, state.refunded, state.version),
            ("REFUNDED", 80, 4)
        );
        assert_eq!(postings[0].reverses, Some((2, 1)));
    }

    #[test]
    fn what_cannot_follow_is_refused() {
        let after = |event_type, data: Data| State::after(Some(&captured_80()), event_type, &data);
        let too_much = Data {
            refund_amount: Some(81),
            ..data("REFUNDED", 80, 81, 3)
        };
        assert!(after("payment.refunded", too_much).is_err());
        let untold = Data {
            refund_amount: Some(40),
            ..data("PARTIALLY_REFUNDED", 80, 30, 3)
        };
        assert!(after("payment.refunded", untold).is_err());
        assert!(after("payment.voided", data("VOIDED", 80, 0, 3)).is_err());
        assert!(after("payment.authorized", data("REQUESTED", 0, 0, 1)).is_err());
        let skipped = Data {
            refund_amount: Some(80),
            ..data("REFUNDED", 80, 80, 4)
        };
        assert!(after("payment.refunded", skipped).is_err());
        assert!(State::after(None, "payment.captured", &data("COMPLETED", 100, 0, 1)).is_err());
    }
}
