use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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
async fn function_is_invoked_by_every_form_of_its_name() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    for name in [
        "puppet:$LATEST",
        "123456789012:function:puppet",
        "arn:aws:lambda:us-east-1:123456789012:function:puppet:$LATEST",
        "arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Apuppet",
    ] {
        let (response, ()) = tokio::join!(runtime.invoke(name, "{}"), async {
            puppeteer.next().await.answer("1").await;
        });
        assert_eq!(response.status(), 200, "{name}");
        assert_eq!(response.text().await.unwrap(), "1");
    }
}

#[tokio::test]
async fn dry_run_checks_and_calls_nothing() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let dry = |name: &str, payload: &'static str| {
        let request = runtime.invocation(name).body(payload);
        request.header("x-amz-invocation-type", "DryRun").send()
    };
    let response = soon(dry("puppet", "{}")).await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["x-amzn-requestid"].len(), 36);
    assert_eq!(response.text().await.unwrap(), "");
    assert_eq!(soon(dry("nobody", "{}")).await.unwrap().status(), 404);
    assert_eq!(soon(dry("puppet", "{oops")).await.unwrap().status(), 400);
    let invocations = runtime.metric("lambda_invocations_total").await.unwrap();
    assert_eq!(invocations, "0");
}

/// The end of the log that an answer brings.
fn log_result(response: &reqwest::Response) -> String {
    let log = &response.headers()["x-amz-log-result"];
    String::from_utf8(STANDARD.decode(log).unwrap()).unwrap()
}

#[tokio::test]
async fn tail_is_what_the_instance_logs_during_the_invocation() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("concurrency = 2", "").await;
    let other = runtime.post("/puppet");
    let mut other_running = puppeteer.next().await;
    other_running.log("before").await;
    let request = runtime
        .invocation("puppet")
        .header("x-amz-log-type", "Tail");
    let (response, ()) = tokio::join!(soon(request.send()), async {
        let mut invocation = puppeteer.next().await;
        let another = "00000000-0000-4000-8000-000000000000";
        invocation
            .log(&format!(r#"{{"requestId":"{another}","m":1}}"#))
            .await;
        invocation.log("plain text").await;
        invocation.answer("1").await;
    });
    let response = response.unwrap();
    let id = response.headers()["x-amzn-requestid"].to_str().unwrap();
    let log = log_result(&response);
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines[0], format!("START RequestId: {id} Version: $LATEST"));
    assert_eq!(lines[lines.len() - 3], "plain text");
    assert_eq!(lines[lines.len() - 2], format!("END RequestId: {id}"));
    let report = lines[lines.len() - 1];
    assert!(
        report.starts_with(&format!("REPORT RequestId: {id}\tDuration: ")),
        "{report}"
    );
    assert!(report.contains(" ms\tMemory Size: 128 MB\t"), "{report}");
    assert!(!log.contains("\"m\":1"), "{log}");
    other_running.answer("{}").await;
    other.await.unwrap();
}

#[tokio::test]
async fn tail_is_at_most_four_kibibytes_and_there_for_errors_too() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let request = runtime
        .invocation("puppet")
        .header("x-amz-log-type", "Tail");
    let (response, ()) = tokio::join!(soon(request.send()), async {
        let mut invocation = puppeteer.next().await;
        invocation.log(&"x".repeat(10_000)).await;
        invocation.answer("fail").await;
    });
    let log = log_result(&response.unwrap());
    assert_eq!(log.len(), 4096);
    assert!(log.starts_with("xxx"));
}

#[tokio::test]
async fn client_context_and_tenant_reach_the_function() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let context = serde_json::json!({
        "client": {
            "installation_id": "i", "app_title": "t", "app_version_name": "1",
            "app_version_code": "1", "app_package_name": "p"
        },
        "custom": {"이름": "값"},
        "environment": {}
    });
    let encoded = STANDARD.encode(format!("{context:#}"));
    let request = runtime
        .invocation("puppet")
        .header("x-amz-client-context", &encoded);
    let request = request.header("x-amz-tenant-id", "blue");
    let (response, ()) = tokio::join!(soon(request.send()), async {
        let invocation = puppeteer.next().await;
        let received = &invocation.context["clientContext"];
        assert_eq!(received["custom"], context["custom"]);
        assert_eq!(received["client"]["appTitle"], "t");
        assert_eq!(invocation.context["tenantId"], "blue");
        invocation.answer("1").await;
    });
    assert_eq!(response.unwrap().status(), 200);
}

/// Status, exception and message of a refused request.
async fn refused(request: reqwest::RequestBuilder) -> (u16, String, String) {
    let response = soon(request.send()).await.unwrap();
    let status = response.status().as_u16();
    let header = response.headers().get("x-amzn-errortype");
    let exception = header.unwrap().to_str().unwrap().to_owned();
    assert_eq!(response.headers()["x-amzn-requestid"].len(), 36);
    let body: Value = response.json().await.unwrap();
    let message = body.get("message").or(body.get("Message")).unwrap();
    (status, exception, message.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn refusals_have_aws_shapes() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let request = |name: &str, body: &'static str| runtime.invocation(name).body(body);
    let arn = "Function not found: arn:aws:lambda:ap-northeast-2:000000000000:function";
    for (request, status, exception, message) in [
        (
            request("nobody", "{}"),
            404,
            "ResourceNotFoundException",
            &*format!("{arn}:nobody"),
        ),
        (
            request("puppet:7", "{}"),
            404,
            "ResourceNotFoundException",
            &format!("{arn}:puppet:7"),
        ),
        (
            request("a.b", "{}"),
            400,
            "ValidationException",
            "1 validation error detected",
        ),
        (
            request("puppet", "{oops"),
            400,
            "InvalidRequestContentException",
            "Could not parse request body into json",
        ),
        (
            request("puppet", "<a/>").header("content-type", "text/xml; charset=utf-8"),
            415,
            "UnsupportedMediaTypeException",
            "Unsupported Media Type: text/xml",
        ),
        (
            request("puppet", "{}").header("x-amz-client-context", "e30"),
            400,
            "InvalidRequestContentException",
            "Client context must be a valid Base64-encoded JSON object.",
        ),
        (
            request("puppet", "{}").header("x-amz-invocation-type", "Later"),
            400,
            "InvalidParameterValueException",
            "x-amz-invocation-type must be RequestResponse, Event or DryRun, not Later",
        ),
    ] {
        let found = refused(request).await;
        assert_eq!((found.0, &*found.1), (status, exception), "{}", found.2);
        assert!(found.2.starts_with(message), "{}", found.2);
    }
}

#[tokio::test]
async fn payload_above_the_limit_is_refused() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let limit = 6_291_556;
    let fits = format!("\"{}\"", "x".repeat(limit - 2));
    let request = runtime.invocation("puppet").body(format!("{fits} "));
    let message = "Request must be smaller than 6291556 bytes for the InvokeFunction operation";
    let expected = (
        413,
        "RequestTooLargeException".to_owned(),
        message.to_owned(),
    );
    assert_eq!(refused(request).await, expected);
    let (response, ()) = tokio::join!(runtime.invoke("puppet", &fits), async {
        puppeteer.next().await.answer("{}").await;
    });
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn throttle_tells_its_reason() {
    for (members, reason) in [
        ("queue_max = 0", "ConcurrentInvocationLimitExceeded"),
        (
            "reserved_concurrency = 1",
            "ReservedFunctionConcurrentInvocationLimitExceeded",
        ),
    ] {
        let puppeteer = Puppeteer::new().await;
        let runtime = puppeteer.start(members, "").await;
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
        assert_eq!(body["Reason"], reason);
        assert_eq!(body["message"], "Rate Exceeded.");
        invocation.answer("{}").await;
        assert_eq!(running.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn command_prints_the_answer_and_fails_with_the_function() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let run = |arguments: &[&str]| {
        let address = runtime.invoke.to_string();
        let mut command = Command::new(program());
        command
            .args(["invoke", "puppet:$LATEST", "--invoke", &address])
            .args(arguments)
            .output()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("event.json");
    std::fs::write(&file, "{\"from\":\"file\"}").unwrap();
    let (output, ()) = tokio::join!(run(&[&format!("@{}", file.display())]), async {
        let invocation = puppeteer.next().await;
        assert_eq!(invocation.event["from"], "file");
        invocation.answer("[1]").await;
    });
    let output = output.unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"[1]\n");
    let (output, ()) = tokio::join!(run(&["{}"]), async {
        puppeteer.next().await.answer("fail").await;
    });
    let output = output.unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("told to fail"));
    let output = run(&["--type", "dry-run"]).await.unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"");
    let context = r#"{"custom":{"a":"b"}}"#;
    let (output, ()) = tokio::join!(run(&["{}", "--tail", "--client-context", context]), async {
        let mut invocation = puppeteer.next().await;
        assert_eq!(invocation.context["clientContext"]["custom"]["a"], "b");
        invocation.log("a line of the log").await;
        invocation.answer("2").await;
    });
    let output = output.unwrap();
    assert_eq!(output.stdout, b"2\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("a line of the log\n"));
}
