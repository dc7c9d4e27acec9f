//! A function hangs and never goes on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testbed::{Authorization, Testbed};

/// Clients at once.
const CLIENTS: usize = 64;

#[tokio::test]
async fn a_function_that_hangs_is_replaced_and_its_requests_take_effect_once() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let all: Vec<_> = (0..CLIENTS).map(|_| Authorization::fresh()).collect();
    let hung = Hung::now(bed.instance_pid("authorize").await);
    let settled = all.iter().map(|authorization| authorization.settle(&demo));
    let replies = join_all(settled).await;

    bed.replaced("authorize", hung.0.as_raw()).await;
    for (authorization, reply) in all.iter().zip(&replies) {
        bed.assert_took_place_once(authorization, reply).await;
    }
    bed.assert_books_hold().await;
}

/// A process that stands still; ended with the test, so that a failure harms no other test.
struct Hung(Pid);

impl Hung {
    fn now(pid: i32) -> Self {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        Self(Pid::from_raw(pid))
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // Replaced, it is gone already.
        let _ = kill(self.0, Signal::SIGKILL);
    }
}
