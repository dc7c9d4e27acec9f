//! What only instances of other machines have: agents, which come and go.

use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::harness::{
    Driver, Invocation, Load, Puppeteer, Runtime, eventually, example, is_alive, pause, soon,
};

const OK: &str = r#"{"statusCode":200,"body":"done"}"#;
const ECHO: &str = "[functions.one]\ncommand = [ECHO]\nconcurrency = 4\nroutes = ['POST /one']\n";

fn puppet() -> [String; 1] {
    [example("puppet").display().to_string()]
}

async fn instances(runtime: &Runtime, function: &str) -> Vec<Value> {
    let function = runtime.function(function).await;
    function["instances"].as_array().unwrap().clone()
}

/// Waits until a function has so many instances, and no other.
async fn has_instances(runtime: &Runtime, function: &str, count: usize) {
    eventually(async || (instances(runtime, function).await.len() == count).then_some(())).await;
}

/// Runs an agent that is refused; its exit code and what it says.
async fn refused(runtime: &Runtime, token: &Path, function: &str) -> (Option<i32>, String) {
    let mut agent = runtime.agent(token, function, 1, &puppet());
    let output = soon(agent.output()).await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text)
}

/// A call, and its invocation.
async fn begun(
    runtime: &Runtime,
    puppeteer: &Puppeteer,
) -> (JoinHandle<reqwest::Response>, Invocation) {
    (runtime.post("/puppet"), puppeteer.next().await)
}

async fn assert_served(runtime: &Runtime, puppeteer: &Puppeteer) {
    let (response, invocation) = begun(runtime, puppeteer).await;
    invocation.answer(OK).await;
    assert_eq!(response.await.unwrap().text().await.unwrap(), "done");
}

#[tokio::test]
async fn agent_that_may_not_attach_is_told_why_and_changes_nothing() {
    let puppeteer = Puppeteer::new().await;
    let rest = "[functions.other]\ndriver = 'attach'\nmax_instances = 1";
    let mut runtime = puppeteer.start_under(Driver::Attach, "", rest).await;
    runtime.add_agent("other", 1, &puppet());
    runtime.ready().await;
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "a token of some lengtH").unwrap();
    let right = runtime.token();
    for (token, function, reason) in [
        (&wrong, "puppet", "the token is wrong or missing"),
        (&right, "nobody", "there is no function nobody"),
        (&right, "other", "other has max_instances = 1 already"),
    ] {
        let (code, text) = refused(&runtime, token, function).await;
        assert_eq!((code, text.trim()), (Some(1), reason));
    }
    assert_eq!(instances(&runtime, "puppet").await.len(), 1);
    assert_eq!(instances(&runtime, "other").await.len(), 1);
    assert_served(&runtime, &puppeteer).await;
}

#[tokio::test]
async fn function_that_the_runtime_starts_gets_no_other_instances() {
    let runtime = Runtime::start_under(Driver::Attach, "").await;
    let program = example("echo").display().to_string();
    runtime.write_as_it_is(&format!("[functions.own]\ncommand = ['{program}']\n"));
    let (_, printed) = runtime.order(&["reload"]).await;
    assert_eq!(printed, "added: own\n");
    let (code, text) = refused(&runtime, &runtime.token(), "own").await;
    assert_eq!(code, Some(1));
    assert!(text.starts_with("own has instances of its own"), "{text}");
}

/// Sends a request to attach; the status of its answer.
async fn attach(address: SocketAddr, authorization: Option<&str>) -> http::StatusCode {
    use http_body_util::Empty;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let http = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{address}/1/functions/puppet/instances");
    let mut request = http::Request::post(uri);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    soon(sender.send_request(request)).await.unwrap().status()
}

#[tokio::test]
async fn request_without_the_token_is_not_answered() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start_under(Driver::Attach, "", "").await;
    let address = runtime.attach.unwrap();
    for authorization in [None, Some("Bearer "), Some("a token of some length")] {
        assert_eq!(attach(address, authorization).await, 401);
    }
    assert_eq!(instances(&runtime, "puppet").await.len(), 1);
    let right = attach(address, Some("Bearer a token of some length")).await;
    assert_eq!(right, 200);
}

#[tokio::test]
async fn call_waits_for_an_instance_to_attach() {
    let puppeteer = Puppeteer::new().await;
    let mut runtime = puppeteer.start_under(Driver::Attach, "", "").await;
    let agent = runtime.agents.remove(0);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended().await, Some(0));
    has_instances(&runtime, "puppet", 0).await;
    let waiting = runtime.post("/puppet");
    runtime.queued("puppet", 1).await;
    runtime.add_agent("puppet", 1, &puppet());
    puppeteer.next().await.answer(OK).await;
    assert_eq!(waiting.await.unwrap().status(), 200);
}

#[tokio::test]
async fn call_for_which_nobody_attaches_in_time_is_answered_with_503() {
    let manifest = format!(
        "{}queue_wait_ms = 50\n",
        ECHO.replace("command = [ECHO]", "driver = 'attach'")
    );
    let runtime = Runtime::start_under(Driver::Attach, &manifest).await;
    let refused = runtime.post("/one").await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
}

#[tokio::test]
async fn calls_are_spread_over_agents_and_ps_tells_their_machines() {
    let puppeteer = Puppeteer::new().await;
    let members = "concurrency = 2";
    let mut runtime = puppeteer.start_under(Driver::Attach, members, "").await;
    runtime.add_agent("puppet", 1, &puppet());
    runtime.ready().await;
    let calls = [
        begun(&runtime, &puppeteer).await,
        begun(&runtime, &puppeteer).await,
    ];
    assert_ne!(calls[0].1.pid, calls[1].1.pid);
    for (response, invocation) in calls {
        invocation.answer(OK).await;
        assert_eq!(response.await.unwrap().status(), 200);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let (_, table) = runtime.order(&["ps"]).await;
    for instance in ["puppet-1", "puppet-2"] {
        let row = table.lines().find(|line| line.contains(instance)).unwrap();
        assert!(row.ends_with(host.trim()), "{table}");
    }
    assert_eq!(instances(&runtime, "puppet").await[0]["host"], host.trim());
    assert_eq!(runtime.admin("/targets").await, "[]");
}

#[tokio::test]
async fn killed_agent_fails_its_own_calls_only() {
    let puppeteer = Puppeteer::new().await;
    let mut runtime = puppeteer.start_under(Driver::Attach, "", "").await;
    let (lost, lost_invocation) = begun(&runtime, &puppeteer).await;
    runtime.add_agent("puppet", 1, &puppet());
    runtime.has_idle("puppet", 1).await;
    let (kept, kept_invocation) = begun(&runtime, &puppeteer).await;
    let waiting = runtime.post("/puppet");
    runtime.queued("puppet", 1).await;
    runtime.agents.remove(0).signal(Signal::SIGKILL);
    assert_eq!(lost.await.unwrap().status(), 500);
    eventually(async || (!is_alive(lost_invocation.pid)).then_some(())).await;
    has_instances(&runtime, "puppet", 1).await;
    kept_invocation.answer(OK).await;
    assert_eq!(kept.await.unwrap().status(), 200);
    puppeteer.next().await.answer(OK).await;
    assert_eq!(waiting.await.unwrap().status(), 200);
}

#[tokio::test]
async fn silent_agent_is_noticed_and_comes_back() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start_under(Driver::Attach, "", "").await;
    let (lost, invocation) = begun(&runtime, &puppeteer).await;
    let agent = runtime.agents[0].pid();
    pause(agent).await;
    assert_eq!(lost.await.unwrap().status(), 500);
    has_instances(&runtime, "puppet", 0).await;
    kill(Pid::from_raw(agent), Signal::SIGCONT).unwrap();
    eventually(async || (!is_alive(invocation.pid)).then_some(())).await;
    assert_served(&runtime, &puppeteer).await;
}

#[tokio::test]
async fn silent_runtime_is_noticed_and_found_again() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start_under(Driver::Attach, "", "").await;
    let pid = runtime.pids("puppet").await[0];
    let paused = i32::try_from(runtime.process.id().unwrap()).unwrap();
    pause(paused).await;
    eventually(async || (!is_alive(pid)).then_some(())).await;
    kill(Pid::from_raw(paused), Signal::SIGCONT).unwrap();
    eventually(async || {
        let pids = runtime.pids("puppet").await;
        (!pids.is_empty() && !pids.contains(&pid)).then_some(())
    })
    .await;
    assert_served(&runtime, &puppeteer).await;
}

#[tokio::test]
async fn draining_agent_finishes_what_it_has_and_gets_no_more() {
    let puppeteer = Puppeteer::new().await;
    let members = "concurrency = 2";
    let mut runtime = puppeteer.start_under(Driver::Attach, members, "").await;
    let (response, invocation) = begun(&runtime, &puppeteer).await;
    let agent = runtime.agents.remove(0);
    agent.signal(Signal::SIGTERM);
    eventually(async || {
        let state = &instances(&runtime, "puppet").await[0]["state"];
        (state == "draining").then_some(())
    })
    .await;
    let waiting = runtime.post("/puppet");
    runtime.queued("puppet", 1).await;
    runtime.add_agent("puppet", 1, &puppet());
    let other = puppeteer.next().await;
    assert_ne!(other.pid, invocation.pid);
    other.answer(OK).await;
    assert_eq!(waiting.await.unwrap().status(), 200);
    let pid = invocation.pid;
    assert!(is_alive(pid));
    invocation.answer(OK).await;
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(agent.ended().await, Some(0));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn agents_come_and_go_without_a_failed_request() {
    let mut runtime = Runtime::start_under(Driver::Attach, ECHO).await;
    let load = Load::start(8, &runtime, "/one");
    let echo = [example("echo").display().to_string()];
    for _ in 0..3 {
        let old = runtime.agents.remove(0);
        runtime.add_agent("one", 2, &echo);
        runtime.ready().await;
        old.signal(Signal::SIGTERM);
        assert_eq!(old.ended().await, Some(0));
    }
    load.end().await;
}

#[tokio::test]
async fn agent_outlives_its_runtime() {
    let puppeteer = Puppeteer::new().await;
    let mut runtime = puppeteer.start_under(Driver::Attach, "", "").await;
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let before = runtime.pids("puppet").await;
        runtime = runtime.start_again_after(signal).await;
        assert_served(&runtime, &puppeteer).await;
        assert!(!before.into_iter().any(is_alive));
    }
}

#[tokio::test]
async fn runtime_is_replaced_without_a_failed_request() {
    let mut first = Runtime::start_under(Driver::Attach, ECHO).await;
    let agents = std::mem::take(&mut first.agents);
    let load = Load::start(8, &first, "/one");
    let mut second = first.launch_successor().await;
    second
        .await_line(|line| line["message"] == "the other runtime has given way")
        .await;
    assert_eq!(soon(first.process.wait()).await.unwrap().code(), Some(0));
    has_instances(&second, "one", 1).await;
    load.end().await;
    drop(agents);
}

#[tokio::test]
async fn instances_follow_their_function_to_its_next_version() {
    let runtime = Runtime::start_under(Driver::Attach, ECHO).await;
    let load = Load::start(8, &runtime, "/one");
    for round in 1..=3 {
        let changed = format!("{ECHO}environment = {{ ROUND = '{round}' }}\n");
        let (_, printed) = runtime.reload(&changed).await;
        assert_eq!(printed, "changed: one\n");
        eventually(async || {
            let instances = instances(&runtime, "one").await;
            let new = |it: &Value| it["version"] == round + 1;
            (instances.len() == 1 && instances.iter().all(new)).then_some(())
        })
        .await;
    }
    let (done, printed) = runtime.order(&["rollout", "one"]).await;
    assert!(done, "{printed}");
    eventually(async || (instances(&runtime, "one").await[0]["version"] == 5).then_some(())).await;
    load.end().await;
    let (done, printed) = runtime.order(&["rollout", "one", "--canary", "10"]).await;
    assert!(!done && printed.contains("canary"), "{printed}");
    let (done, printed) = runtime.order(&["scale", "one", "--min", "2"]).await;
    assert!(!done && printed.contains("elsewhere"), "{printed}");
}

#[tokio::test]
async fn function_that_goes_and_comes_gets_its_instances_back() {
    let runtime = Runtime::start_under(Driver::Attach, ECHO).await;
    let pids = runtime.pids("one").await;
    runtime.reload("").await;
    eventually(async || (!pids.iter().any(|pid| is_alive(*pid))).then_some(())).await;
    runtime.reload(ECHO).await;
    assert_eq!(runtime.post("/one").await.unwrap().status(), 200);
}

#[tokio::test]
async fn log_of_another_machine_is_shown_here() {
    let runtime = Runtime::start_under(Driver::Attach, ECHO).await;
    let (_, printed) = runtime.order(&["logs", "one"]).await;
    let line: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    assert_eq!(line["message"], "started");
    assert_eq!(line["instance"], "one-1");
}

#[tokio::test]
async fn instances_need_an_address_to_attach_to() {
    let runtime = Runtime::start("").await;
    runtime.write_as_it_is("[functions.one]\ndriver = 'attach'\n");
    let (done, printed) = runtime.order(&["reload"]).await;
    assert_eq!((done, &*printed), (false, "no --attach, which one needs\n"));
}
