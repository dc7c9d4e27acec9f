//! MariaDB, Redis, Kafka and the function runtime on one machine, private to one state directory.
//!
//! Every process is a daemon of its own session with a pid file and a log. Nothing here knows what
//! the functions do, except the list of databases, topics and keys in [`mariadb`], [`kafka`] and
//! [`secrets`].

pub mod component;
pub mod daemon;
pub mod endpoints;
pub mod foreground;
pub mod kafka;
pub mod log_line;
pub mod mariadb;
pub mod output;
pub mod ports;
pub mod program;
pub mod redis;
pub mod runtime;
pub mod sample;
pub mod secrets;
pub mod state;
pub mod status;
pub mod up;
pub mod wait;

pub use component::{Component, Stack};
pub use ports::{Port, Ports};
pub use state::State;
