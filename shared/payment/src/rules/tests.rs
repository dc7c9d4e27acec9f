use ledger::{Account, Entry};
use proptest::prelude::*;

use super::*;

fn won(minor: u64) -> Money {
    Money::new(minor, "KRW".parse().unwrap()).unwrap()
}

fn moment(day: u32) -> Timestamp {
    let start: chrono::DateTime<chrono::Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
    Timestamp::from(start).plus_days(day)
}

fn authorized(amount: u64) -> Change {
    let asked = Authorization {
        merchant_id: "m-demo".to_owned().into(),
        order_id: "order-1".to_owned().try_into().unwrap(),
        amount: won(amount),
        details: Details::default(),
    };
    Payment::authorize(PaymentId::generate(), asked, moment(0))
}

fn portion(amount: u64) -> Portion {
    Portion {
        amount: NonZeroU64::new(amount),
        currency: None,
    }
}

#[test]
fn an_authorization_holds_for_seven_days() {
    let payment = authorized(15_000).payment;
    assert_eq!(payment.status, Status::Requested);
    assert_eq!((payment.version, payment.expires_at), (1, moment(7)));
}

#[test]
fn a_capture_takes_the_whole_or_a_part_and_releases_the_rest() {
    let payment = authorized(15_000).payment;
    let whole = payment.capture(Portion::default(), moment(1)).unwrap();
    assert_eq!(whole.payment.captured, won(15_000));
    assert_eq!(whole.step, Step::Captured { released: won(0) });
    let part = payment.capture(portion(10_000), moment(1)).unwrap();
    assert_eq!(
        (part.payment.status, part.payment.captured),
        (Status::Completed, won(10_000))
    );
    assert_eq!(
        part.step,
        Step::Captured {
            released: won(5_000)
        }
    );
}

#[test]
fn a_capture_is_refused_above_the_authorization_after_expiry_and_twice() {
    let payment = authorized(15_000).payment;
    let above = Refusal::AboveAuthorized {
        asked: 15_001,
        authorized: 15_000,
    };
    assert_eq!(payment.capture(portion(15_001), moment(1)), Err(above));
    assert_eq!(
        payment.capture(Portion::default(), moment(7)),
        Err(Refusal::Lapsed)
    );
    let captured = payment
        .capture(Portion::default(), moment(1))
        .unwrap()
        .payment;
    let twice = captured.capture(Portion::default(), moment(1));
    assert_eq!(twice, Err(Refusal::NotCapturable(Status::Completed)));
}

#[test]
fn another_currency_is_refused() {
    let payment = authorized(15_000).payment;
    let dollars = Portion {
        amount: NonZeroU64::new(1),
        currency: Some("USD".parse().unwrap()),
    };
    let mismatch = Refusal::CurrencyMismatch("KRW".parse().unwrap());
    assert_eq!(payment.capture(dollars, moment(1)), Err(mismatch));
    let captured = payment
        .capture(Portion::default(), moment(1))
        .unwrap()
        .payment;
    assert_eq!(captured.refund(dollars, moment(1)), Err(mismatch));
}

#[test]
fn refunds_add_up_to_the_capture_and_no_further() {
    let payment = authorized(100)
        .payment
        .capture(Portion::default(), moment(1))
        .unwrap()
        .payment;
    let once = payment.refund(portion(60), moment(2)).unwrap().payment;
    assert_eq!(once.status, Status::PartiallyRefunded);
    let above = Refusal::AboveCaptured {
        asked: 60,
        left: 40,
    };
    assert_eq!(once.refund(portion(60), moment(2)), Err(above));
    let rest = once.refund(Portion::default(), moment(2)).unwrap().payment;
    assert_eq!((rest.status, rest.refunded), (Status::Refunded, won(100)));
    let again = rest.refund(portion(1), moment(2));
    assert_eq!(again, Err(Refusal::NotRefundable(Status::Refunded)));
}

#[test]
fn only_a_lapsed_authorization_expires() {
    let payment = authorized(100).payment;
    assert_eq!(payment.expire(moment(6)), None);
    let expired = payment.expire(moment(7)).unwrap().payment;
    assert_eq!(expired.status, Status::Expired);
    assert_eq!(expired.expire(moment(8)), None);
    assert_eq!(
        expired.void(moment(8)),
        Err(Refusal::NotVoidable(Status::Expired))
    );
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Capture(Portion),
    Void,
    Refund(Portion),
    Expire,
}

fn any_command() -> impl Strategy<Value = (Command, u32)> {
    let any_portion = || prop_oneof![Just(Portion::default()), (1..2_000_u64).prop_map(portion)];
    let command = prop_oneof![
        2 => any_portion().prop_map(Command::Capture),
        1 => Just(Command::Void),
        4 => any_portion().prop_map(Command::Refund),
        1 => Just(Command::Expire),
    ];
    (command, 0..9_u32)
}

/// Debits minus credits of one account.
fn balance(entries: &[Entry], account: Account) -> i128 {
    entries.iter().fold(0, |sum, entry| {
        let amount = i128::from(entry.amount().minor());
        let debit = if entry.debit() == account { amount } else { 0 };
        let credit = if entry.credit() == account { amount } else { 0 };
        sum + debit - credit
    })
}

proptest! {
    #[test]
    fn whatever_the_commands_books_follow_the_payment(
        amount in 1..1_500_u64,
        commands in prop::collection::vec(any_command(), 0..40),
    ) {
        let first = authorized(amount);
        let mut entries = first.journal().unwrap().entries;
        let mut payment = first.payment;
        for (command, day) in commands {
            let now = moment(day);
            let change = match command {
                Command::Capture(portion) => payment.capture(portion, now).ok(),
                Command::Void => payment.void(now).ok(),
                Command::Refund(portion) => payment.refund(portion, now).ok(),
                Command::Expire => payment.expire(now),
            };
            let Some(change) = change else { continue };
            let journal = change.journal().unwrap();
            prop_assert_eq!(change.payment.version, payment.version + 1);
            prop_assert_eq!(journal.seq, change.payment.version);
            entries.extend(journal.entries);
            payment = change.payment;

            prop_assert!(payment.captured.minor() <= payment.amount.minor());
            prop_assert!(payment.refunded.minor() <= payment.captured.minor());
            let kept = i128::from(payment.refundable().minor());
            prop_assert_eq!(balance(&entries, Account::NetworkReceivable), kept);
            prop_assert_eq!(balance(&entries, Account::MerchantPayable), -kept);
            let held = if payment.status == Status::Requested { i128::from(amount) } else { 0 };
            prop_assert_eq!(balance(&entries, Account::Hold), held);
        }
    }
}
