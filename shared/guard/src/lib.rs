//! Everything that stands before a handler: size, signature, role, media type, idempotency key,
//! rate limit and the replies that are known already; and after it: the response and its log line.
//!
//! Redis makes this faster and the rate limit common to all instances; nothing here needs it.
//! Without it each instance limits on its own and the database finds stored replies.

mod admission;
mod answer;
mod breaker;
mod call;
mod config;
mod json;
mod limiter;
pub mod query;
mod serve;

use std::sync::Arc;

pub use answer::Answer;
pub use call::{BODY_BYTES_MAX, Call, Policy, Takes};
pub use config::{Config, ConfigError};
pub use serve::serve;
pub use signature::{Key, RateLimit, Role};

use admission::Admissions;
use signature::KeyFile;

/// Keys, rate limits and known replies; built once in `main`, cheap to clone.
#[derive(Clone)]
pub struct Guard(Arc<Parts>);

struct Parts {
    keys: KeyFile,
    admissions: Admissions,
}

impl Guard {
    /// Builds the guard from `KEYS_FILE`, `REDIS_URL`, `RATE_LIMIT_PER_S` and `RATE_LIMIT_BURST`.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable that is missing or wrong.
    pub async fn from_env() -> Result<Self, ConfigError> {
        Self::new(&Config::from_env()?).await
    }

    /// Builds the guard. Redis is not waited for and may be away.
    ///
    /// # Errors
    /// [`ConfigError`] when the key file or the address of Redis cannot be used.
    #[expect(
        clippy::unused_async,
        reason = "the Redis client needs a running async runtime"
    )]
    pub async fn new(config: &Config) -> Result<Self, ConfigError> {
        metrics::describe_counter!("http_requests_total", "Requests answered.");
        metrics::describe_histogram!(
            "http_request_duration_seconds",
            metrics::Unit::Seconds,
            "Time from event to answer."
        );
        metrics::describe_counter!("redis_failures_total", "Commands Redis did not answer.");
        Ok(Self(Arc::new(Parts {
            keys: KeyFile::open(&config.keys_file)?,
            admissions: Admissions::new(config)?,
        })))
    }
}
