use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Puppeteer, program, soon};

#[tokio::test]
async fn answer_of_the_function_is_the_answer_of_the_invocation() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let (response, ()) = tokio::join!(runtime.invoke("puppet", "{\"n\":1}"), async {
        let invocation = puppeteer.next().await;
        assert_eq!(invocation.event, serde_json::json!({"n": 1}));
        invocation.answer("{\"m\":2}").await;
    });
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-amz-executed-version"], "$LATEST");
    assert_eq!(response.headers()["x-amzn-requestid"].len(), 36);
    assert!(!response.headers().contains_key("x-amz-function-error"));
    assert_eq!(response.text().await.unwrap(), "{\"m\":2}");
}

#[tokio::test]
async fn function_error_is_a_200_that_says_so() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let (response, ()) = tokio::join!(runtime.invoke("puppet", ""), async {
        puppeteer.next().await.answer("fail").await;
    });
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["errorMessage"], "told to fail");

    let (response, ()) = tokio::join!(runtime.invoke("puppet", ""), async {
        puppeteer.next().await.answer("exit").await;
    });
    let id = response.headers()["x-amzn-requestid"]
        .to_str()
        .unwrap()
        .to_owned();
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["errorType"], "Runtime.ExitError");
    let expected = format!("RequestId: {id} Error: Runtime exited with error: exit status 7");
    assert_eq!(error["errorMessage"], expected);
}

#[tokio::test]
async fn answer_above_the_limit_is_a_function_error() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("concurrency = 2", "").await;
    let limit = 6_291_556;
    for (length, fits) in [(limit, true), (limit + 1, false)] {
        let text = format!("\"{}\"", "x".repeat(length - 2));
        let (response, ()) = tokio::join!(runtime.invoke("puppet", ""), async {
            puppeteer.next().await.answer(&text).await;
        });
        assert_eq!(
            response.headers().contains_key("x-amz-function-error"),
            !fits
        );
        if fits {
            assert_eq!(response.bytes().await.unwrap().len(), limit);
        } else {
            let error: Value = response.json().await.unwrap();
            assert_eq!(error["errorType"], "Function.ResponseSizeTooLarge");
        }
    }
}

#[tokio::test]
async fn refusals_have_aws_shapes() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("queue_max = 0", "").await;
    let response = runtime.invoke("nobody", "{}").await;
    assert_eq!(response.status(), 404);
    assert_eq!(
        response.headers()["x-amzn-errortype"],
        "ResourceNotFoundException"
    );
    let body: Value = response.json().await.unwrap();
    assert!(
        body["Message"]
            .as_str()
            .unwrap()
            .starts_with("Function not found: arn:aws:lambda:")
    );

    let response = runtime.invoke("puppet", "{oops").await;
    assert_eq!(response.status(), 400);
    assert_eq!(
        response.headers()["x-amzn-errortype"],
        "InvalidRequestContentException"
    );

    let response = runtime
        .invoke("puppet", &format!("\"{}\"", "x".repeat(6_291_556)))
        .await;
    assert_eq!(response.status(), 413);
    assert_eq!(
        response.headers()["x-amzn-errortype"],
        "RequestTooLargeException"
    );

    let url = format!(
        "http://{}/2015-03-31/functions/puppet/invocations",
        runtime.invoke
    );
    let request = runtime
        .client
        .post(url)
        .header("x-amz-invocation-type", "Event");
    let response = soon(request.send()).await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(
        response.headers()["x-amzn-errortype"],
        "InvalidParameterValueException"
    );

    let running = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    let response = runtime.invoke("puppet", "{}").await;
    assert_eq!(response.status(), 429);
    assert_eq!(
        response.headers()["x-amzn-errortype"],
        "TooManyRequestsException"
    );
    assert_eq!(response.headers()["retry-after"], "1");
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        body["Reason"],
        "ReservedFunctionConcurrentInvocationLimitExceeded"
    );
    invocation.answer("{}").await;
    assert_eq!(running.await.unwrap().status(), 200);
}

#[tokio::test]
async fn command_prints_the_answer_and_fails_with_the_function() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let run = |payload: &str| {
        let address = runtime.invoke.to_string();
        let mut command = Command::new(program());
        command
            .args(["invoke", "puppet", payload, "--invoke", &address])
            .output()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("event.json");
    std::fs::write(&file, "{\"from\":\"file\"}").unwrap();
    let (output, ()) = tokio::join!(run(&format!("@{}", file.display())), async {
        let invocation = puppeteer.next().await;
        assert_eq!(invocation.event["from"], "file");
        invocation.answer("[1]").await;
    });
    let output = output.unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"[1]\n");
    let (output, ()) = tokio::join!(run("{}"), async {
        puppeteer.next().await.answer("fail").await;
    });
    let output = output.unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("told to fail"));
}
