//! The runtime from outside: its binary, real functions, real sockets.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod admin;
mod asynchronous;
mod attach;
mod calls;
mod cluster;
mod command_line;
mod conformance;
mod connections;
mod docker;
mod harness;
mod http;
mod http2;
mod invoke;
mod kafka;
mod lifecycle;
mod overload;
mod reload;
mod rights;
mod rollout;
mod runtime_api;
mod scaling;
mod sources;
mod standalone;
mod streaming;
mod takeover;
mod tls;
mod watch;
