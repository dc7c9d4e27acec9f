use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Puppeteer, Runtime, eventually, is_alive, soon};

const OK: &str = r#"{"statusCode":200,"body":"done"}"#;

#[tokio::test]
async fn killed_runtime_takes_its_instances_along() {
    let puppeteer = Puppeteer::new().await;
    let mut runtime = puppeteer
        .start("min_instances = 3\nmax_instances = 3", "")
        .await;
    let pids = runtime.pids("puppet").await;
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    runtime.signal(Signal::SIGKILL);
    soon(runtime.process.wait()).await.unwrap();
    eventually(async || (!pids.iter().any(|pid| is_alive(*pid))).then_some(())).await;
}

#[tokio::test]
async fn stopping_runtime_answers_what_it_has_begun() {
    let puppeteer = Puppeteer::new().await;
    let mut runtime = puppeteer.start("concurrency = 2", "").await;
    let pids = runtime.pids("puppet").await;
    let response = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    runtime.signal(Signal::SIGTERM);
    runtime
        .await_line(|line| line["message"].as_str().unwrap().starts_with("stopping"))
        .await;
    eventually(async || {
        let refused = tokio::net::TcpStream::connect(runtime.http).await;
        refused.is_err().then_some(())
    })
    .await;
    invocation.answer(OK).await;
    assert_eq!(response.await.unwrap().text().await.unwrap(), "done");
    let status = soon(runtime.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
}

#[tokio::test]
async fn end_of_an_instance_is_logged_with_its_last_lines() {
    let mut runtime = Runtime::launch(
        "[functions.broken]\ncommand = [ECHO]\nenvironment = { FAIL_AT_START = '1' }\n",
    )
    .await;
    let line = runtime
        .await_line(|line| {
            line["message"]
                .as_str()
                .unwrap()
                .starts_with("the instance ended")
        })
        .await;
    assert_eq!(line["function"], "broken");
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("exit status 1"));
    assert!(
        line["log"]
            .as_str()
            .unwrap()
            .contains("told to fail at start")
    );
}

#[tokio::test]
async fn missing_program_is_logged_and_retried() {
    let mut runtime = Runtime::launch("[functions.absent]\ncommand = ['/does/not/exist']\n").await;
    for _ in 0..2 {
        let line = runtime
            .await_line(|line| {
                line["message"]
                    .as_str()
                    .unwrap()
                    .starts_with("the instance ended")
            })
            .await;
        assert!(
            line["log"]
                .as_str()
                .unwrap()
                .contains("cannot run /does/not/exist")
        );
    }
}

#[tokio::test]
async fn lines_of_functions_name_function_and_instance() {
    let mut runtime = Runtime::launch("[functions.echo]\ncommand = [ECHO]\n").await;
    let line = runtime
        .await_line(|line| line["message"] == "started")
        .await;
    assert_eq!(line["function"], "echo");
    assert_eq!(line["instance"], "echo-1");
    assert_eq!(line["level"], "INFO");
}

#[tokio::test]
async fn environment_is_aws_and_the_manifests_and_nothing_else() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    let path = secret.path().display().to_string();
    let runtime = Runtime::start(&format!(
        "[functions.echo]\ncommand = [ECHO]\nroutes = ['GET /d']\nmemory_mb = 256\n\
         environment = {{ COLOR = \"${{RUNTIME_ONLY}}\" }}\nsecrets = {{ KEYS_FILE = '{path}' }}\n"
    ))
    .await;
    let request = runtime
        .client
        .get(runtime.url("/d"))
        .header("x-describe", "1");
    let seen: Value = soon(request.send()).await.unwrap().json().await.unwrap();
    let environment = seen["environment"].as_object().unwrap();
    assert_eq!(environment["COLOR"], "not for functions");
    assert_eq!(environment["KEYS_FILE"], path);
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "echo");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_VERSION"], "$LATEST");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    assert_eq!(environment["TZ"], ":UTC");
    for absent in ["RUNTIME_ONLY", "HOME", "USER", "AWS_LAMBDA_MAX_CONCURRENCY"] {
        assert!(!environment.contains_key(absent), "{absent}");
    }
    let address = environment["AWS_LAMBDA_RUNTIME_API"].as_str().unwrap();
    let metrics = environment["LOCAL_LAMBDA_METRICS_ADDR"].as_str().unwrap();
    assert_eq!(address.split(':').next(), metrics.split(':').next());
    assert!(
        address.starts_with("127.") && address.ends_with(":9001"),
        "{address}"
    );
}

/// Whether a process is in a control group that a runtime has made.
fn is_limited(pid: i32) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    groups.contains("/local-lambda/")
}

/// On a machine whose control groups are not writable there is no limit to be met.
#[tokio::test]
async fn instance_that_uses_too_much_memory_is_ended_and_replaced() {
    let puppeteer = Puppeteer::new().await;
    let mut runtime = puppeteer.start("memory_mb = 64", "").await;
    if !is_limited(runtime.pids("puppet").await[0]) {
        return eprintln!("not tested: control groups are not writable here");
    }
    let response = runtime.post("/puppet");
    puppeteer.next().await.answer("swell").await;
    assert_eq!(response.await.unwrap().status(), 500);
    let line = runtime
        .await_line(|line| {
            line["message"]
                .as_str()
                .unwrap()
                .starts_with("the instance ended")
        })
        .await;
    let message = line["message"].as_str().unwrap();
    assert!(
        message.contains("SIGKILL, out of memory at memory_mb = 64"),
        "{message}"
    );
    let count = "lambda_out_of_memory_total{function=\"puppet\"}";
    assert_eq!(runtime.metric(count).await.unwrap(), "1");
    let response = runtime.post("/puppet");
    puppeteer.next().await.answer(OK).await;
    assert_eq!(response.await.unwrap().status(), 200);
}
