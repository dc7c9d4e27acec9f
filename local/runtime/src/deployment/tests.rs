use std::sync::Mutex;

use super::*;
use crate::dispatch::Dispatcher;
use crate::manifest::Manifest;
use crate::metrics::Registry;

fn version(deployment: Option<&Deployment>) -> Arc<Function> {
    let manifest = Manifest::parse("[functions.a]\ncommand = ['a']\n", &|_| None).expect("valid");
    let version = match deployment {
        Some(deployment) => deployment.next_version(None),
        None => Version::first(Arc::default(), None),
    };
    let registry = Registry::new().expect("builds");
    let dispatcher = Arc::new(Mutex::new(Dispatcher::new(None)));
    let config = manifest.functions["a"].config.clone();
    let function = Function::new(config, version, registry.function("a"), dispatcher);
    Arc::new(function)
}

/// Versions and what has become of them.
fn states(deployment: &Deployment) -> Vec<(u64, State)> {
    let history = deployment.history().into_iter();
    history.map(|it| (it.version, it.state)).collect()
}

const HALF: Terms = Terms {
    share: 50,
    errors_max: 10,
};

#[test]
fn canary_takes_its_share_evenly() {
    let deployment = Deployment::new(version(None));
    for share in [1, 10, 33, 99] {
        let terms = Terms { share, ..HALF };
        deployment.try_out(version(Some(&deployment)), terms);
        let taken = (0..200).filter(|_| deployment.function().version.number > 1);
        assert_eq!(taken.count(), 2 * share as usize);
        let run = (0..10).filter(|_| deployment.function().version.number > 1);
        assert!(
            run.count() <= share as usize / 10 + 1,
            "never many in a row"
        );
    }
}

#[test]
fn promoted_canary_replaces_the_current_version() {
    let deployment = Deployment::new(version(None));
    assert_eq!(deployment.promote(), None);
    deployment.try_out(version(Some(&deployment)), HALF);
    assert_eq!(
        states(&deployment),
        [(1, State::Current), (2, State::Canary)]
    );
    assert_eq!(deployment.promote(), Some(2));
    assert_eq!(deployment.current().version.number, 2);
    assert_eq!(
        states(&deployment),
        [(1, State::Replaced), (2, State::Current)]
    );
    let (_, previous) = deployment.previous().expect("the first");
    assert_eq!(previous.number, 1);
}

#[test]
fn canary_that_fails_too_often_is_taken_back() {
    let deployment = Deployment::new(version(None));
    let canary = version(Some(&deployment));
    deployment.try_out(Arc::clone(&canary), HALF);
    for failed in 0..2 {
        (0..9).for_each(|_| canary.tally.ended(false));
        canary.tally.ended(true);
        assert_eq!(
            deployment.judge_canary(),
            None,
            "{failed} in ten are allowed"
        );
    }
    canary.tally.ended(true);
    let (number, reason) = deployment.judge_canary().expect("taken back");
    assert_eq!(
        (number, &*reason),
        (2, "3 of 21 calls failed, more than 10 %")
    );
    assert_eq!(
        states(&deployment),
        [(1, State::Current), (2, State::RolledBack)]
    );
    assert!((0..10).all(|_| deployment.function().version.number == 1));
}

#[test]
fn few_calls_say_nothing_about_a_canary() {
    let deployment = Deployment::new(version(None));
    let canary = version(Some(&deployment));
    deployment.try_out(Arc::clone(&canary), HALF);
    (1..CALLS_JUDGED_MIN).for_each(|_| canary.tally.ended(true));
    assert_eq!(deployment.judge_canary(), None);
    canary.tally.ended(true);
    assert!(deployment.judge_canary().is_some());
}

#[test]
fn version_that_was_left_is_not_returned_to() {
    let deployment = Deployment::new(version(None));
    deployment.switch_to(version(Some(&deployment)), "rolled out");
    let first = version(None);
    deployment.return_to(first);
    assert_eq!(
        states(&deployment),
        [(1, State::Current), (2, State::RolledBack)]
    );
    assert!(deployment.previous().is_none());
    deployment.switch_to(version(Some(&deployment)), "rolled out");
    let expected = [
        (1, State::Replaced),
        (2, State::RolledBack),
        (3, State::Current),
    ];
    assert_eq!(states(&deployment), expected);
}

#[test]
fn version_that_takes_calls_is_never_forgotten() {
    let deployment = Deployment::new(version(None));
    for _ in 0..12 {
        deployment.try_out(version(Some(&deployment)), HALF);
        assert!(deployment.drop_canary("by hand").is_some());
    }
    let kept = states(&deployment);
    assert_eq!((kept.len(), kept[0]), (10, (1, State::Current)));
    deployment.switch_to(version(Some(&deployment)), "rolled out");
    let (_, previous) = deployment.previous().expect("the first");
    assert_eq!(previous.number, 1);
}
