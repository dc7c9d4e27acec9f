//! The library and the command against an HTTP server that verifies signatures.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::process::Output;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine};
use client::endpoints::assignment;
use client::{Client, ClientError, key_from_file};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use signature::{KeyRing, Target};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

/// A server that answers 200 with what it believed, or 401 with why it did not.
struct Server {
    url: String,
    folder: TempDir,
}

impl Server {
    async fn start() -> Self {
        let secret = BASE64_STANDARD.encode([7; 32]);
        let keys = ["demo", "ops"].map(|key_id| {
            format!(
                r#"{{"keyId":"{key_id}","merchantId":"m","role":"merchant","secret":"{secret}"}}"#
            )
        });
        let json = format!("[{}]", keys.join(","));
        let ring = Arc::new(KeyRing::from_json(json.as_bytes()).unwrap());
        // A quote that the addresses must survive.
        let folder = tempfile::Builder::new().prefix("it's").tempdir().unwrap();
        std::fs::write(folder.path().join("keys.json"), json).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys_file = folder.path().join("keys.json").display().to_string();
        let endpoints = assignment("PAYFN_URL", &url) + &assignment("KEYS_FILE", &keys_file);
        std::fs::write(folder.path().join("endpoints.env"), endpoints).unwrap();
        tokio::spawn(accept(listener, ring));
        Self { url, folder }
    }

    fn client(&self) -> Client {
        let key = key_from_file(&self.folder.path().join("keys.json"), "demo").unwrap();
        Client::new(&self.url, key).unwrap()
    }

    async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        command
            .args(arguments)
            .env_remove("PAYFN_URL")
            .env_remove("KEYS_FILE");
        command
            .env("PAYFN_STATE", self.folder.path())
            .output()
            .await
            .unwrap()
    }
}

async fn accept(listener: TcpListener, ring: Arc<KeyRing>) {
    while let Ok((stream, _)) = listener.accept().await {
        let ring = Arc::clone(&ring);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&ring)));
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
        });
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    ring: Arc<KeyRing>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let target = Target {
        method: parts.method.as_str(),
        scheme: "http",
        path: parts.uri.path(),
        query: parts.uri.query(),
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let now = now.try_into().unwrap();
    let (status, text) = match signature::verify(&target, &parts.headers, &body, &ring, now) {
        Ok(key) => {
            let header = |name| {
                parts
                    .headers
                    .get(name)
                    .map_or("-", |value| value.to_str().unwrap())
            };
            let (media_type, idempotency) = (header("content-type"), header("idempotency-key"));
            let line = format!("{} {} {}", key.key_id, parts.method, parts.uri);
            (
                StatusCode::OK,
                format!("{line} {media_type} {idempotency} {} bytes", body.len()),
            )
        }
        Err(error) => (StatusCode::UNAUTHORIZED, error.to_string()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    Ok(response)
}

#[tokio::test]
async fn requests_are_signed_as_they_are_sent() {
    let server = Server::start().await;
    let client = server.client();
    for (path, seen) in [
        ("/a?b=[1]&c=%20", "/a?b=[1]&c=%20"),
        ("/결제/../x y?q=한", "/x%20y?q=%ED%95%9C"),
    ] {
        let response = client
            .send(Method::GET, path, None, None, &[])
            .await
            .unwrap();
        let text = String::from_utf8(response.body.to_vec()).unwrap();
        assert_eq!(text, format!("demo GET {seen} - - 0 bytes"));
    }
    let body = Some(Bytes::from_static(b"{}"));
    let response = client
        .send(Method::POST, "/p", body, Some("\"k 1\""), &[])
        .await
        .unwrap();
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(
        response.body,
        "demo POST /p application/json \"k 1\" 2 bytes"
    );
}

#[tokio::test]
async fn a_tampered_request_is_refused() {
    let server = Server::start().await;
    let client = server.client();
    let mut request = client.signed(Method::GET, "/a", None, None, &[]).unwrap();
    request.url_mut().set_path("/b");
    assert_eq!(
        client.execute(request).await.unwrap().status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn wrong_input_is_an_error_and_nothing_is_sent() {
    let server = Server::start().await;
    let keys = server.folder.path().join("keys.json");
    assert!(
        matches!(key_from_file(&keys, "nobody"), Err(ClientError::NoKey(id)) if id == "nobody")
    );
    let client = server.client();
    let header = client.signed(Method::GET, "/", None, None, &[("a b", "c")]);
    assert!(matches!(header, Err(ClientError::Header(name)) if name == "a b"));
}

#[tokio::test]
async fn the_command_prints_headers_apart_from_the_body() {
    let server = Server::start().await;
    let output = server
        .command(&["post", "/p", "{}", "--as", "ops", "--idempotency-key", "k"])
        .await;
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("HTTP/1.1 200 OK\n") && stderr.contains("content-length: "),
        "{stderr}"
    );
    assert_eq!(output.stdout, b"ops POST /p application/json k 2 bytes");
}

#[tokio::test]
async fn the_command_makes_fresh_keys_for_changes_and_reads_files() {
    let server = Server::start().await;
    let file = server.folder.path().join("rows.csv");
    std::fs::write(&file, "a,b\n\u{0}").unwrap();
    let body = format!("@{}", file.display());
    let arguments = ["POST", "/p", body.as_str(), "-H", "content-type: text/csv"];
    let first = server.command(&arguments).await;
    let second = server.command(&arguments).await;
    let text = String::from_utf8(first.stdout).unwrap();
    assert!(text.starts_with("demo POST /p text/csv "), "{text}");
    assert!(text.ends_with(" 5 bytes"), "{text}");
    assert_ne!(text.as_bytes(), second.stdout);
}

#[tokio::test]
async fn exit_codes_tell_refusal_silence_and_wrong_arguments_apart() {
    let server = Server::start().await;
    let status = |output: Output| output.status.code();
    assert_eq!(
        status(server.command(&["GET", "/p", "--as", "nobody"]).await),
        Some(1)
    );
    assert_eq!(status(server.command(&["GET", "p"]).await), Some(1));
    assert_eq!(status(server.command(&["GET"]).await), Some(2));
    assert_eq!(
        status(server.command(&["GET", "/p", "-H", "nocolon"]).await),
        Some(2)
    );

    let keys = server.folder.path().join("keys.json");
    let other_secret = std::fs::read_to_string(&keys).unwrap().replace("Bw", "CC");
    std::fs::write(&keys, other_secret).unwrap();
    assert_eq!(status(server.command(&["GET", "/p"]).await), Some(22));
}

#[tokio::test]
async fn the_printed_curl_command_sends_the_same_request() {
    let server = Server::start().await;
    let body = r#"{"description":"it's $HOME @ [1]"}"#;
    let output = server
        .command(&[
            "POST",
            "/p?q=[1]",
            body,
            "--idempotency-key",
            "k",
            "-H",
            "x-note: a'b",
            "--curl",
        ])
        .await;
    let command = String::from_utf8(output.stdout).unwrap();
    let shell = Command::new("sh")
        .args(["-c", &command])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(shell.stdout).unwrap();
    let expected = format!("demo POST /p?q=[1] application/json k {} bytes", body.len());
    assert!(
        text.starts_with("HTTP/1.1 200 OK") && text.ends_with(&expected),
        "{command}{text}"
    );
}
