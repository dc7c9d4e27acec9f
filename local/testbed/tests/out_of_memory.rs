//! A function gets no more memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use futures_util::future::join_all;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use testbed::{Authorization, Caller, Testbed, until};

/// Payments that are asked for meanwhile.
const CLIENTS: usize = 64;
/// Requests at once that take memory.
const LARGE: usize = 16;
/// Bytes of each: more than is accepted, yet read before it is refused.
const LARGE_BYTES: usize = 2 * 1024 * 1024;

#[tokio::test]
async fn a_function_that_runs_out_of_memory_is_replaced_and_its_requests_take_effect_once() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let pid = bed.instance_pid("authorize").await;
    take_no_more_memory(pid);

    let all: Vec<_> = (0..CLIENTS).map(|_| Authorization::fresh()).collect();
    let settled = join_all(all.iter().map(|authorization| authorization.settle(&demo)));
    let ended = until("the end of the process", async || {
        join_all((0..LARGE).map(|_| ask_for_much(&demo))).await;
        bed.instance("authorize")
            .await
            .is_none_or(|instance| instance.pid != pid)
    });
    let (replies, ()) = tokio::join!(settled, ended);

    bed.replaced("authorize", pid).await;
    for (authorization, reply) in all.iter().zip(&replies) {
        bed.assert_took_place_once(authorization, reply).await;
    }
    bed.assert_books_hold().await;
}

/// Limits the data of a process to what it has now.
fn take_no_more_memory(pid: i32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmData:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap();
    let limit = Rlimit {
        current: Some(kib * 1024),
        maximum: Some(kib * 1024),
    };
    prlimit(Pid::from_raw(pid), Resource::Data, limit).unwrap();
}

/// The answer does not matter, nor whether there is one.
async fn ask_for_much(demo: &Caller) {
    let asked = json!({ "orderId": "x".repeat(LARGE_BYTES), "amount": 1, "currency": "KRW" });
    let request = demo.request("POST", "/payments/authorize");
    let _ = request.body(asked.to_string()).try_send().await;
}
