use uuid::Uuid;

use super::*;
use crate::InvalidId;

/// A row of 900 that is our capture of 1,000.
fn item(result: MatchResult) -> Item {
    Item {
        file_id: Uuid::nil(),
        file_no: 1,
        line: Some(2),
        standing: None,
        result: Some(result.name().to_owned()),
        fault: None,
        key_payment: None,
        key_seq: None,
        named_payment: None,
        reference: None,
        approval_number: None,
        kind: Some("CAPTURE".to_owned()),
        done: Some(true),
        amount: Some(900),
        currency: Some("KRW".to_owned()),
        traded_on: None,
        payment_id: None,
        seq: None,
        merchant_id: None,
        our_kind: Some("CAPTURE".to_owned()),
        our_amount: Some(1_000),
        our_currency: Some("KRW".to_owned()),
        sold_on: None,
        occurred_at: None,
    }
}

fn stake(item: &Item) -> Option<i64> {
    Stake::of(item).map(Stake::minor)
}

#[test]
fn difference_is_worth_what_theirs_is_more_than_ours() {
    for (result, capture, refund) in [
        (MatchResult::MissingInternal, Some(900), Some(-900)),
        (MatchResult::DuplicateExternal, Some(900), Some(-900)),
        (MatchResult::MissingExternal, Some(-1_000), Some(1_000)),
        (MatchResult::AmountMismatch, Some(-100), Some(100)),
        (MatchResult::StatusMismatch, None, None),
        (MatchResult::DateMismatch, None, None),
        (MatchResult::CurrencyMismatch, None, None),
        (MatchResult::Ambiguous, None, None),
        (MatchResult::RowInvalid, None, None),
    ] {
        let mut item = item(result);
        assert_eq!(stake(&item), capture, "{result}");
        item.kind = Some("REFUND".to_owned());
        item.our_kind = Some("REFUND".to_owned());
        assert_eq!(stake(&item), refund, "{result}");
    }
}

#[test]
fn what_did_not_take_place_for_them_is_worth_nothing() {
    let mut status = item(MatchResult::StatusMismatch);
    status.done = Some(false);
    assert_eq!(stake(&status), Some(-1_000));
    let mut unknown = item(MatchResult::MissingInternal);
    unknown.done = Some(false);
    assert_eq!(stake(&unknown), None);
}

#[test]
fn amounts_out_of_range_are_no_stake() {
    let mut item = item(MatchResult::MissingInternal);
    item.amount = Some(u64::MAX);
    assert_eq!(stake(&item), None);
    item.amount = Some(MINOR_MAX);
    assert_eq!(stake(&item), i64::try_from(MINOR_MAX).ok());
}

fn case(action: Action, waits: bool, concerns: Option<&Case>) -> Case {
    let state = State::of(&item(MatchResult::MissingInternal));
    Case {
        id: CaseId::generate(),
        item_id: ItemId::Row {
            file_no: 1,
            line: 2,
        },
        file_no: 1,
        action,
        reason: "r".to_owned(),
        stake: None,
        account_of: HOUSE.to_owned(),
        waits,
        concerns: concerns.map(|it| it.id),
        by: Operator {
            key_id: "ops".to_owned(),
            holder: "m-ops".to_owned(),
        },
        before: state.clone(),
        after: state,
        decided_at: Utc::now(),
    }
}

#[test]
fn decision_holds_from_its_effect_until_it_is_taken_back() {
    let actions = |cases: &[Case]| -> Vec<Action> {
        let holding = in_effect(cases).into_iter();
        holding.map(|it| it.action).collect()
    };
    let link = case(Action::Link, false, None);
    let waiting = case(Action::Accept, true, None);
    let rejected = case(Action::Reject, false, Some(&waiting));
    let again = case(Action::WriteOff, true, None);
    let approved = case(Action::Approve, false, Some(&again));
    let reopened = case(Action::Reopen, false, Some(&again));
    let relinked = case(Action::Link, false, None);
    let forgotten = case(Action::Reprocess, false, None);
    let cases = [
        link, waiting, rejected, again, approved, reopened, relinked, forgotten,
    ];
    let (link, write_off) = (Action::Link, Action::WriteOff);
    for (count, expected) in [
        (0, &[][..]),
        (1, &[link]),
        (2, &[link]),
        (3, &[link]),
        (4, &[link]),
        (5, &[link, write_off]),
        (6, &[link]),
        (7, &[link]),
        (8, &[]),
    ] {
        assert_eq!(actions(&cases[..count]), expected, "after {count}");
    }
}

#[test]
fn only_what_is_displayed_is_an_id_or_a_name() {
    let id = CaseId::generate();
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!("cas_1".parse::<CaseId>(), Err(InvalidId));
    assert_eq!(id.uuid().to_string().parse::<CaseId>(), Err(InvalidId));
    for action in Action::ALL {
        assert_eq!(action.name().parse(), Ok(action));
        let json = serde_json::to_string(&action).unwrap();
        assert_eq!(json, format!("\"{}\"", action.name()));
    }
    assert_eq!("void".parse::<Action>(), Err(UnknownAction));
}
