//! An answer that settles a request is in the database and is repeated byte for byte; every
//! request is settled.

use super::{Evidence, Request, Violation};
use crate::history::Told;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let keyed = evidence
        .requests
        .iter()
        .filter(|request| request.key.is_some());
    keyed
        .filter_map(|request| broken(evidence, request))
        .collect()
}

fn broken(evidence: &Evidence<'_>, request: &Request<'_>) -> Option<Violation> {
    let key = request.key?;
    let violation = |check, what: String| {
        let what = format!("{:?} with key {key}: {what}", request.action);
        Some(Violation {
            check,
            payment: Some(request.payment),
            what,
        })
    };
    let Some(first) = request.answers.first() else {
        return violation(
            "unknowns",
            "sending the key again never settled it".to_owned(),
        );
    };
    if first.told.is_none() {
        return violation(
            "durability",
            format!("answered neither payment nor problem: {first:?}"),
        );
    }
    // The answer to a key used for something else names the request, not the first one's reply.
    let same = |told: &Option<Told>, body| {
        if request.is_stored() {
            body == first.body
        } else {
            *told == first.told
        }
    };
    let different = request
        .answers
        .iter()
        .find(|answer| answer.status != first.status || !same(&answer.told, answer.body));
    if let Some(answer) = different {
        return violation(
            "durability",
            format!("answered {first:?} and then {answer:?}"),
        );
    }
    let name = (request.caller.merchant_id().to_owned(), key.to_owned());
    match evidence.store.replies.get(&name) {
        Some(Some(reply)) if !request.is_stored() || *reply == (first.status, first.body) => None,
        Some(stored) => violation(
            "durability",
            format!("answered {first:?}, stored {stored:?}"),
        ),
        None => violation(
            "durability",
            format!("answered {first:?}, nothing is stored"),
        ),
    }
}
