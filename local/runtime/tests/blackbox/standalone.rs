use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::harness::{Puppeteer, await_line, example, lines_of, program, soon};

const OK: &str = r#"{"statusCode":200,"body":"done"}"#;

/// A runtime of one function, with the environment `variables`.
fn command(function: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program());
    command
        .arg("serve")
        .arg("--")
        .arg(example(function))
        .env("PORT", "0")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Starts it; its URL as a client on this machine sees it.
async fn start(mut command: Command) -> (Child, Lines<BufReader<ChildStdout>>, String) {
    let mut process = command.spawn().unwrap();
    let mut lines = lines_of(&mut process);
    let started = await_line(&mut lines, |line| line["http"].is_string()).await;
    assert_eq!(started["invoke"], Value::Null);
    assert_eq!(started["admin"], Value::Null);
    let address = started["http"].as_str().unwrap();
    let port = address.strip_prefix("0.0.0.0:").expect("every address");
    (process, lines, format!("http://127.0.0.1:{port}"))
}

async fn describe(method: reqwest::Method, url: &str) -> Value {
    let request = reqwest::Client::new().request(method, url);
    let response = soon(request.header("x-describe", "1").send())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

#[tokio::test]
async fn the_only_function_gets_every_path_and_method() {
    let (_process, _lines, url) = start(command("echo", &[])).await;
    for (method, path) in [
        (reqwest::Method::GET, "/"),
        (reqwest::Method::GET, "/healthz"),
        (reqwest::Method::DELETE, "/a/b%20c/"),
    ] {
        let seen = describe(method, &format!("{url}{path}")).await;
        assert_eq!(seen["path"], path);
    }
}

#[tokio::test]
async fn the_environment_is_handed_on_but_what_the_runtime_says_itself() {
    let variables = [
        ("COLOR", "${red}"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "pay"),
        ("AWS_LAMBDA_RUNTIME_API", "192.0.2.1:1"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "4"),
    ];
    let (_process, _lines, url) = start(command("echo", &variables)).await;
    let seen = describe(reqwest::Method::GET, &url).await;
    let environment = &seen["environment"];
    assert_eq!(environment["COLOR"], "${red}");
    assert_eq!(environment["AWS_REGION"], "eu-west-1");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "pay");
    assert_eq!(environment["AWS_LAMBDA_MAX_CONCURRENCY"], "4");
    assert_ne!(environment["AWS_LAMBDA_RUNTIME_API"], "192.0.2.1:1");
}

#[tokio::test]
async fn a_signal_lets_the_calls_in_progress_end() {
    let puppeteer = Puppeteer::new().await;
    let control = puppeteer.address();
    let (mut process, _lines, url) = start(command("puppet", &[("CONTROL", &control)])).await;
    let response = tokio::spawn(reqwest::get(url));
    let invocation = puppeteer.next().await;
    let pid = i32::try_from(process.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    invocation.answer(OK).await;
    let response = soon(response).await.unwrap().unwrap();
    assert_eq!(response.text().await.unwrap(), "done");
    assert_eq!(soon(process.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_function_that_does_not_start_is_the_end() {
    let output = command("echo", &[("FAIL_AT_START", "1")]).output();
    let output = soon(output).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("does not start"), "{error}");
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(log.contains("told to fail at start"), "{log}");
}

#[tokio::test]
async fn an_instance_that_crashes_later_is_replaced() {
    let puppeteer = Puppeteer::new().await;
    let control = puppeteer.address();
    let (_process, mut lines, url) = start(command("puppet", &[("CONTROL", &control)])).await;
    let response = tokio::spawn(reqwest::get(url.clone()));
    puppeteer.next().await.answer("exit").await;
    assert_eq!(soon(response).await.unwrap().unwrap().status(), 500);
    let ended = |line: &Value| {
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("the instance ended")
    };
    await_line(&mut lines, ended).await;
    let response = tokio::spawn(reqwest::get(url));
    puppeteer.next().await.answer(OK).await;
    assert_eq!(soon(response).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn what_describes_the_function_is_checked() {
    for (variable, value) in [
        ("AWS_LAMBDA_MAX_CONCURRENCY", "0"),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "soon"),
        ("PORT", "http"),
    ] {
        let output = soon(command("echo", &[(variable, value)]).output())
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{variable}={value}");
    }
}
