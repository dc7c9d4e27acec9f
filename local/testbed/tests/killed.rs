//! A function is killed while it works on many requests.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testbed::{Authorization, Testbed, until};

/// Clients at once.
const CLIENTS: usize = 64;
/// Authorizations of each, one after the other, so that some are under way at the kill.
const EACH: usize = 3;
/// Kills.
const ROUNDS: usize = 4;

#[tokio::test]
async fn a_function_killed_in_the_middle_of_batches_repeats_and_loses_nothing() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    for _ in 0..ROUNDS {
        let all: Vec<_> = (0..CLIENTS * EACH)
            .map(|_| Authorization::fresh())
            .collect();
        let clients = all.chunks(EACH).map(async |mine| {
            let mut replies = Vec::new();
            for authorization in mine {
                replies.push(authorization.settle(&demo).await);
            }
            replies
        });
        let (replies, pid) = tokio::join!(join_all(clients), kill_at_work(&bed));
        bed.replaced("authorize", pid).await;
        for (authorization, reply) in all.iter().zip(replies.concat()) {
            bed.assert_took_place_once(authorization, &reply).await;
        }
    }
    bed.assert_books_hold().await;
}

/// Kills `authorize` while it runs calls, and gives its process.
async fn kill_at_work(bed: &Testbed) -> i32 {
    let mut pid = 0;
    until("calls under way", async || {
        let instance = bed.instance("authorize").await;
        let at_work = instance.filter(|instance| instance.in_flight > 0);
        pid = at_work.map_or(0, |instance| instance.pid);
        pid != 0
    })
    .await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    pid
}
