use proptest::prelude::*;

use super::*;
use crate::history::{Answer, Shown};

const AMOUNT: u64 = 100;

fn payment(status: &str, captured: u64, refunded: u64, version: u64) -> Told {
    let status = status.to_owned();
    Told::Payment(Shown {
        status,
        amount: AMOUNT,
        captured,
        refunded,
        version,
    })
}

fn problem(status: u16, code: &str) -> Told {
    Told::Problem {
        status,
        code: code.to_owned(),
    }
}

fn answer(told: Told) -> Answer {
    let mut answer = Answer::read(200, b"", false);
    answer.told = Some(told);
    answer
}

/// What was asked, when, and the answer with its time.
type Line = (Action, u64, Option<(u64, Answer)>);

/// Requests of one merchant, each with a key of its own unless it is a look.
#[derive(Default)]
struct Story {
    told: Vec<Line>,
    /// All requests share one key.
    one_key: bool,
}

impl Story {
    fn new() -> Self {
        let authorized = payment("REQUESTED", 0, 0, 1);
        Self::default().told(Action::Authorize { amount: AMOUNT }, 0..1, authorized)
    }

    /// Authorized, and captured at 2..3.
    fn captured() -> Self {
        let capture = Action::Capture { amount: None };
        Self::new().told(capture, 2..3, payment("COMPLETED", AMOUNT, 0, 2))
    }

    fn told(mut self, action: Action, time: std::ops::Range<u64>, told: Told) -> Self {
        self.told
            .push((action, time.start, Some((time.end, answer(told)))));
        self
    }

    fn unknown(mut self, action: Action, begins: u64) -> Self {
        self.told.push((action, begins, None));
        self
    }

    fn verdict(&self, last: &Told) -> Verdict {
        let key = |number: usize| if self.one_key { 0 } else { number }.to_string();
        let keys: Vec<String> = (0..self.told.len()).map(key).collect();
        let history: Vec<Request<'_>> = self
            .told
            .iter()
            .zip(&keys)
            .map(|((action, begins_us, ended), key)| Request {
                operation: 0,
                payment: 0,
                caller: Caller::Demo,
                key: (!matches!(action, Action::Read | Action::Lapse)).then_some(key.as_str()),
                action: *action,
                begins_us: *begins_us,
                unknown: 0,
                settled_us: ended.as_ref().map(|(ended, _)| *ended),
                answers: ended.iter().map(|(_, answer)| answer).collect(),
            })
            .collect();
        verdict(&history, Some(last))
    }
}

fn refund(amount: u64) -> Action {
    Action::Refund {
        amount: Some(amount),
    }
}

#[test]
fn requests_one_after_the_other_are_explained() {
    let refunded = payment("PARTIALLY_REFUNDED", AMOUNT, 60, 3);
    let story = Story::captured()
        .told(refund(60), 4..5, refunded.clone())
        .told(refund(60), 6..7, problem(422, "amount-above-captured"))
        .told(Action::Read, 8..9, refunded.clone());
    assert_eq!(story.verdict(&refunded), Verdict::Linearizable);
}

#[test]
fn of_two_refunds_at_once_either_may_be_first() {
    let refunded = payment("PARTIALLY_REFUNDED", AMOUNT, 70, 3);
    let story = Story::captured()
        .told(refund(60), 4..9, problem(422, "amount-above-captured"))
        .told(refund(70), 5..8, refunded.clone());
    assert_eq!(story.verdict(&refunded), Verdict::Linearizable);
}

#[test]
fn two_refunds_above_the_capture_that_both_succeed_are_not_explained() {
    let story = Story::captured()
        .told(
            refund(60),
            4..9,
            payment("PARTIALLY_REFUNDED", AMOUNT, 60, 3),
        )
        .told(refund(60), 4..9, payment("REFUNDED", AMOUNT, 120, 4));
    assert_eq!(
        story.verdict(&payment("REFUNDED", AMOUNT, 120, 4)),
        Verdict::NotLinearizable
    );
}

#[test]
fn a_look_at_the_past_is_not_explained() {
    let story = Story::captured().told(Action::Read, 4..5, payment("REQUESTED", 0, 0, 1));
    assert_eq!(
        story.verdict(&payment("COMPLETED", AMOUNT, 0, 2)),
        Verdict::NotLinearizable
    );
}

#[test]
fn a_success_that_the_database_lost_is_not_explained() {
    assert_eq!(
        Story::captured().verdict(&payment("REQUESTED", 0, 0, 1)),
        Verdict::NotLinearizable
    );
}

#[test]
fn a_refusal_with_an_effect_is_not_explained() {
    let story = Story::new().told(Action::Void, 2..3, problem(409, "payment-not-voidable"));
    assert_eq!(
        story.verdict(&payment("VOIDED", 0, 0, 2)),
        Verdict::NotLinearizable
    );
}

#[test]
fn an_unknown_request_may_have_taken_effect_or_not_but_not_before_it_was_sent() {
    let captured = payment("COMPLETED", AMOUNT, 0, 2);
    let story = Story::new().unknown(Action::Capture { amount: None }, 2);
    assert_eq!(story.verdict(&captured), Verdict::Linearizable);
    assert_eq!(
        story.verdict(&payment("REQUESTED", 0, 0, 1)),
        Verdict::Linearizable
    );
    let late = Story::new()
        .told(Action::Read, 2..3, captured.clone())
        .unknown(Action::Capture { amount: None }, 4);
    assert_eq!(late.verdict(&captured), Verdict::NotLinearizable);
}

#[test]
fn an_authorization_expires_only_once_its_time_is_over() {
    let expired = payment("EXPIRED", 0, 0, 2);
    assert_eq!(Story::new().verdict(&expired), Verdict::NotLinearizable);
    let lapsed = Story::new().told(Action::Lapse, 2..3, Told::Lapsed);
    assert_eq!(lapsed.verdict(&expired), Verdict::Linearizable);
    let void = lapsed.told(Action::Void, 4..5, payment("VOIDED", 0, 0, 2));
    assert_eq!(
        void.verdict(&payment("VOIDED", 0, 0, 2)),
        Verdict::Linearizable
    );
}

#[test]
fn a_key_used_for_two_requests_has_the_effect_of_one() {
    let authorized = payment("REQUESTED", 0, 0, 1);
    let reused = problem(409, "idempotency-key-reused");
    let mut story = Story::new().told(Action::Authorize { amount: 99 }, 0..1, reused);
    assert_eq!(
        story.verdict(&authorized),
        Verdict::NotLinearizable,
        "keys of their own"
    );
    story.one_key = true;
    assert_eq!(story.verdict(&authorized), Verdict::Linearizable);
    let both = story.told(Action::Void, 2..3, payment("VOIDED", 0, 0, 2));
    assert_eq!(
        both.verdict(&payment("VOIDED", 0, 0, 2)),
        Verdict::NotLinearizable
    );
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        proptest::option::of(1..=AMOUNT).prop_map(|amount| Action::Capture { amount }),
        proptest::option::of(1..=AMOUNT).prop_map(|amount| Action::Refund { amount }),
        Just(Action::Void),
        Just(Action::Read),
        Just(Action::Lapse),
    ]
}

/// A story as the model tells it when request `n` takes effect at `10 * n`, each sent up to `spread`
/// before and answered up to `spread` after.
fn honest(actions: &[(Action, u64, u64)]) -> (Story, Told) {
    let (mut state, mut story) = (State::default(), Story::default());
    let first = (Action::Authorize { amount: AMOUNT }, 0, 0);
    for (number, (action, before, after)) in (1..).zip([first].iter().chain(actions)) {
        let key =
            (!matches!(action, Action::Read | Action::Lapse)).then(|| (number - 1).to_string());
        let (next, told) = state.after(Caller::Demo, key.as_deref(), *action);
        let moment = 1_000 + 10 * number;
        story = story.told(*action, moment - before..moment + after, told);
        state = next;
    }
    let (_, last) = state.after(Caller::Demo, None, Action::Read);
    (story, last)
}

proptest! {
    #[test]
    fn what_the_model_tells_is_explained(
        actions in prop::collection::vec((any_action(), 0..40_u64, 1..40_u64), 0..12),
    ) {
        let (story, last) = honest(&actions);
        prop_assert_eq!(story.verdict(&last), Verdict::Linearizable);
    }

    #[test]
    fn a_version_that_was_never_reached_is_not_explained(
        actions in prop::collection::vec((any_action(), 0..40_u64, 1..40_u64), 0..12),
        place in any::<prop::sample::Index>(),
    ) {
        let (mut story, last) = honest(&actions);
        let place = place.index(story.told.len());
        let Some((_, answer)) = &mut story.told[place].2 else { return Ok(()) };
        let Some(Told::Payment(shown)) = &mut answer.told else { return Ok(()) };
        shown.version += 100;
        prop_assert_eq!(story.verdict(&last), Verdict::NotLinearizable);
    }
}
