//! Access to MariaDB: connections set up alike, and one place that decides what may be tried again.

mod config;
mod failure;
mod retry;
mod session;

pub use config::{CONNECTIONS_MAX, ConfigError, hasty_pool, pool, set_up, url_from_file};
pub use failure::Failure;
pub use retry::{ATTEMPTS_MAX, Retry};
pub use session::{Work, session, transaction};
