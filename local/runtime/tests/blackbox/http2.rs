//! Clients that speak HTTP/2.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::harness::{Load, Puppeteer, Runtime, eventually, soon};

const SIX_MIB: usize = 6 * 1024 * 1024;
const ECHO: &str = "[functions.echo]\ncommand = [ECHO]\nroutes = ['POST /echo', 'GET /d/{id}', 'POST /d/{id}']\nconcurrency = 4\n";
/// The preface, empty settings, and `GET http:///` as the first stream.
const BARE_REQUEST: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";

/// One connection.
pub(crate) struct Client {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(runtime: &Runtime) -> Self {
        Self::over(TcpStream::connect(runtime.http).await.unwrap()).await
    }

    /// A connection over a stream that leads to a runtime.
    pub(crate) async fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        Self {
            requests,
            connection,
        }
    }

    /// Sends a request as soon as the server allows for one more.
    async fn begin(&self, request: Request<()>, body: &[u8]) -> Result<ResponseFuture, h2::Error> {
        let mut requests = soon(self.requests.clone().ready()).await?;
        let body = Bytes::copy_from_slice(body);
        let (response, mut sent) = requests.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            sent.send_data(body, true)?;
        }
        Ok(response)
    }

    /// Sends a request and gets the whole reply.
    pub(crate) async fn send(&self, request: Request<()>, body: &[u8]) -> Response<Bytes> {
        self.try_send(request, body).await.unwrap()
    }

    /// As [`Client::send`].
    ///
    /// # Errors
    /// Among others that the runtime has said goodbye, and the request must go to another connection.
    pub(crate) async fn try_send(
        &self,
        request: Request<()>,
        body: &[u8],
    ) -> Result<Response<Bytes>, h2::Error> {
        let response = self.begin(request, body).await?;
        let (parts, body) = soon(response).await?.into_parts();
        Ok(Response::from_parts(parts, whole(body).await?))
    }

    /// Waits until the runtime ends the connection.
    async fn end(self) -> Result<(), h2::Error> {
        drop(self.requests);
        soon(self.connection).await.unwrap()
    }
}

pub(crate) fn request(method: Method, path: &str) -> Request<()> {
    let request = Request::builder().method(method);
    request
        .uri(format!("http://h.example:80{path}"))
        .body(())
        .unwrap()
}

fn post(path: &str) -> Request<()> {
    request(Method::POST, path)
}

async fn piece(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let piece = soon(body.data()).await?;
    if let Ok(piece) = &piece {
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    Some(piece)
}

async fn whole(mut body: RecvStream) -> Result<Bytes, h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = piece(&mut body).await {
        all.extend(piece?);
    }
    Ok(all.into())
}

#[tokio::test]
async fn curl_speaks_http2_with_prior_knowledge() {
    let runtime = Runtime::start(ECHO).await;
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--http2-prior-knowledge"]);
    command.args([
        "--data",
        "hello",
        "--write-out",
        " %{http_code} %{http_version}",
    ]);
    let output = soon(command.arg(runtime.url("/echo")).output())
        .await
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(text, "hello 200 2");
}

#[tokio::test]
async fn event_says_what_was_spoken_and_names_the_host() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let client = Client::connect(&runtime).await;
    let mut asked = post("/puppet?x=1");
    for cookie in ["a=1", "b=2"] {
        asked
            .headers_mut()
            .append("cookie", cookie.parse().unwrap());
    }
    let (_, event) = tokio::join!(client.send(asked, b"{}"), async {
        let mut invocation = puppeteer.next().await;
        let event = invocation.event.take();
        invocation.answer("{}").await;
        event
    });
    let context = &event["requestContext"];
    assert_eq!(context["http"]["protocol"], "HTTP/2.0");
    assert_eq!(context["domainName"], "h.example:80");
    assert_eq!(event["headers"]["host"], "h.example:80");
    assert_eq!(event["cookies"], serde_json::json!(["a=1", "b=2"]));
    assert_eq!(event["rawPath"], "/puppet");
    assert_eq!(event["rawQueryString"], "x=1");
    let response = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    let context = &invocation.event["requestContext"];
    assert_eq!(context["http"]["protocol"], "HTTP/1.1");
    invocation.answer("{}").await;
    response.await.unwrap();
}

#[tokio::test]
async fn requests_of_one_connection_run_at_once_and_get_their_own_answers() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("concurrency = 16", "").await;
    let client = Client::connect(&runtime).await;
    let mut responses = Vec::new();
    for n in 0..16 {
        let body = format!("{{\"n\":{n}}}");
        let mut asked = post("/puppet");
        let json = "application/json".parse().unwrap();
        asked.headers_mut().insert("content-type", json);
        responses.push(client.begin(asked, body.as_bytes()).await.unwrap());
    }
    let mut invocations = Vec::new();
    for _ in 0..16 {
        invocations.push(puppeteer.next().await);
    }
    for invocation in invocations.into_iter().rev() {
        let answer = invocation.event["body"].as_str().unwrap().to_owned();
        invocation.answer(&answer).await;
    }
    for (n, response) in responses.into_iter().enumerate() {
        let body = whole(soon(response).await.unwrap().into_body())
            .await
            .unwrap();
        assert_eq!(body, format!("{{\"n\":{n}}}"));
    }
    assert_eq!(client.requests.current_max_send_streams(), 128);
}

#[tokio::test]
async fn one_connection_carries_thousands_of_requests() {
    let runtime = Runtime::start(ECHO).await;
    let client = Client::connect(&runtime).await;
    // With its reply comes how many requests may run at once.
    client.send(request(Method::GET, "/healthz"), b"").await;
    let clients: Vec<_> = (0..200)
        .map(|n: u32| {
            let client = Client {
                requests: client.requests.clone(),
                connection: tokio::spawn(async { Ok(()) }),
            };
            tokio::spawn(async move {
                for m in 0..20 {
                    let body = format!("{n} {m}").repeat(100);
                    let response = client.send(post("/echo"), body.as_bytes()).await;
                    assert_eq!(response.status(), 200);
                    assert_eq!(response.into_body(), body);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn bounds_of_bodies_and_heads_hold() {
    let runtime = Runtime::start(ECHO).await;
    let client = Client::connect(&runtime).await;
    let body = vec![b'x'; SIX_MIB + 1];
    let mut described = post("/d/1");
    let text = "text/plain".parse().unwrap();
    described.headers_mut().insert("content-type", text);
    described
        .headers_mut()
        .insert("x-describe", "1".parse().unwrap());
    let response = client.send(described, &body[1..]).await;
    let seen: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(seen["bodyBytes"], SIX_MIB);
    let response = client.send(post("/d/1"), &body).await;
    assert_eq!(response.status(), 413);
    assert_eq!(
        response.into_body(),
        r#"{"message":"Request Entity Too Large"}"#
    );
    for bytes in [11_000, 17_000] {
        let mut long = post("/echo");
        let value = "x".repeat(bytes).parse().unwrap();
        long.headers_mut().insert("x-long", value);
        assert_eq!(client.send(long, b"").await.status(), 431, "{bytes}");
    }
    let response = client.send(request(Method::GET, "/none"), b"").await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.into_body(), r#"{"message":"Not Found"}"#);
    assert_eq!(client.send(post("/echo"), b"{}").await.status(), 200);
}

#[tokio::test]
async fn stream_that_fails_is_reset_and_the_connection_goes_on() {
    let puppeteer = Puppeteer::new().await;
    let manifest = puppeteer.manifest("", "").replace("PUPPET", "STREAMER");
    let runtime = Runtime::start(&manifest).await;
    let client = Client::connect(&runtime).await;
    for end in ["fail\nend", "exit", "end"] {
        let response = client.begin(post("/puppet"), b"{}").await.unwrap();
        let mut invocation = puppeteer.next().await;
        invocation.say("one").await;
        let mut body = soon(response).await.unwrap().into_body();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "one");
        invocation.answer(end).await;
        let rest = whole(body).await;
        if end == "end" {
            assert_eq!(rest.unwrap(), "");
        } else {
            let error = rest.unwrap_err();
            assert!(error.is_reset() && error.is_remote(), "{end}: {error}");
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        }
    }
}

#[tokio::test]
async fn client_that_opens_no_window_is_disconnected_and_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    std::fs::write(&file, vec![b'x'; 1024 * 1024]).unwrap();
    let file = file.display();
    let runtime = Runtime::start(&format!(
        "{ECHO}[[static]]\nroute = 'GET /large'\nfile = '{file}'\ncontent_type = 'text/plain'\n\
         [gateway]\nconnections_max = 64\nconnections_per_ip_max = 2\n"
    ))
    .await;
    let stream = TcpStream::connect(runtime.http).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (requests, connection) = builder
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let mut connection = tokio::spawn(connection);
    let (response, _) = requests
        .clone()
        .send_request(request(Method::GET, "/large"), true)
        .unwrap();
    assert_eq!(soon(response).await.unwrap().status(), 200);
    // It takes one of two places until others want both.
    eventually(async || {
        let client = reqwest::Client::new();
        let asked = ["/d/1", "/d/2"].map(|path| client.get(runtime.url(path)).send());
        let [one, two] = asked;
        let _served = tokio::join!(one, two);
        tokio::select! {
            biased;
            _ended = &mut connection => Some(()),
            () = std::future::ready(()) => None,
        }
    })
    .await;
}

#[tokio::test]
async fn client_that_takes_requests_back_before_they_are_seen_is_disconnected() {
    let runtime = Runtime::start(ECHO).await;
    let mut stream = TcpStream::connect(runtime.http).await.unwrap();
    let mut sent = BARE_REQUEST.to_vec();
    for stream in (3..203_u8).step_by(2) {
        sent.extend([0, 0, 3, 1, 5, 0, 0, 0, stream, 0x82, 0x86, 0x84]);
        sent.extend([0, 0, 4, 3, 0, 0, 0, 0, stream, 0, 0, 0, 8]);
    }
    stream.write_all(&sent).await.unwrap();
    let mut received = Vec::new();
    let _reset = soon(stream.read_to_end(&mut received)).await;
    let mut rest = &received[..];
    let goodbye = loop {
        let length = usize::from(rest[2]) + 256 * usize::from(rest[1]);
        let (frame, after) = rest.split_at(9 + length);
        if frame[3] == 7 {
            break frame;
        }
        rest = after;
    };
    assert_eq!(goodbye[13..17], [0, 0, 0, 11], "ENHANCE_YOUR_CALM");
}

#[tokio::test]
async fn client_that_takes_its_requests_back_is_disconnected() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let first = runtime.post("/puppet");
    let running = puppeteer.next().await;
    let client = Client::connect(&runtime).await;
    let waiting = async |count: u32| {
        eventually(async || {
            let there = runtime.function("puppet").await["queued"] == count;
            (there || client.connection.is_finished()).then_some(())
        })
        .await;
    };
    while let Ok(response) = client.begin(post("/puppet"), b"").await {
        waiting(1).await;
        drop(response);
        waiting(0).await;
    }
    running.answer("{}").await;
    assert_eq!(first.await.unwrap().status(), 200);
}

#[tokio::test]
async fn stopping_runtime_finishes_its_streams_and_says_goodbye() {
    let puppeteer = Puppeteer::new().await;
    let mut runtime = puppeteer.start("concurrency = 4", "").await;
    let client = Client::connect(&runtime).await;
    let idle = Client::connect(&runtime).await;
    let before = idle.send(request(Method::GET, "/healthz"), b"").await;
    assert_eq!(before.status(), 200);
    // Answers no pings, and so never says that it has seen the goodbye.
    let mut deaf = TcpStream::connect(runtime.http).await.unwrap();
    deaf.write_all(BARE_REQUEST).await.unwrap();
    soon(deaf.read_exact(&mut [0; 64])).await.unwrap();
    let begun = client.begin(post("/puppet"), b"{}").await.unwrap();
    let invocation = puppeteer.next().await;
    runtime.signal(Signal::SIGTERM);
    idle.end().await.unwrap();
    invocation.answer("{\"n\":1}").await;
    let body = whole(soon(begun).await.unwrap().into_body()).await.unwrap();
    assert_eq!(body, "{\"n\":1}");
    client.end().await.unwrap();
    let status = soon(runtime.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    while let Some(line) = runtime.lines.next_line().await.unwrap() {
        let line: Value = serde_json::from_str(&line).unwrap();
        let message = line["message"].as_str().unwrap_or_default();
        assert!(!message.contains("still in progress"), "{message}");
    }
}

#[tokio::test]
async fn runtime_is_replaced_without_a_failed_request() {
    let manifest = ECHO.replace("POST /echo", "POST /one");
    let mut old = Runtime::start(&manifest).await;
    let load = Load::over_http2(4, &old, "/one");
    let mut new = old.launch_successor().await;
    new.await_line(|line| line["message"] == "the other runtime has given way")
        .await;
    let status = soon(old.process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    load.end().await;
}
