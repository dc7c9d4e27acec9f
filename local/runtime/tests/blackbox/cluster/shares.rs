use nix::sys::signal::Signal;

use super::{Database, await_source, manifest, start};
use crate::harness::{Puppeteer, Runtime, eventually};

const RESERVED: &str = "reserved_concurrency = 5\nconcurrency = 8\ntimeout_s = 60";

async fn await_share(runtime: &Runtime, share: u64) {
    eventually(async || {
        let function = runtime.function("puppet").await;
        (function["reservedConcurrency"] == share).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_reserved_is_split_by_weight_and_goes_to_who_remains() {
    let (database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let table = puppeteer.manifest(RESERVED, "");
    let first = Runtime::start(&manifest(&database, "a", &table)).await;
    await_share(&first, 5).await;
    let heavy = manifest(&database, "b", &table).replace("'b'", "'b'\nweight = 3");
    let second = Runtime::start(&heavy).await;
    // The second serves only when the first has made room.
    assert_eq!(first.function("puppet").await["reservedConcurrency"], 2);
    assert_eq!(second.function("puppet").await["reservedConcurrency"], 3);
    let share = second
        .metric("lambda_reserved_concurrency{function=\"puppet\"}")
        .await;
    assert_eq!(share.as_deref(), Some("3"));

    let calls = [first.post("/puppet"), first.post("/puppet")];
    let running = [puppeteer.next().await, puppeteer.next().await];
    assert_eq!(first.post("/puppet").await.unwrap().status(), 503);
    for invocation in running {
        invocation.answer("{}").await;
    }
    for call in calls {
        assert_eq!(call.await.unwrap().status(), 200);
    }
    second.signal(Signal::SIGTERM);
    await_share(&first, 5).await;
}

#[tokio::test]
async fn share_of_a_killed_host_goes_to_the_others() {
    let (database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let table = puppeteer.manifest(RESERVED, "");
    let first = Runtime::start(&manifest(&database, "a", &table)).await;
    let second = Runtime::start(&manifest(&database, "b", &table)).await;
    await_share(&first, 2).await;
    second.signal(Signal::SIGKILL);
    await_share(&first, 5).await;
}

#[tokio::test]
async fn host_that_may_run_no_call_of_a_function_leaves_its_sources_to_another() {
    let (database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let source = "reserved_concurrency = 1\n[functions.puppet.continuous]\nidle_ms = 5\n";
    let first = start(&database, &puppeteer, "b", source).await;
    let running = puppeteer.next().await;
    let second = start(&database, &puppeteer, "a", source).await;
    assert_eq!(first.function("puppet").await["reservedConcurrency"], 0);
    let pid = running.pid;
    running.answer("{}").await;
    let next = puppeteer.next().await;
    assert_ne!(next.pid, pid);
    await_source(&first, "standby").await;
    await_source(&second, "running").await;
}
