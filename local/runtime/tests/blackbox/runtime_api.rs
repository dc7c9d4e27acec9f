//! The Runtime API, spoken by the test in place of a function.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::{Driver, Runtime, eventually, soon, started_and_attached};

started_and_attached! {
    next_carries_the_event_and_its_context
    answers_that_fit_no_running_invocation_are_refused
    late_answer_is_gone
    oversized_answer_is_refused_and_ends_the_call
    truncated_answer_is_not_taken_for_one
    initialization_error_is_taken_before_the_first_poll_only
    internal_extension_registers_and_waits_for_events
}

/// How long a poll is held whose only purpose is to be heard.
const POLL_AGAIN: Duration = Duration::from_millis(100);

/// A runtime whose one function does nothing, so that the test can speak for it.
struct Stage {
    runtime: Runtime,
    address: String,
    client: Client,
}

/// The address of the Runtime API of a process that `agent` has started.
fn runtime_api_of_child(agent: i32) -> Option<String> {
    let children = std::fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).unwrap();
    let child = children.split_whitespace().next()?;
    let variables = std::fs::read_to_string(format!("/proc/{child}/environ")).ok()?;
    let mut variables = variables.split('\0');
    let address = variables.find_map(|it| it.strip_prefix("AWS_LAMBDA_RUNTIME_API="));
    address.map(str::to_owned)
}

impl Stage {
    async fn new(driver: Driver, members: &str) -> Self {
        let manifest = format!(
            "[functions.mute]\ncommand = [\"sleep\", \"3600\"]\nroutes = [\"POST /mute\"]\n{members}\n"
        );
        let runtime = Runtime::launch_under(driver, &manifest, &[]).await;
        let address = match runtime.agents.first() {
            Some(agent) => eventually(async || runtime_api_of_child(agent.pid())).await,
            None => {
                eventually(async || {
                    let function = runtime.function("mute").await;
                    Some(function["instances"][0]["address"].as_str()?.to_owned())
                })
                .await
            }
        };
        let client = Client::new();
        Self {
            runtime,
            address,
            client,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn next(&self) -> RequestBuilder {
        self.client
            .get(self.url("2018-06-01/runtime/invocation/next"))
    }

    /// Polls again and again for calls that never come: the instance is not stuck.
    async fn keeps_polling(&self) {
        loop {
            let held = timeout(POLL_AGAIN, self.next().send()).await;
            assert!(held.is_err(), "there is no call");
        }
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let url = self.url(&format!("2018-06-01/runtime/{path}"));
        soon(self.client.post(url).body(body).send()).await.unwrap()
    }

    /// Makes a call and takes it; the call's response and its request id.
    async fn take(&self) -> (JoinHandle<Response>, String) {
        let response = self.runtime.post("/mute");
        let delivered = soon(self.next().send()).await.unwrap();
        let id = delivered.headers()["lambda-runtime-aws-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        (response, id)
    }
}

async fn refusal(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert!(body["errorMessage"].is_string());
    (status, body["errorType"].as_str().unwrap().to_owned())
}

async fn next_carries_the_event_and_its_context(driver: Driver) {
    let stage = Stage::new(driver, "").await;
    let response = stage.runtime.post("/mute");
    let delivered = soon(stage.next().send()).await.unwrap();
    assert_eq!(delivered.status(), 200);
    let headers = delivered.headers().clone();
    assert_eq!(headers["content-type"], "application/json");
    let id = headers["lambda-runtime-aws-request-id"].to_str().unwrap();
    let invocation = headers["lambda-runtime-invocation-id"].clone();
    assert!(headers["lambda-runtime-deadline-ms"].len() >= 13);
    let arn = headers["lambda-runtime-invoked-function-arn"]
        .to_str()
        .unwrap();
    assert!(arn.ends_with(":function:mute"), "{arn}");
    let trace = headers["lambda-runtime-trace-id"].to_str().unwrap();
    assert!(trace.starts_with("Root=1-"), "{trace}");
    let event: Value = delivered.json().await.unwrap();
    assert_eq!(event["requestContext"]["requestId"], id);

    let answer = stage
        .client
        .post(stage.url(&format!("2018-06-01/runtime/invocation/{id}/response")));
    let answer = answer
        .header("lambda-runtime-invocation-id", invocation)
        .body("{\"a\":1}");
    let accepted = soon(answer.send()).await.unwrap();
    assert_eq!(accepted.status(), 202);
    assert_eq!(accepted.json::<Value>().await.unwrap()["status"], "OK");
    assert_eq!(response.await.unwrap().text().await.unwrap(), "{\"a\":1}");
}

async fn answers_that_fit_no_running_invocation_are_refused(driver: Driver) {
    let stage = Stage::new(driver, "concurrency = 2").await;
    let (response, id) = stage.take().await;
    let path = format!("invocation/{id}/response");
    let outdated = stage
        .client
        .post(stage.url(&format!("2018-06-01/runtime/{path}")));
    let outdated = outdated
        .header("lambda-runtime-invocation-id", "999999")
        .body("1");
    let unknown = (StatusCode::BAD_REQUEST, "InvalidRequestID".to_owned());
    assert_eq!(refusal(soon(outdated.send()).await.unwrap()).await, unknown);
    assert_eq!(stage.post(&path, "1").await.status(), 202);
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(refusal(stage.post(&path, "1").await).await, unknown);
    for id in ["00000000-0000-0000-0000-000000000000", "nonsense"] {
        let path = format!("invocation/{id}/response");
        assert_eq!(refusal(stage.post(&path, "1").await).await, unknown);
    }
}

async fn late_answer_is_gone(driver: Driver) {
    let stage = Stage::new(driver, "concurrency = 2\ntimeout_s = 1").await;
    let (response, id) = stage.take().await;
    let late = async {
        assert_eq!(response.await.unwrap().status(), 503);
        stage.post(&format!("invocation/{id}/response"), "1").await
    };
    let gone = (StatusCode::GONE, "InvokeTimeout".to_owned());
    tokio::select! {
        late = late => assert_eq!(refusal(late).await, gone),
        () = stage.keeps_polling() => {}
    }
}

async fn oversized_answer_is_refused_and_ends_the_call(driver: Driver) {
    let stage = Stage::new(driver, "concurrency = 2").await;
    let (response, id) = stage.take().await;
    let path = format!("invocation/{id}/response");
    let refused = stage.post(&path, vec![b' '; 6_291_557]).await;
    let expected = (
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestEntityTooLarge".to_owned(),
    );
    assert_eq!(refusal(refused).await, expected);
    assert_eq!(response.await.unwrap().status(), 500);
}

async fn truncated_answer_is_not_taken_for_one(driver: Driver) {
    let stage = Stage::new(driver, "concurrency = 2").await;
    let (response, id) = stage.take().await;
    let path = format!("/2018-06-01/runtime/invocation/{id}/response");
    let mut stream = TcpStream::connect(&stage.address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{{\"a\"");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    soon(stream.read_to_end(&mut Vec::new())).await.unwrap();
    let whole = stage
        .post(&format!("invocation/{id}/response"), "{\"b\":2}")
        .await;
    assert_eq!(whole.status(), 202);
    assert_eq!(response.await.unwrap().text().await.unwrap(), "{\"b\":2}");
}

async fn initialization_error_is_taken_before_the_first_poll_only(driver: Driver) {
    let mut stage = Stage::new(driver, "").await;
    let error = "{\"errorType\":\"Runtime.Bad\",\"errorMessage\":\"no database\"}";
    assert_eq!(stage.post("init/error", error).await.status(), 202);
    let line = |line: &Value| {
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("initialization failed")
    };
    let line = stage.runtime.await_line(line).await;
    assert!(line["message"].as_str().unwrap().contains("no database"));

    let (response, id) = stage.take().await;
    let wrong = (StatusCode::FORBIDDEN, "InvalidStateTransition".to_owned());
    assert_eq!(refusal(stage.post("init/error", error).await).await, wrong);
    let second = soon(stage.next().send()).await.unwrap();
    assert_eq!(
        refusal(second).await,
        wrong,
        "one at a time in sequential mode"
    );
    assert_eq!(
        stage
            .post(&format!("invocation/{id}/response"), "1")
            .await
            .status(),
        202
    );
    assert_eq!(response.await.unwrap().status(), 200);
}

#[tokio::test]
async fn poll_whose_connection_has_gone_gets_no_call() {
    let stage = Stage::new(Driver::Process, "concurrency = 2").await;
    let poll = format!(
        "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {}\r\n\r\n",
        stage.address
    );
    let mut dead = TcpStream::connect(&stage.address).await.unwrap();
    dead.write_all(poll.as_bytes()).await.unwrap();
    eventually(async || {
        let phase = &stage.runtime.function("mute").await["instances"][0]["state"];
        (phase == "ready").then_some(())
    })
    .await;
    // The runtime answers the end of the stream with its own once it has dropped the poll.
    dead.shutdown().await.unwrap();
    soon(dead.read_to_end(&mut Vec::new())).await.unwrap();
    let (response, id) = stage.take().await;
    assert_eq!(
        stage
            .post(&format!("invocation/{id}/response"), "7")
            .await
            .status(),
        202
    );
    assert_eq!(response.await.unwrap().text().await.unwrap(), "7");
}

async fn internal_extension_registers_and_waits_for_events(driver: Driver) {
    let stage = Stage::new(driver, "").await;
    let register = |body: &'static str| {
        let request = stage
            .client
            .post(stage.url("2020-01-01/extension/register"));
        request
            .header("lambda-extension-name", "helper")
            .body(body)
            .send()
    };
    let registered = soon(register("{\"events\":[]}")).await.unwrap();
    assert_eq!(registered.status(), 200);
    assert!(
        registered
            .headers()
            .contains_key("lambda-extension-identifier")
    );
    let body: Value = registered.json().await.unwrap();
    assert_eq!(body["functionName"], "mute");
    assert_eq!(body["functionVersion"], "$LATEST");

    let refused = soon(register("{\"events\":[\"INVOKE\"]}")).await.unwrap();
    assert_eq!(refusal(refused).await.0, StatusCode::FORBIDDEN);
    let anonymous = stage
        .client
        .get(stage.url("2020-01-01/extension/event/next"))
        .send();
    assert_eq!(
        refusal(soon(anonymous).await.unwrap()).await.0,
        StatusCode::FORBIDDEN
    );
}
