use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{
    Driver, Puppeteer, Runtime, eventually, is_alive, pause, started_and_attached,
};

const OK: &str = r#"{"statusCode":200,"body":"done"}"#;

started_and_attached! {
    one_instance_runs_as_many_calls_at_once_as_its_concurrency
    sequential_instance_runs_one_call_after_the_other
    timeout_of_a_concurrent_function_fails_that_call_only
    concurrent_instance_that_hangs_is_replaced
    timeout_of_a_sequential_function_replaces_the_instance
    killed_instance_fails_its_own_calls_and_is_replaced
    full_queue_is_answered_with_503_and_retry_after
    call_that_waits_too_long_is_answered_with_503
    call_whose_client_has_gone_leaves_the_queue
    running_call_whose_client_has_gone_runs_to_its_timeout
}

async fn one_instance_runs_as_many_calls_at_once_as_its_concurrency(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start_under(driver, "concurrency = 32", "").await;
    let responses: Vec<_> = (0..33).map(|_| runtime.post("/puppet")).collect();
    let mut running = Vec::new();
    for _ in 0..32 {
        running.push(puppeteer.next().await);
    }
    runtime.queued("puppet", 1).await;
    let pids: BTreeSet<_> = running.iter().map(|invocation| invocation.pid).collect();
    assert_eq!(pids.len(), 1);
    assert_eq!(
        runtime
            .metric("lambda_in_flight{function=\"puppet\"}")
            .await
            .unwrap(),
        "32"
    );
    for invocation in running {
        invocation.answer(OK).await;
    }
    puppeteer.next().await.answer(OK).await;
    for response in responses {
        assert_eq!(response.await.unwrap().text().await.unwrap(), "done");
    }
}

async fn sequential_instance_runs_one_call_after_the_other(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start_under(driver, "", "").await;
    let responses = [runtime.post("/puppet"), runtime.post("/puppet")];
    let first = puppeteer.next().await;
    runtime.queued("puppet", 1).await;
    let pid = first.pid;
    first.answer(OK).await;
    let second = puppeteer.next().await;
    assert_eq!(second.pid, pid);
    second.answer(OK).await;
    for response in responses {
        assert_eq!(response.await.unwrap().status(), 200);
    }
}

/// Serves one call; the process that answered it.
async fn serve_one(runtime: &Runtime, puppeteer: &Puppeteer) -> i32 {
    let response = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    let pid = invocation.pid;
    invocation.answer(OK).await;
    assert_eq!(response.await.unwrap().text().await.unwrap(), "done");
    pid
}

async fn timeout_of_a_concurrent_function_fails_that_call_only(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer
        .start_under(driver, "concurrency = 2\ntimeout_s = 10", "")
        .await;
    let slow = runtime.post("/puppet");
    let overdue = puppeteer.next().await;
    let pid = overdue.pid;
    while !slow.is_finished() {
        assert_eq!(serve_one(&runtime, &puppeteer).await, pid);
    }
    assert_eq!(slow.await.unwrap().status(), 503);
    let timeouts = "lambda_errors_total{function=\"puppet\",type=\"timeout\"}";
    assert_eq!(runtime.metric(timeouts).await.unwrap(), "1");

    // The late answer reaches nobody, and the instance goes on.
    let next = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    overdue.answer(r#"{"statusCode":200,"body":"late"}"#).await;
    assert_eq!(invocation.pid, pid);
    invocation.answer(OK).await;
    assert_eq!(next.await.unwrap().text().await.unwrap(), "done");
    let both = [runtime.post("/puppet"), runtime.post("/puppet")];
    let running = [puppeteer.next().await, puppeteer.next().await];
    for invocation in running {
        assert_eq!(invocation.pid, pid, "both workers of the instance are back");
        invocation.answer(OK).await;
    }
    for response in both {
        assert_eq!(response.await.unwrap().text().await.unwrap(), "done");
    }
}

async fn concurrent_instance_that_hangs_is_replaced(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer
        .start_under(driver, "concurrency = 4\ntimeout_s = 5", "")
        .await;
    let hung = serve_one(&runtime, &puppeteer).await;
    pause(hung).await;
    let lost = runtime.post("/puppet").await.unwrap();
    assert_eq!(lost.status(), 503);
    eventually(async || (!is_alive(hung)).then_some(())).await;
    assert_ne!(serve_one(&runtime, &puppeteer).await, hung);
    assert_eq!(runtime.metric("lambda_restarts_total").await.unwrap(), "1");
}

async fn timeout_of_a_sequential_function_replaces_the_instance(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start_under(driver, "timeout_s = 2", "").await;
    let slow = runtime.post("/puppet");
    let stuck = puppeteer.next().await;
    assert_eq!(slow.await.unwrap().status(), 503);
    let next = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    assert_ne!(invocation.pid, stuck.pid);
    invocation.answer(OK).await;
    assert_eq!(next.await.unwrap().status(), 200);
}

async fn killed_instance_fails_its_own_calls_and_is_replaced(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer
        .start_under(
            driver,
            "concurrency = 2\nmin_instances = 2\nmax_instances = 2",
            "",
        )
        .await;
    let mut responses = Vec::new();
    let mut running = Vec::new();
    for _ in 0..2 {
        responses.push(runtime.post("/puppet"));
        running.push(puppeteer.next().await);
    }
    assert_ne!(running[0].pid, running[1].pid, "the calls are spread");
    let (survivor, victim) = (running.remove(0), running.remove(0));
    kill(Pid::from_raw(victim.pid), Signal::SIGKILL).unwrap();
    assert_eq!(responses.remove(1).await.unwrap().status(), 500);
    let survivor_pid = survivor.pid;
    survivor.answer(OK).await;
    assert_eq!(responses.remove(0).await.unwrap().status(), 200);

    eventually(async || {
        let pids = runtime.pids("puppet").await;
        (pids.len() == 2 && !pids.contains(&victim.pid)).then_some(())
    })
    .await;
    assert!(runtime.pids("puppet").await.contains(&survivor_pid));
    assert_eq!(runtime.metric("lambda_restarts_total").await.unwrap(), "1");
}

async fn full_queue_is_answered_with_503_and_retry_after(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let gateway = "[gateway]\nerrors = 'problem'";
    let runtime = puppeteer
        .start_under(driver, "queue_max = 1", gateway)
        .await;
    let responses = [runtime.post("/puppet"), runtime.post("/puppet")];
    let running = puppeteer.next().await;
    runtime.queued("puppet", 1).await;
    let refused = runtime.post("/puppet").await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "overloaded");
    running.answer(OK).await;
    puppeteer.next().await.answer(OK).await;
    for response in responses {
        assert_eq!(response.await.unwrap().status(), 200);
    }
    let throttles = "lambda_throttles_total{function=\"puppet\",reason=\"queue-full\"}";
    assert_eq!(runtime.metric(throttles).await.unwrap(), "1");
}

async fn call_that_waits_too_long_is_answered_with_503(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer
        .start_under(driver, "queue_wait_ms = 50", "")
        .await;
    let first = runtime.post("/puppet");
    let running = puppeteer.next().await;
    let shed = runtime.post("/puppet").await.unwrap();
    assert_eq!(shed.status(), 503);
    assert_eq!(shed.headers()["retry-after"], "1");
    running.answer(OK).await;
    assert_eq!(first.await.unwrap().status(), 200);
}

async fn call_whose_client_has_gone_leaves_the_queue(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start_under(driver, "", "").await;
    let first = runtime.post("/puppet");
    let running = puppeteer.next().await;
    let gone = runtime.post("/puppet");
    runtime.queued("puppet", 1).await;
    gone.abort();
    runtime.queued("puppet", 0).await;
    running.answer(OK).await;
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(
        runtime.metric("lambda_invocations_total").await.unwrap(),
        "1"
    );
}

async fn running_call_whose_client_has_gone_runs_to_its_timeout(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start_under(driver, "timeout_s = 2", "").await;
    let gone = runtime.post("/puppet");
    let stuck = puppeteer.next().await;
    gone.abort();
    eventually(async || (!runtime.pids("puppet").await.contains(&stuck.pid)).then_some(())).await;
    let next = runtime.post("/puppet");
    puppeteer.next().await.answer(OK).await;
    assert_eq!(next.await.unwrap().status(), 200);
}
