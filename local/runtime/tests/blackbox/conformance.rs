//! Clients that this project did not write: boto3, awslambdaric, aws-lambda-ric and `cargo lambda
//! invoke`.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Puppeteer, Runtime, soon};

/// The Python of the development tools, with which the others are.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("PAYFN_PYTHON")
        .expect("PAYFN_PYTHON is not set: run by local/test")
        .into()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// The functions that `boto3_client.py` calls.
fn manifest() -> String {
    let (python, folder) = (python(), folder());
    let (python, folder) = (python.display(), folder.display());
    format!(
        "[defaults]\ntimeout_s = 2\nmemory_mb = 256\nenvironment = {{ PYTHONPATH = '{folder}', PYTHONDONTWRITEBYTECODE = '1' }}\n\
         [functions.ric]\ncommand = ['{python}', '-m', 'awslambdaric', 'ric_function.handle']\n\
         [functions.reserved]\nreserved_concurrency = 1\n\
         command = ['{python}', '-m', 'awslambdaric', 'ric_function.handle']\n"
    )
}

#[tokio::test]
async fn boto3_and_awslambdaric_find_what_they_know_from_aws() {
    let runtime = Runtime::start(&manifest()).await;
    let output = Command::new(python())
        .arg(folder().join("boto3_client.py"))
        .env("INVOKE_URL", format!("http://{}", runtime.invoke))
        .output();
    let output = soon(output).await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[tokio::test]
async fn python_handler_that_is_not_there_is_an_initialization_error() {
    let wrong = manifest().replace("ric_function.handle", "ric_function.missing");
    let mut runtime = Runtime::launch(&wrong).await;
    let line = runtime
        .await_line(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("initialization failed")
        })
        .await;
    let message = line["message"].as_str().unwrap();
    assert!(message.contains("Runtime.HandlerNotFound"), "{message}");
}

/// A runtime with the function `ric`, which runs under aws-lambda-ric.
async fn start_node() -> Runtime {
    let client = python()
        .parent()
        .unwrap()
        .with_file_name("node_modules/aws-lambda-ric/bin/index.mjs");
    let (client, folder) = (client.display(), folder());
    let handler = folder.join("ric_function.handle");
    // It looks for the function below its working directory.
    let handler = handler.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
    Runtime::start(&format!(
        "[functions.ric]\ncommand = ['node', '{client}', '{}']\ntimeout_s = 2\nmemory_mb = 256\n",
        handler.display()
    ))
    .await
}

#[tokio::test]
async fn aws_lambda_ric_finds_what_it_knows_from_aws() {
    let runtime = start_node().await;
    let value = json!({ "한글": ["a", 1.5, null] });
    let echo = json!({ "do": "echo", "value": value }).to_string();
    let response = runtime.invoke("ric", &echo).await;
    assert!(!response.headers().contains_key("x-amz-function-error"));
    assert_eq!(response.json::<Value>().await.unwrap(), value);
    let nothing = runtime
        .invoke("ric", "{\"do\":\"sleep\",\"seconds\":0}")
        .await;
    assert_eq!(nothing.text().await.unwrap(), "null");

    let client = STANDARD.encode(json!({ "custom": { "이름": "값" } }).to_string());
    let request = runtime.invocation("ric").body("{\"do\":\"describe\"}");
    let request = request.header("x-amz-client-context", client);
    let response = soon(request.send()).await.unwrap();
    let id = response.headers()["x-amzn-requestid"].clone();
    let context: Value = response.json().await.unwrap();
    assert_eq!(context["requestId"], id.to_str().unwrap());
    let arn = "arn:aws:lambda:ap-northeast-2:000000000000:function:ric";
    assert_eq!(context["arn"], arn);
    assert_eq!(
        (&context["name"], &context["version"]),
        (&json!("ric"), &json!("$LATEST"))
    );
    assert_eq!(context["memory"], "256");
    assert!((1..=2000).contains(&context["remainingMs"].as_u64().unwrap()));
    assert_eq!(context["custom"]["이름"], "값");
    let trace = context["trace"].as_str().unwrap();
    assert!(trace.starts_with("Root=1-"), "{trace}");

    let request = runtime.invocation("ric").body("{\"do\":\"log\"}");
    let request = request.header("x-amz-log-type", "Tail");
    let response = soon(request.send()).await.unwrap();
    let log = STANDARD
        .decode(&response.headers()["x-amz-log-result"])
        .unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("\tINFO\tlogged"), "{log}");
}

#[tokio::test]
async fn failures_of_aws_lambda_ric_are_those_of_aws() {
    let runtime = start_node().await;
    for (event, kind, message) in [
        (
            json!({ "do": "fail", "message": "나쁨" }),
            "RangeError",
            "나쁨",
        ),
        (
            json!({ "do": "sleep", "seconds": 60 }),
            "Sandbox.Timedout",
            "Error: Task timed out after 2.00 seconds",
        ),
        (
            json!({ "do": "end", "status": 3 }),
            "Runtime.ExitError",
            "Error: Runtime exited with error: exit status 3",
        ),
        (
            json!({ "do": "large", "characters": 6_291_555 }),
            "Function.ResponseSizeTooLarge",
            "exceeded maximum allowed payload size (6291556 bytes).",
        ),
    ] {
        let response = runtime.invoke("ric", &event.to_string()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["errorType"], kind);
        let text = error["errorMessage"].as_str().unwrap();
        assert!(text.ends_with(message), "{text}");
    }
}

#[tokio::test]
async fn cargo_lambda_invokes_a_function() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let port = runtime.invoke.port().to_string();
    let mut command = Command::new(python().with_file_name("cargo-lambda"));
    command.args(["lambda", "invoke", "--invoke-address", "127.0.0.1"]);
    command.args([
        "--invoke-port",
        &port,
        "--data-ascii",
        "{\"n\":1}",
        "puppet",
    ]);
    let (output, ()) = tokio::join!(soon(command.output()), async {
        let invocation = puppeteer.next().await;
        assert_eq!(invocation.event, json!({"n": 1}));
        invocation.answer("{\"m\":2}").await;
    });
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text.trim(), "{\"m\":2}");
}
