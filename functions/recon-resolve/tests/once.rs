//! A decision is taken once, whoever asks how often, and whatever dies meanwhile.

mod desk;

use std::collections::BTreeSet;

use desk::{FIRST, Ours, Recon, counts, said};
use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testbed::fresh;

const FUNCTION: &str = "recon-resolve";
/// Requests that race.
const RACERS: usize = 20;
/// Items that are decided about while the function is killed.
const ITEMS: u32 = 30;
/// How often it is killed.
const KILLS: usize = 5;

#[tokio::test]
async fn key_that_comes_again_has_its_answer_again() {
    let recon = Recon::new().await;
    let items = recon.items_of(&[Ours::capture(100).row("k")]).await;
    let path = items.line(2).path();
    let (ops, key) = (recon.bed().caller(FIRST), fresh("key"));
    let first = ops.post_keyed(&path, &said("accept"), &key).await;
    assert_eq!(first.status, 200, "{:?}", first.body);
    let again = ops.post_keyed(&path, &said("accept"), &key).await;
    assert!(again.replayed());
    assert_eq!((again.status, &again.body), (200, &first.body));
    let other = ops.post_keyed(&path, &said("write-off"), &key).await;
    assert_eq!(other.code(), "idempotency-key-reused");
    assert_eq!(counts(&recon).await, (1, 1));
}

#[tokio::test]
async fn of_decisions_that_race_one_takes_effect() {
    let recon = Recon::new().await;
    let items = recon.items_of(&[Ours::capture(100).row("k")]).await;
    let item = items.line(2);
    let bodies = ["accept", "write-off"].map(said);
    let racers = (0..RACERS).map(|number| item.decide(FIRST, &bodies[number % bodies.len()]));
    let replies = join_all(racers).await;
    let taken = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(taken, 1);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        let code = reply.code();
        assert!(
            ["item-not-open", "overloaded"].contains(&code.as_str()),
            "{code}"
        );
    }
    assert_eq!(counts(&recon).await, (1, 1));
}

#[tokio::test]
async fn one_key_that_races_takes_effect_once() {
    let recon = Recon::new().await;
    let items = recon.items_of(&[Ours::capture(100).row("k")]).await;
    let path = items.line(2).path();
    let (ops, key, accept) = (recon.bed().caller(FIRST), fresh("key"), said("accept"));
    let racers = (0..RACERS).map(|_| ops.post_until_settled(&path, &accept, &key));
    let bodies: BTreeSet<_> = join_all(racers)
        .await
        .into_iter()
        .map(|reply| (reply.status, reply.body))
        .collect();
    assert_eq!(bodies.len(), 1);
    assert_eq!(bodies.first().unwrap().0, 200);
    assert_eq!(counts(&recon).await, (1, 1));
}

#[tokio::test]
async fn decision_is_found_again_after_the_function_was_killed() {
    let recon = Recon::new().await;
    let rows: Vec<String> = (0..ITEMS).map(|_| Ours::capture(100).row("k")).collect();
    let items = recon.items_of(&rows).await;
    let ops = recon.bed().caller(FIRST);
    let paths: Vec<String> = (2..ITEMS + 2).map(|line| items.line(line).path()).collect();
    let accept = said("accept");
    let deciding = async {
        let mut replies = Vec::new();
        for path in &paths {
            let key = fresh("key");
            let twins = (0..2).map(|_| ops.post_until_settled(path, &accept, &key));
            replies.extend(join_all(twins).await);
        }
        replies
    };
    let killing = async {
        let mut pid = None;
        for _ in 0..KILLS {
            testbed::until("another process", async || {
                let instance = recon.bed().instance(FUNCTION).await.map(|it| it.pid);
                let new = instance.is_some() && instance != pid;
                pid = if new { instance } else { pid };
                new
            })
            .await;
            // It may have ended by itself since.
            let _ = kill(Pid::from_raw(pid.unwrap()), Signal::SIGKILL);
        }
    };
    let (replies, ()) = tokio::join!(deciding, killing);
    for twins in replies.chunks(2) {
        assert_eq!(twins[0].status, 200, "{:?}", twins[0].body);
        assert_eq!(twins[0].body, twins[1].body);
    }
    let once = i64::from(ITEMS);
    assert_eq!(counts(&recon).await, (once, once));
}
