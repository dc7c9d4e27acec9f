use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Response;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{
    Driver, Invocation, Puppeteer, Runtime, eventually, is_alive, soon, started_and_attached,
};

started_and_attached! {
    pieces_reach_the_client_as_they_are_made
    stream_that_fails_is_no_success
    instance_killed_while_it_streams_fails_that_stream_only
    stream_that_takes_too_long_is_cut_off
    client_that_leaves_does_not_stop_the_function
    client_that_does_not_read_holds_the_function_back
    invocation_gets_the_whole_stream
    streaming_invocation_gets_the_pieces_as_they_are_made
    client_of_http_1_0_gets_the_stream_when_it_has_ended
}

async fn start(driver: Driver, puppeteer: &Puppeteer, members: &str) -> Runtime {
    let manifest = puppeteer.manifest(members, "");
    Runtime::start_under(driver, &manifest.replace("PUPPET", "STREAMER")).await
}

/// A response of which the piece `one` has come.
async fn begun(runtime: &Runtime, puppeteer: &Puppeteer) -> (Response, Invocation) {
    let response = runtime.post("/puppet");
    let mut invocation = puppeteer.next().await;
    invocation.say("one").await;
    let mut response = response.await.unwrap();
    assert_eq!(soon(response.chunk()).await.unwrap().unwrap(), "one");
    (response, invocation)
}

async fn errors(runtime: &Runtime, kind: &str) -> String {
    let name = format!("lambda_errors_total{{function=\"puppet\",type=\"{kind}\"}}");
    runtime.metric(&name).await.unwrap()
}

async fn pieces_reach_the_client_as_they_are_made(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = start(driver, &puppeteer, "").await;
    let (mut response, mut invocation) = begun(&runtime, &puppeteer).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-streamed"], "yes");
    assert_eq!(
        response.headers()["content-type"],
        "application/octet-stream"
    );
    let cookies = response.headers().get_all("set-cookie").iter();
    assert_eq!(cookies.collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert!(!response.headers().contains_key("content-length"));
    invocation.say("two").await;
    assert_eq!(soon(response.chunk()).await.unwrap().unwrap(), "two");
    assert_eq!(runtime.metric("lambda_in_flight").await.unwrap(), "1");
    invocation.answer("end").await;
    assert_eq!(soon(response.chunk()).await.unwrap(), None);
    eventually(async || {
        let running = runtime.metric("lambda_in_flight").await.unwrap();
        (running == "0").then_some(())
    })
    .await;
    assert_eq!(
        runtime
            .metric("lambda_stream_seconds_count{function=\"puppet\"}")
            .await
            .unwrap(),
        "1"
    );
}

async fn stream_that_fails_is_no_success(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = start(driver, &puppeteer, "").await;
    for (end, kind) in [("fail\nend", "function"), ("exit", "crash")] {
        let (mut response, invocation) = begun(&runtime, &puppeteer).await;
        invocation.answer(end).await;
        assert!(soon(response.chunk()).await.is_err(), "{end}");
        eventually(async || (errors(&runtime, kind).await == "1").then_some(())).await;
    }
}

async fn instance_killed_while_it_streams_fails_that_stream_only(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = start(driver, &puppeteer, "min_instances = 2\nmax_instances = 2").await;
    let (mut lost, first) = begun(&runtime, &puppeteer).await;
    let (mut kept, second) = begun(&runtime, &puppeteer).await;
    kill(Pid::from_raw(first.pid), Signal::SIGKILL).unwrap();
    assert!(soon(lost.chunk()).await.is_err());
    second.answer("two\nend").await;
    assert_eq!(soon(kept.chunk()).await.unwrap().unwrap(), "two");
    assert_eq!(soon(kept.chunk()).await.unwrap(), None);
}

async fn stream_that_takes_too_long_is_cut_off(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = start(driver, &puppeteer, "timeout_s = 1").await;
    let (mut response, invocation) = begun(&runtime, &puppeteer).await;
    assert!(soon(response.chunk()).await.is_err());
    assert_eq!(errors(&runtime, "timeout").await, "1");
    let stuck = invocation.pid;
    eventually(async || (!is_alive(stuck)).then_some(())).await;
    let (_, next) = begun(&runtime, &puppeteer).await;
    assert_ne!(next.pid, stuck);
}

async fn client_that_leaves_does_not_stop_the_function(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = start(driver, &puppeteer, "").await;
    let (response, mut invocation) = begun(&runtime, &puppeteer).await;
    drop(response);
    let piece = "x".repeat(100_000);
    for _ in 0..100 {
        invocation.say(&piece).await;
    }
    let pid = invocation.pid;
    invocation.answer("end").await;
    let (_, next) = begun(&runtime, &puppeteer).await;
    assert_eq!(next.pid, pid);
    assert_eq!(errors(&runtime, "crash").await, "0");
}

async fn client_that_does_not_read_holds_the_function_back(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = start(driver, &puppeteer, "").await;
    let (mut response, mut invocation) = begun(&runtime, &puppeteer).await;
    let piece = "x".repeat(1_000_000);
    let pieces = 100;
    let said = tokio::spawn(async move {
        for _ in 0..pieces {
            invocation.say(&piece).await;
        }
        invocation.answer("end").await;
    });
    let resident = eventually(async || {
        let pid = runtime.process.id().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    })
    .await;
    assert!(resident < 60_000, "{resident} kB");
    assert!(!said.is_finished());
    let mut bytes = 0;
    while let Some(chunk) = soon(response.chunk()).await.unwrap() {
        bytes += chunk.len();
    }
    assert_eq!(bytes, pieces * 1_000_000);
    soon(said).await.unwrap();
}

async fn invocation_gets_the_whole_stream(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = start(driver, &puppeteer, "").await;
    let (response, ()) = tokio::join!(runtime.invoke("puppet", "{}"), async {
        puppeteer.next().await.answer("one\ntwo\nend").await;
    });
    assert_eq!(response.status(), 200);
    let body = response.text().await.unwrap();
    assert!(body.starts_with("{\"statusCode\":201"), "{body}");
    assert!(body.ends_with("\0\0\0\0\0\0\0\0onetwo"), "{body}");
    let (response, ()) = tokio::join!(runtime.invoke("puppet", "{}"), async {
        puppeteer.next().await.answer("one\nfail\nend").await;
    });
    assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["errorType"], "Runtime.StreamError");
    assert_eq!(error["errorMessage"], "told to fail");
}

async fn streaming_invocation_gets_the_pieces_as_they_are_made(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = start(driver, &puppeteer, "").await;
    let path = "2021-11-15/functions/puppet/response-streaming-invocations";
    let url = format!("http://{}/{path}", runtime.invoke);
    let request = runtime.client.post(&url).body("{}").send();
    let sent = tokio::spawn(soon(request));
    let mut invocation = puppeteer.next().await;
    invocation.say("one").await;
    let mut response = sent.await.unwrap().unwrap();
    let content_type = &response.headers()["content-type"];
    assert_eq!(content_type, "application/vnd.amazon.eventstream");
    let mut read = Vec::new();
    while !read.ends_with(b"one") {
        // A frame ends with four bytes of a checksum.
        read.extend(soon(response.chunk()).await.unwrap().unwrap());
        read.truncate(read.len() - 4);
    }
    invocation.answer("fail\nend").await;
    while let Some(piece) = soon(response.chunk()).await.unwrap() {
        read.extend(piece);
    }
    let text = String::from_utf8_lossy(&read);
    assert!(text.contains("InvokeComplete"), "{text}");
    assert!(text.contains("\"ErrorCode\":\"Unhandled\""), "{text}");
    assert!(text.contains("told to fail"), "{text}");

    let event = runtime
        .client
        .post(url)
        .header("x-amz-invocation-type", "Event");
    assert_eq!(soon(event.send()).await.unwrap().status(), 400);
}

async fn client_of_http_1_0_gets_the_stream_when_it_has_ended(driver: Driver) {
    let puppeteer = Puppeteer::new().await;
    let runtime = start(driver, &puppeteer, "").await;
    for (end, head, body) in [
        ("end", "HTTP/1.0 201 Created", "one"),
        ("fail\nend", "HTTP/1.0 500", "Internal Server Error"),
    ] {
        let mut stream = TcpStream::connect(runtime.http).await.unwrap();
        let request = b"POST /puppet HTTP/1.0\r\nhost: a\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut invocation = puppeteer.next().await;
        invocation.say("one").await;
        invocation.answer(end).await;
        let mut reply = String::new();
        soon(stream.read_to_string(&mut reply)).await.unwrap();
        assert!(reply.starts_with(head), "{reply}");
        assert!(reply.contains("content-length: "), "{reply}");
        assert!(reply.contains(body), "{reply}");
    }
}
