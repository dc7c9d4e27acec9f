use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{Load, Puppeteer, Runtime, eventually, is_alive, soon};

const ECHO: &str = "[functions.one]\ncommand = [ECHO]\nconcurrency = 4\nroutes = ['POST /one']\n";

/// Starts a runtime in the place of another, and waits until that one has ended.
async fn take_over(mut old: Runtime) -> Runtime {
    let mut new = old.launch_successor().await;
    new.await_line(|line| line["message"] == "the other runtime has given way")
        .await;
    let status = soon(old.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    new
}

#[tokio::test]
async fn runtime_is_replaced_without_a_failed_request() {
    let first = Runtime::start(ECHO).await;
    let addresses = [first.http, first.invoke, first.admin];
    let load = Load::start(8, &first, "/one");
    let instances = first.pids("one").await;
    let second = take_over(first).await;
    assert_eq!([second.http, second.invoke, second.admin], addresses);
    let others = second.pids("one").await;
    assert_ne!(others, instances);
    let third = take_over(second).await;
    assert_eq!(third.post("/one").await.unwrap().status(), 200);
    load.end().await;
    assert!(!instances.into_iter().chain(others).any(is_alive));
}

#[tokio::test]
async fn runtime_whose_functions_do_not_start_takes_nothing_over() {
    let first = Runtime::start(ECHO).await;
    first.write(&format!("{ECHO}environment = {{ FAIL_AT_START = '1' }}\n"));
    let mut second = first.launch_successor().await;
    let status = soon(second.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(first.post("/one").await.unwrap().status(), 200);
    first.write(ECHO);
    take_over(first).await;
}

#[tokio::test]
async fn call_in_progress_is_finished_by_the_runtime_that_began_it() {
    let puppeteer = Puppeteer::new().await;
    let mut first = puppeteer.start("", "").await;
    let begun = first.post("/puppet");
    let invocation = puppeteer.next().await;
    let second = first.launch_successor().await;
    let next = eventually(async || {
        let now = second.pids("puppet").await;
        (!now.contains(&invocation.pid)).then_some(now)
    })
    .await;
    let response = second.post("/puppet");
    let other = puppeteer.next().await;
    assert_eq!(next, [other.pid]);
    other.answer("{}").await;
    assert_eq!(response.await.unwrap().status(), 200);
    invocation.answer("{}").await;
    assert_eq!(begun.await.unwrap().status(), 200);
    let status = soon(first.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn continuous_function_runs_in_one_runtime_at_a_time() {
    let puppeteer = Puppeteer::new().await;
    let source = "[functions.puppet.continuous]\nidle_ms = 5\n";
    let first = puppeteer.start("max_instances = 2", source).await;
    let running = puppeteer.next().await;
    let second = first.launch_successor().await;
    eventually(async || {
        let now = second.pids("puppet").await;
        (!now.contains(&running.pid)).then_some(())
    })
    .await;
    assert_eq!(second.metric("lambda_in_flight").await.unwrap(), "0");
    let first_pid = running.pid;
    running.answer("{}").await;
    let next = puppeteer.next().await;
    assert_ne!(next.pid, first_pid);
    next.answer("{}").await;
}

#[tokio::test]
async fn events_are_kept_across_the_change() {
    let puppeteer = Puppeteer::new().await;
    let first = puppeteer.start("", "").await;
    let send = async |runtime: &Runtime, n: u32| {
        let request = runtime
            .invocation("puppet")
            .body(json!({ "n": n }).to_string());
        let request = request.header("x-amz-invocation-type", "Event");
        assert_eq!(soon(request.send()).await.unwrap().status(), 202);
    };
    for n in 0..3 {
        send(&first, n).await;
    }
    let running = puppeteer.next().await;
    assert_eq!(running.event["n"], 0);
    let second = first.launch_successor().await;
    let fourth = send(&second, 3);
    let served = async {
        running.answer("{}").await;
        let mut events = Vec::new();
        for _ in 1..4 {
            let invocation = puppeteer.next().await;
            events.push(invocation.event["n"].as_u64().unwrap());
            invocation.answer("{}").await;
        }
        events.sort_unstable();
        events
    };
    let ((), events) = tokio::join!(fourth, served);
    assert_eq!(events, [1, 2, 3]);
    assert!(TcpStream::connect(second.http).await.is_ok());
}
