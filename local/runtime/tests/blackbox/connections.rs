//! Clients that are many, slow or silent.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Runtime, soon};

const ECHO: &str =
    "[functions.echo]\ncommand = [ECHO]\nroutes = ['POST /echo', 'GET /d']\nconcurrency = 4\n";
/// Connections at once, and the open files that test and runtime may have then.
const MANY: usize = 10_000;
const OPEN_FILES: u64 = 16_384;
/// How long the runtime keeps a connection without a request.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// Sends `count` requests, one after the other.
async fn assert_served(runtime: &Runtime, count: usize) {
    for _ in 0..count {
        let request = runtime.client.post(runtime.url("/echo")).body("hello");
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().await.unwrap(), "hello");
    }
}

async fn connect(runtime: &Runtime, begin: &str) -> TcpStream {
    let mut stream = TcpStream::connect(runtime.http).await.unwrap();
    stream.write_all(begin.as_bytes()).await.unwrap();
    stream
}

/// Waits until the runtime ends the connection; what it sent before.
async fn end_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    // A reset is an end, too.
    let _reset = soon(stream.read_to_end(&mut received)).await;
    received
}

fn memory_kib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1);
    kib.unwrap().parse().unwrap()
}

#[tokio::test]
async fn thousands_of_idle_connections_cost_little_and_hurt_nobody() {
    const KIB_MAX: usize = 13;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let enough = hard.max(OPEN_FILES);
    setrlimit(Resource::RLIMIT_NOFILE, enough, enough)
        .expect("the test needs 16,384 open files: run it as root or raise `ulimit -Hn`");
    let runtime = Runtime::start(ECHO).await;
    let pid = runtime.process.id().unwrap();
    assert_served(&runtime, 10).await;
    let before = memory_kib(pid);
    let mut idle = Vec::new();
    for _ in 0..MANY {
        let since = Instant::now();
        let mut stream = connect(&runtime, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut answer = [0; 1024];
        let length = soon(stream.read(&mut answer)).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
        idle.push((stream, since));
    }
    assert_served(&runtime, 100).await;
    let each = (memory_kib(pid) - before) / MANY;
    assert!(each < KIB_MAX, "{each} KiB for one of {MANY} connections");
    for (stream, since) in &mut idle {
        let request = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
        let sent = stream.write_all(request).await;
        let length = soon(stream.read(&mut [0; 1024])).await.unwrap_or(0);
        let kept = sent.is_ok() && length > 0;
        assert!(kept || since.elapsed() > IDLE_MAX, "it was closed early");
    }
}

#[tokio::test]
async fn slow_clients_hurt_nobody_and_are_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    std::fs::write(&file, vec![b'x'; 32 * 1024 * 1024]).unwrap();
    let file = file.display();
    let runtime = Runtime::start(&format!(
        "{ECHO}[[static]]\nroute = 'GET /large'\nfile = '{file}'\ncontent_type = 'text/plain'\n"
    ))
    .await;
    let (mut silent, mut heads, mut bodies, mut readers) = (vec![], vec![], vec![], vec![]);
    for _ in 0..300 {
        silent.push(connect(&runtime, "").await);
        heads.push(connect(&runtime, "POST /echo HTTP/1.1\r\nHost").await);
        let head = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\nslow";
        bodies.push(connect(&runtime, head).await);
    }
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(runtime.http).await.unwrap();
        let request = b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n";
        stream.write_all(request).await.unwrap();
        readers.push(stream);
    }
    // A trickle keeps no connection open.
    for stream in &mut heads {
        stream.write_all(b"x").await.unwrap();
    }
    assert_served(&runtime, 200).await;
    for stream in silent.iter_mut().chain(&mut heads) {
        assert_eq!(end_of(stream).await, b"");
    }
    for stream in &mut bodies {
        let mut answer = [0; 12];
        soon(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400");
    }
    assert_served(&runtime, 10).await;
    drop(readers);
}

#[tokio::test]
async fn full_runtime_takes_the_place_of_an_idle_connection() {
    let runtime = Runtime::start(&format!(
        "{ECHO}[gateway]\nconnections_max = 64\nconnections_per_ip_max = 2\n"
    ))
    .await;
    let healthy = "GET /healthz HTTP/1.1\r\nHost: h\r\n";
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&runtime, &format!("{healthy}\r\n")).await;
        soon(stream.read_exact(&mut [0; 12])).await.unwrap();
        idle.push(stream);
    }
    // Only connections that have been idle for a while are closed.
    loop {
        let mut stream = connect(&runtime, "").await;
        let request = format!("{healthy}Connection: close\r\n\r\n");
        let _refused = stream.write_all(request.as_bytes()).await;
        if end_of(&mut stream).await.starts_with(b"HTTP/1.1 200 ") {
            break;
        }
    }
    end_of(&mut idle[0]).await;
}
