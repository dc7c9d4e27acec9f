//! What the runtime refuses by itself looks as it does when a function refuses it: a problem type
//! has one status and one title.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::process::Stdio;
use std::time::Duration;

use problem::Code;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longest wait for the runtime.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first keeps every call waiting, for which it has no place; the second never starts.
const MANIFEST: &str = "
[gateway]
errors = 'problem'
problem_type = '/docs/problems.md#{code}'

[functions.busy]
command = ['sleep', '600']
routes = ['POST /busy']
queue_max = 0

[functions.broken]
command = ['false']
routes = ['POST /broken']
queue_wait_ms = 20000

[functions.waiting]
command = ['sleep', '600']
routes = ['POST /waiting']
";

/// A runtime without any of our functions; killed when dropped.
struct Runtime {
    url: String,
    _process: Child,
    _folder: TempDir,
}

impl Runtime {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("functions.toml");
        std::fs::write(&manifest, MANIFEST).unwrap();
        // target/release/deps/refusals-… lies beside target/release/local-lambda.
        let test = std::env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join("local-lambda");
        let mut process = Command::new(program)
            .args(["serve", "--http", "127.0.0.1:0", "--invoke", "127.0.0.1:0"])
            .args(["--admin", "127.0.0.1:0", "--manifest"])
            .arg(&manifest)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("local-lambda is built");
        let output = process.stdout.take().unwrap();
        let mut lines = BufReader::new(output).lines();
        let first = timeout(PATIENCE, lines.next_line()).await.unwrap();
        let first: Value = serde_json::from_str(&first.unwrap().unwrap()).unwrap();
        // Lines that nobody reads are dropped.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            url: format!("http://{}", first["http"].as_str().unwrap()),
            _process: process,
            _folder: folder,
        }
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        let client = reqwest::Client::new();
        client.post(format!("{}{path}", self.url)).timeout(PATIENCE)
    }
}

#[tokio::test]
async fn every_problem_of_the_runtime_has_the_status_and_title_of_its_code() {
    let runtime = Runtime::start().await;
    let oversize = || vec![b'x'; 7 * 1024 * 1024];
    for (code, request) in [
        (Code::RouteNotFound, runtime.post("/nowhere")),
        (
            Code::BodyTooLarge,
            runtime.post("/waiting").body(oversize()),
        ),
        (
            Code::InvalidRequest,
            runtime
                .post("/waiting")
                .header("x-long", "x".repeat(11_000)),
        ),
        (
            Code::InvalidRequest,
            runtime.post("/waiting").header("x-bytes", &b"\xff"[..]),
        ),
        (Code::Overloaded, runtime.post("/busy")),
        (Code::Unavailable, runtime.post("/broken")),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), code.status(), "{code:?}");
        let retry_after = response.headers().get("retry-after").cloned();
        let retry_after_s = code.retry_after_s().map(|seconds| seconds.to_string());
        assert_eq!(
            retry_after.as_ref().map(|value| value.to_str().unwrap()),
            retry_after_s.as_deref(),
            "{code:?}"
        );
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], code.slug());
        assert_eq!(
            problem["type"],
            format!("/docs/problems.md#{}", code.slug())
        );
        assert_eq!(problem["title"], code.title());
        assert_eq!(problem["status"], code.status());
        assert_eq!(problem["retryable"], code.retryable());
    }
}
