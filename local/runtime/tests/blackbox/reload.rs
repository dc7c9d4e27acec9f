use nix::sys::signal::Signal;
use tokio::net::TcpListener;

use crate::harness::{Load, Puppeteer, Runtime, eventually, is_alive, soon};

const ONE: &str = "[functions.one]\ncommand = [ECHO]\nconcurrency = 4\nroutes = ['POST /one']\n";

async fn status(runtime: &Runtime, path: &str) -> u16 {
    runtime.post(path).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn functions_come_change_and_go_without_a_failed_request() {
    let runtime = Runtime::start(ONE).await;
    let load = Load::start(8, &runtime, "/one");
    for round in 1..=5 {
        let changed = format!("{ONE}environment = {{ ROUND = '{round}' }}\n");
        let two = "[functions.two]\ncommand = [ECHO]\nroutes = ['POST /two']\n";
        let (_, printed) = runtime.reload(&format!("{changed}{two}")).await;
        assert_eq!(printed, "added: two\nchanged: one\n");
        assert_eq!(status(&runtime, "/two").await, 200);
        let (_, printed) = runtime.reload(&changed).await;
        assert_eq!(printed, "removed: two\n");
        assert_eq!(status(&runtime, "/two").await, 404);
    }
    load.end().await;
    let one = runtime.function("one").await;
    assert_eq!(
        one["instances"].as_array().unwrap().last().unwrap()["version"],
        6
    );
}

#[tokio::test]
async fn call_ends_in_the_version_that_began_it() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let begun = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    let old = invocation.pid;
    let (_, printed) = runtime
        .reload(&puppeteer.manifest("timeout_s = 50", ""))
        .await;
    assert_eq!(printed, "changed: puppet\n");
    let next = runtime.post("/puppet");
    let second = puppeteer.next().await;
    assert_ne!(second.pid, old);
    second.answer("{}").await;
    assert_eq!(next.await.unwrap().status(), 200);
    assert!(is_alive(old));
    invocation.answer("{}").await;
    assert_eq!(begun.await.unwrap().status(), 200);
    eventually(async || (!is_alive(old)).then_some(())).await;
}

#[tokio::test]
async fn manifest_with_faults_changes_nothing() {
    let runtime = Runtime::start(ONE).await;
    let before = runtime.function("one").await;
    let (done, message) = runtime.reload(&format!("{ONE}colour = 'red'\n")).await;
    assert!(!done);
    assert!(
        message.contains("functions.toml:5: unknown member"),
        "{message}"
    );
    let broken = format!("{ONE}environment = {{ FAIL_AT_START = '1' }}\n");
    let (done, message) = runtime.reload(&broken).await;
    assert!(!done);
    assert_eq!(message, "one: an instance of the new version has ended\n");
    assert_eq!(status(&runtime, "/one").await, 200);
    eventually(async || {
        let now = runtime.function("one").await;
        (now["instances"] == before["instances"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn new_route_needs_no_new_instance() {
    let mut runtime = Runtime::start(ONE).await;
    let read = |line: &serde_json::Value| line["message"] == "the manifest was read again";
    let before = runtime.pids("one").await;
    let routes = ONE.replace("'POST /one'", "'POST /one', 'POST /uno'");
    let (_, printed) = runtime.reload(&routes).await;
    assert_eq!(printed, "no function changed\n");
    assert_eq!(status(&runtime, "/uno").await, 200);
    assert_eq!(runtime.pids("one").await, before);

    runtime.await_line(read).await;

    runtime.write(ONE);
    runtime.signal(Signal::SIGHUP);
    runtime.await_line(read).await;
    assert_eq!(status(&runtime, "/uno").await, 404);
}

#[tokio::test]
async fn source_that_changes_goes_on_as_it_then_is() {
    let puppeteer = Puppeteer::new().await;
    let source = |idle: u32| {
        let rest = format!("[functions.puppet.continuous]\nidle_ms = {idle}\n");
        puppeteer.manifest("", &rest)
    };
    let runtime = Runtime::start(&source(5)).await;
    let first = puppeteer.next().await;
    let (_, printed) = runtime.reload(&source(6)).await;
    assert_eq!(printed, "no function changed\n");
    assert_eq!(runtime.metric("lambda_in_flight").await.unwrap(), "1");
    first.answer("{}").await;
    let second = puppeteer.next().await;
    runtime.reload(&puppeteer.manifest("", "")).await;
    second.answer("{}").await;
    eventually(async || {
        let running = runtime.metric("lambda_in_flight").await.unwrap();
        (running == "0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn change_whose_client_leaves_is_made_to_its_end() {
    let mut runtime = Runtime::start(ONE).await;
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gate.local_addr().unwrap();
    runtime.write(&format!(
        "{ONE}environment = {{ START_AFTER = '{address}' }}\n"
    ));
    let url = format!("http://{}/reload", runtime.admin);
    let client = tokio::spawn(runtime.client.post(url).send());
    let (starting, _) = soon(gate.accept()).await.unwrap();
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    drop(starting);
    let read = |line: &serde_json::Value| line["message"] == "the manifest was read again";
    runtime.await_line(read).await;
    eventually(async || {
        let one = runtime.function("one").await;
        let versions = one["instances"].as_array().unwrap().iter();
        versions.clone().all(|it| it["version"] == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn function_that_comes_back_while_its_old_calls_run_is_another() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let begun = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    runtime.reload(ONE).await;
    let (_, printed) = runtime.reload(&puppeteer.manifest("", "")).await;
    assert_eq!(printed, "added: puppet\nremoved: one\n");
    let function = runtime.function("puppet").await;
    let names = function["instances"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["puppet-1", "puppet-2"]);
    invocation.answer("{}").await;
    assert_eq!(begun.await.unwrap().status(), 200);
}
