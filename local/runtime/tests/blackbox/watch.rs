//! The same function under `cargo lambda watch` and under this runtime: what it sees of a request, and
//! what the client gets of its answer, compared member by member.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::conformance::python;
use crate::harness::{Runtime, eventually, example, soon};

/// Members that differ with every request.
const OF_THE_REQUEST: [&str; 4] = [
    "event.context.time",
    "event.headers.x-amzn-trace-id",
    "event.requestId",
    "event.context.requestId",
];
/// Members in which `cargo lambda watch` 1.9 differs, and why this runtime does not follow it. Each
/// does differ in some request.
const DIFFERENCES: [(&str, &str); 17] = [
    ("event.context.accountId", "AWS's is always there"),
    ("event.context.apiId", "AWS's is always there"),
    (
        "event.context.domainName",
        "theirs is not the host of the request",
    ),
    (
        "event.context.domainPrefix",
        "theirs is the function's name",
    ),
    ("event.context.http.protocol", "theirs is the scheme"),
    ("event.context.http.userAgent", "theirs is not the client's"),
    ("event.context.routeKey", "theirs is not the route"),
    (
        "event.context.timeEpoch",
        "theirs is in seconds, AWS's in milliseconds",
    ),
    ("event.deadlineMs", "theirs is in the year 1970"),
    (
        "event.headers.lambda-runtime-aws-request-id",
        "theirs adds it to the client's headers",
    ),
    (
        "event.headers.x-many",
        "theirs drops all values but the first",
    ),
    (
        "event.headers.cookie",
        "theirs drops all headers but the first",
    ),
    ("event.id", "theirs is still percent-encoded"),
    ("event.pathParameters.id", "theirs is still percent-encoded"),
    (
        "event.bodyKind",
        "a form is text in ours, a body without a type in theirs",
    ),
    (
        "reply.headers.content-length",
        "an answer to HEAD need not have it",
    ),
    (
        "reply.headers.content-type",
        "AWS's is always there, where there is a body",
    ),
];
/// A body that says it is text and is none: `cargo lambda watch` answers 500.
const NO_TEXT: Asked = (
    "POST /echo",
    "Content-Type: text/plain\r\n",
    b"\x80\xff no text",
);

/// The manifest, and what `cargo lambda watch` reads instead.
const MANIFEST: &str =
    "[functions.echo]\ncommand = [ECHO]\nroutes = ['ANY /echo', 'ANY /d/{id}']\n";
const PACKAGE: &str = "[package]\nname = 'echo'\nversion = '0.0.0'\nedition = '2024'\n\
    [[bin]]\nname = 'echo'\npath = 'main.rs'\n\
    [workspace.metadata.lambda.watch.router]\n'/echo' = 'echo'\n'/d/{id}' = 'echo'\n";

/// The function under `cargo lambda watch`, which keeps the Runtime API and starts nothing: it would
/// compile. One process group, ended when dropped.
struct Watch {
    process: Child,
    _function: Child,
    _folder: TempDir,
    address: SocketAddr,
}

impl Watch {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), PACKAGE).unwrap();
        std::fs::write(folder.path().join("main.rs"), "fn main() {}").unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let process = Command::new(python().with_file_name("cargo-lambda"))
            .args([
                "lambda",
                "watch",
                "--only-lambda-apis",
                "--ignore-changes",
                "--disable-cors",
            ])
            .args(["--invoke-address", "127.0.0.1", "--invoke-port"])
            .arg(address.port().to_string())
            .current_dir(folder.path())
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually(async || TcpStream::connect(address).await.ok()).await;
        let function = Command::new(example("echo"))
            .env_clear()
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                format!("http://{address}/.rt/echo"),
            )
            .env("AWS_LAMBDA_FUNCTION_NAME", "echo")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            process,
            _function: function,
            _folder: folder,
            address,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let group = i32::try_from(self.process.id().unwrap()).unwrap();
        killpg(Pid::from_raw(group), Signal::SIGKILL).unwrap();
    }
}

/// A request: method and target, headers, body.
type Asked = (&'static str, &'static str, &'static [u8]);

const ASKED: [Asked; 16] = [
    ("GET /d/1", "", b""),
    ("HEAD /d/1", "", b""),
    ("OPTIONS /d/1", "", b""),
    ("PUT /d/1", "Content-Length: 0\r\n", b""),
    ("DELETE /d/%ED%95%9C", "", b""),
    ("GET /d/a%2Fb%20c", "", b""),
    ("GET /d/a+b~c!$&'()*,;=:@", "", b""),
    ("GET /d/1?x=1&x=2&y=a+b&y=&z=%ED%95%9C&w=%26%3D", "", b""),
    ("GET /d/1?flag&empty=&=none&&", "", b""),
    ("GET /d/1?bad=%zz&half=%E", "", b""),
    (
        "GET /d/1",
        "X-Many: one\r\nX-Many: two\r\nX-Empty:\r\n",
        b"",
    ),
    ("GET /d/1", "Cookie: a=1; b=2\r\nCookie: c=\"3\"\r\n", b""),
    (
        "POST /echo",
        "Content-Type: application/json; charset=utf-8\r\n",
        b"{\"a\":\"\xed\x95\x9c\"}",
    ),
    (
        "POST /echo",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        b"a=1&b=%20",
    ),
    (
        "PATCH /echo",
        "Content-Type: application/octet-stream\r\n",
        b"\0\x01\xff\xfe binary",
    ),
    ("POST /echo", "", b"untyped"),
];

/// Sends a request as it stands; status, headers and body of the reply.
async fn send(address: SocketAddr, (target, headers, body): Asked, more: &str) -> Value {
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let head = format!(
        "{target} HTTP/1.1\r\nHost: h.example\r\nUser-Agent: test/1\r\n{headers}{length}{more}Connection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = [head.as_bytes(), body].concat();
    stream.write_all(&request).await.unwrap();
    let mut reply = Vec::new();
    soon(stream.read_to_end(&mut reply)).await.unwrap();
    let end = reply
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = std::str::from_utf8(&reply[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap();
    let mut headers = Map::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let values = headers.entry(name.to_lowercase()).or_insert(json!([]));
        values.as_array_mut().unwrap().push(value.into());
    }
    json!({ "status": status, "headers": headers, "body": reply[end + 4..] })
}

/// What the function says that it has seen.
async fn seen(address: SocketAddr, asked: Asked) -> Value {
    let reply = send(address, asked, "X-Describe: 1\r\n").await;
    let body: Vec<u8> = serde_json::from_value(reply["body"].clone()).unwrap();
    if body.is_empty() {
        return Value::Null;
    }
    let mut seen: Value = serde_json::from_slice(&body).unwrap();
    // That is how the function was started.
    seen.as_object_mut().unwrap().remove("environment");
    seen
}

/// The members, by their paths, in which two values differ.
fn compare(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<(String, Value, Value)>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let names: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
            for name in names {
                let [theirs, ours] = [theirs, ours].map(|it| it.get(name).unwrap_or(&Value::Null));
                compare(&format!("{path}.{name}"), theirs, ours, found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push((path.to_owned(), theirs.clone(), ours.clone())),
    }
}

#[tokio::test]
async fn function_sees_and_answers_the_same_as_under_cargo_lambda_watch() {
    let watch = Watch::start().await;
    let runtime = Runtime::start(MANIFEST).await;
    let mut unused: BTreeSet<_> = DIFFERENCES.iter().map(|(path, _)| *path).collect();
    let mut unexpected = Vec::new();
    for asked in ASKED {
        let mut found = Vec::new();
        let theirs = seen(watch.address, asked).await;
        compare(
            "event",
            &theirs,
            &seen(runtime.http, asked).await,
            &mut found,
        );
        let theirs = send(watch.address, asked, "").await;
        compare(
            "reply",
            &theirs,
            &send(runtime.http, asked, "").await,
            &mut found,
        );
        for (path, theirs, ours) in found {
            if OF_THE_REQUEST.contains(&path.as_str()) {
                continue;
            }
            if DIFFERENCES.iter().any(|(known, _)| *known == path) {
                unused.remove(path.as_str());
            } else {
                unexpected.push(format!("{asked:?}: {path}: theirs {theirs}, ours {ours}"));
            }
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    assert!(unused.is_empty(), "these do not differ: {unused:?}");
    let theirs = send(watch.address, NO_TEXT, "").await;
    assert_eq!(theirs["status"], "HTTP/1.1 500 Internal Server Error");
    let ours = seen(runtime.http, NO_TEXT).await;
    assert_eq!(ours["bodyBegin"], json!(NO_TEXT.2));
}
