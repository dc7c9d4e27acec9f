use nix::sys::signal::Signal;

use super::{Database, await_source, epoch, start};
use crate::harness::{Puppeteer, Runtime, eventually, pause, soon};

const CONTINUOUS: &str = "[functions.puppet.continuous]\nidle_ms = 5\n";

/// Two hosts, of which the first has the lease.
async fn two(database: &Database, puppeteer: &Puppeteer) -> [Runtime; 2] {
    let first = start(database, puppeteer, "a", CONTINUOUS).await;
    puppeteer.next().await.answer("{}").await;
    let second = start(database, puppeteer, "b", CONTINUOUS).await;
    await_source(&second, "standby").await;
    [first, second]
}

/// Answers the invocations of the process `pid` until one of another comes.
async fn next_of_another(puppeteer: &Puppeteer, pid: i32) -> crate::harness::Invocation {
    loop {
        let invocation = puppeteer.next().await;
        if invocation.pid != pid {
            return invocation;
        }
        invocation.answer("{}").await;
    }
}

#[tokio::test]
async fn lease_of_a_host_that_drains_goes_to_the_other() {
    let (database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let [mut first, second] = two(&database, &puppeteer).await;
    let running = puppeteer.next().await;
    assert_eq!(epoch(&running), 1);
    first.signal(Signal::SIGTERM);
    first
        .await_line(|line| line["message"].as_str().unwrap().starts_with("stopping"))
        .await;
    let pid = running.pid;
    running.answer("{}").await;
    let next = puppeteer.next().await;
    assert_ne!(next.pid, pid);
    assert_eq!(epoch(&next), 2);
    let source = await_source(&second, "running").await;
    assert_eq!(source["epoch"], 2);
    let held = second
        .metric("lambda_lease_held{function=\"puppet\"}")
        .await;
    assert_eq!(held.as_deref(), Some("1"));
    let status = soon(first.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn lease_of_a_killed_host_is_taken() {
    let (database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let [first, second] = two(&database, &puppeteer).await;
    let running = puppeteer.next().await;
    first.signal(Signal::SIGKILL);
    let next = puppeteer.next().await;
    assert_ne!(next.pid, running.pid);
    assert_eq!(epoch(&next), 2);
    eventually(async || {
        let hosts = second.metric("lambda_cluster_hosts").await;
        (hosts.as_deref() == Some("1")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn host_that_was_paused_calls_nothing_when_it_wakes() {
    let (database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let [first, second] = two(&database, &puppeteer).await;
    let running = puppeteer.next().await;
    let pid = i32::try_from(first.process.id().unwrap()).unwrap();
    pause(pid).await;
    let of_first = running.pid;
    running.answer("{}").await;
    let next = puppeteer.next().await;
    assert_ne!(next.pid, of_first);
    assert_eq!(epoch(&next), 2);
    first.signal(Signal::SIGCONT);
    await_source(&first, "standby").await;
    next.answer("{}").await;
    for _ in 0..3 {
        let next = puppeteer.next().await;
        assert_ne!(next.pid, of_first);
        next.answer("{}").await;
    }
    await_source(&second, "running").await;
}

#[tokio::test]
async fn functions_are_served_while_the_database_is_away_and_sources_wait_for_it() {
    let (mut database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let echo =
        "[functions.echo]\ncommand = [ECHO]\nroutes = ['POST /echo']\nreserved_concurrency = 4\n";
    let host = start(&database, &puppeteer, "a", &format!("{CONTINUOUS}{echo}")).await;
    puppeteer.next().await.answer("{}").await;
    database.kill().await;
    let running = puppeteer.next().await;
    // The term is over, though what has begun goes on.
    eventually(async || {
        let connected = host.metric("lambda_cluster_connected").await;
        (connected.as_deref() == Some("0")).then_some(())
    })
    .await;
    running.answer("{}").await;
    await_source(&host, "standby").await;
    assert_eq!(host.post("/echo").await.unwrap().status(), 200);
    assert_eq!(host.function("echo").await["reservedConcurrency"], 4);
    let (shown, table) = host.order(&["cluster"]).await;
    assert!(
        shown && table.contains("the database does not answer"),
        "{table}"
    );

    database.start_again().await;
    let next = puppeteer.next().await;
    assert_eq!(epoch(&next), 2);
}

#[tokio::test]
async fn lease_stays_through_a_short_restart_of_the_database() {
    let (mut database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let host = start(&database, &puppeteer, "a", CONTINUOUS).await;
    let running = puppeteer.next().await;
    database.kill().await;
    database.start_again().await;
    eventually(async || {
        let connected = host.metric("lambda_cluster_connected").await;
        (connected.as_deref() == Some("1")).then_some(())
    })
    .await;
    running.answer("{}").await;
    // One if the server was back in time, else two; there is a next invocation in any case.
    assert!(epoch(&puppeteer.next().await) <= 2);
}

#[tokio::test]
async fn continuous_function_runs_in_one_runtime_at_a_time_when_one_takes_over() {
    let (database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let [first, _second] = two(&database, &puppeteer).await;
    let running = puppeteer.next().await;
    let _third = first.launch_successor().await;
    let pid = running.pid;
    running.answer("{}").await;
    let next = next_of_another(&puppeteer, pid).await;
    assert_eq!(epoch(&next), 2);
}
