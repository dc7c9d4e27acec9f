//! Clients that this project did not write: boto3, awslambdaric and `cargo lambda invoke`.

use std::path::{Path, PathBuf};

use serde_json::json;
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
