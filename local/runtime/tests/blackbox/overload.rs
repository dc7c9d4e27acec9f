//! More calls than the functions can take.

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Puppeteer, Runtime, eventually, soon};

const OK: &str = r#"{"statusCode":200,"body":"done"}"#;

#[tokio::test]
async fn urgent_function_is_served_while_others_wait() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer
        .start(
            "concurrency = 8",
            "[functions.urgent]\ncommand = [PUPPET]\nroutes = ['POST /urgent']\n\
             concurrency = 8\npriority = 'high'\n[gateway]\nin_flight_max = 4",
        )
        .await;
    let mut responses: Vec<_> = (0..5).map(|_| runtime.post("/puppet")).collect();
    runtime.queued("puppet", 2).await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(puppeteer.next().await);
    }
    // The last place is kept for the urgent; the second of them is the next to get one.
    responses.extend([runtime.post("/urgent"), runtime.post("/urgent")]);
    running.push(puppeteer.next().await);
    runtime.queued("urgent", 1).await;
    assert_eq!(running[3].event["rawPath"], "/urgent");
    running.remove(0).answer(OK).await;
    let next = puppeteer.next().await;
    assert_eq!(next.event["rawPath"], "/urgent");
    runtime.queued("puppet", 2).await;

    next.answer(OK).await;
    for invocation in running {
        invocation.answer(OK).await;
    }
    for _ in 0..2 {
        puppeteer.next().await.answer(OK).await;
    }
    for response in responses {
        assert_eq!(response.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn refused_call_is_answered_without_its_body() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("queue_max = 0", "").await;
    let first = runtime.post("/puppet");
    let running = puppeteer.next().await;
    let mut stream = TcpStream::connect(runtime.http).await.unwrap();
    let head = "POST /puppet HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nno more";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    running.answer(OK).await;
    assert_eq!(first.await.unwrap().status(), 200);
}

#[tokio::test]
async fn overload_is_refused_served_as_far_as_possible_and_forgotten() {
    const CALLS: usize = 200;
    const RUNNING: usize = 4;
    const WAITING: usize = 16;
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("concurrency = 4\nqueue_max = 16", "").await;
    let responses: Vec<_> = (0..CALLS).map(|_| runtime.post("/puppet")).collect();
    let throttles = "lambda_throttles_total{function=\"puppet\",reason=\"queue-full\"}";
    let refused = (CALLS - RUNNING - WAITING).to_string();
    eventually(async || (runtime.metric(throttles).await.as_ref() == Some(&refused)).then_some(()))
        .await;
    for _ in 0..RUNNING + WAITING {
        puppeteer.next().await.answer(OK).await;
    }
    let mut served = 0;
    for response in responses {
        let response = response.await.unwrap();
        if response.status() == 200 {
            served += 1;
        } else {
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()["retry-after"], "1");
        }
    }
    assert_eq!(served, RUNNING + WAITING);
    let next = runtime.post("/puppet");
    puppeteer.next().await.answer(OK).await;
    assert_eq!(next.await.unwrap().status(), 200);
}

#[tokio::test]
async fn function_that_never_starts_is_answered_for_early() {
    let mut runtime = Runtime::launch(
        "[gateway]\nerrors = 'problem'\n\
         [functions.broken]\ncommand = [ECHO]\nenvironment = { FAIL_AT_START = '1' }\n\
         routes = ['POST /broken']\nqueue_wait_ms = 600000\n",
    )
    .await;
    let response = runtime.post("/broken").await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "unavailable");
    let throttles = "lambda_throttles_total{function=\"broken\",reason=\"no-instance\"}";
    assert_eq!(runtime.metric(throttles).await.unwrap(), "1");
    let invoked = runtime.invoke("broken", "{}").await;
    assert_eq!(invoked.headers()["x-amz-function-error"], "Unhandled");
    let error: Value = invoked.json().await.unwrap();
    assert_eq!(error["errorType"], "Runtime.ExitError");
    runtime.signal(Signal::SIGTERM);
    soon(runtime.process.wait()).await.unwrap();
}
