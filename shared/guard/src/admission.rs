//! Whether a request may go on, and the replies that are known already.

use std::sync::Arc;
use std::time::{Duration, Instant};

use idempotency::{Fingerprint, IdempotencyKey, Reply};
use problem::{Code, Problem};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{RedisResult, Script};
use signature::RateLimit;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::breaker::{Breaker, Failed};
use crate::call::Call;
use crate::config::{Config, ConfigError};
use crate::limiter::LocalLimiter;

/// How long one attempt to connect may take; no request waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest pause between two attempts to connect.
const CONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long Redis keeps a reply; the database keeps it for longer and answers afterwards.
const REPLY_KEPT_S: u64 = 24 * 3600;
/// Most bytes of a reply that is kept in Redis.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// Replies on their way to Redis at once; further ones are dropped, for the database has them.
const STORES_MAX: usize = 64;
/// First byte of a kept reply, then fingerprint (32), status (2, big-endian) and body.
const REPLY_FORM: u8 = 1;
const MICROSECONDS: u64 = 1_000_000;

/// Rate limits and finished replies: in Redis, else this instance's own limits and no replies.
pub(crate) struct Admissions {
    redis: Arc<Redis>,
    local: LocalLimiter,
    rate_limit: RateLimit,
    stores: Arc<Semaphore>,
}

struct Redis {
    connection: ConnectionManager,
    timeout: Duration,
    breaker: Breaker,
    admit: Script,
}

impl Admissions {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let client =
            redis::Client::open(config.redis_url.as_str()).map_err(|_| ConfigError::Redis)?;
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(config.redis_timeout))
            .set_max_delay(CONNECT_PAUSE_MAX);
        let connection = ConnectionManager::new_lazy_with_config(client, settings)
            .map_err(|_| ConfigError::Redis)?;
        let redis = Arc::new(Redis {
            connection,
            timeout: config.redis_timeout,
            breaker: Breaker::new(Instant::now()),
            admit: Script::new(include_str!("admit.lua")),
        });
        // Connects, and has the script there, before the first request.
        tokio::spawn(warm(Arc::clone(&redis)));
        let stores = Arc::new(Semaphore::new(STORES_MAX));
        Ok(Self {
            redis,
            local: LocalLimiter::default(),
            rate_limit: config.rate_limit,
            stores,
        })
    }

    /// Takes the call from its merchant's rate, and gives the reply its key has already.
    ///
    /// # Errors
    /// `rate-limited`; `idempotency-key-reused` when the key's reply is of another request.
    pub(crate) async fn admit(&self, call: &Call) -> Result<Option<Reply>, Problem> {
        let merchant_id = &call.caller.merchant_id;
        let rate = call.caller.rate_limit.unwrap_or(self.rate_limit);
        let key = call.idempotency.as_ref().map(|(key, _)| key);
        let Some((wait_us, kept)) = self.redis.admit(merchant_id, rate, key).await else {
            return self
                .local
                .check(merchant_id, rate)
                .map_err(limited)
                .map(|()| None);
        };
        if wait_us > 0 {
            return Err(limited(
                u32::try_from(wait_us.div_ceil(MICROSECONDS)).unwrap_or(u32::MAX),
            ));
        }
        match (kept.as_deref().and_then(decode), &call.idempotency) {
            (Some((fingerprint, reply)), Some((_, asked))) if fingerprint == *asked => {
                Ok(Some(reply))
            }
            (Some(_), Some(_)) => Err(Problem::new(
                Code::IdempotencyKeyReused,
                "The key was first used with another method, path or body.",
            )),
            _ => Ok(None),
        }
    }

    /// Keeps a stored reply in Redis for the next request with its key, without being waited for.
    pub(crate) fn remember(
        &self,
        merchant_id: &str,
        key: &IdempotencyKey,
        fingerprint: Fingerprint,
        reply: &Reply,
    ) {
        let Ok(permit) = Arc::clone(&self.stores).try_acquire_owned() else {
            return;
        };
        if reply.body.len() > REPLY_BYTES_MAX {
            return;
        }
        let name = reply_name(merchant_id, key);
        let value = encode(fingerprint, reply);
        let redis = Arc::clone(&self.redis);
        tokio::spawn(async move {
            redis.keep(&name, &value).await;
            drop(permit);
        });
    }
}

impl Redis {
    /// Microseconds to wait, and the kept reply; `None` while Redis is away.
    async fn admit(
        &self,
        merchant_id: &str,
        rate: RateLimit,
        key: Option<&IdempotencyKey>,
    ) -> Option<(u64, Option<Vec<u8>>)> {
        let cost_us = MICROSECONDS.div_ceil(rate.per_second.get().into());
        let mut admit = self.admit.key(format!("rate:{{{merchant_id}}}"));
        if let Some(key) = key {
            admit.key(reply_name(merchant_id, key));
        }
        admit.arg(cost_us).arg(rate.burst.get());
        let mut connection = self.connection.clone();
        self.run(async { admit.invoke_async(&mut connection).await })
            .await
    }

    async fn keep(&self, name: &str, value: &[u8]) {
        let mut connection = self.connection.clone();
        let mut set = redis::cmd("SET");
        set.arg(name).arg(value).arg("EX").arg(REPLY_KEPT_S);
        self.run::<()>(async { set.query_async(&mut connection).await })
            .await;
    }

    /// Runs a command within its time, unless the breaker is open.
    async fn run<T>(&self, command: impl Future<Output = RedisResult<T>>) -> Option<T> {
        if !self.breaker.admits(Instant::now()) {
            return None;
        }
        let error = match timeout(self.timeout, command).await {
            Ok(Ok(value)) => {
                if self.breaker.succeeded() {
                    tracing::info!("Redis is back");
                }
                return Some(value);
            }
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        metrics::counter!("redis_failures_total").increment(1);
        if self.breaker.failed(Instant::now()) == Failed::Opened {
            tracing::warn!(error, "Redis is away: rates are limited per instance");
        }
        None
    }
}

async fn warm(redis: Arc<Redis>) {
    let mut connection = redis.connection.clone();
    if let Err(error) = redis.admit.load_async(&mut connection).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "Redis was away at the start");
    }
}

/// The braces put what one script reads into one slot of a cluster.
fn reply_name(merchant_id: &str, key: &IdempotencyKey) -> String {
    format!("reply:{{{merchant_id}}}:{key}")
}

fn limited(retry_after_s: u32) -> Problem {
    Problem::new(
        Code::RateLimited,
        "The merchant's request rate is used up for now.",
    )
    .retry_after_s(retry_after_s.max(1))
}

fn encode(fingerprint: Fingerprint, reply: &Reply) -> Vec<u8> {
    [
        &[REPLY_FORM],
        &fingerprint.as_bytes()[..],
        &reply.status.to_be_bytes(),
        &reply.body,
    ]
    .concat()
}

/// A kept reply; `None` for what another version wrote.
fn decode(value: &[u8]) -> Option<(Fingerprint, Reply)> {
    let (form, rest) = value.split_first()?;
    let (fingerprint, rest) = rest.split_first_chunk::<32>()?;
    let (status, body) = rest.split_first_chunk::<2>()?;
    let reply = Reply {
        status: u16::from_be_bytes(*status),
        body: body.to_vec().into(),
    };
    (*form == REPLY_FORM).then_some(((*fingerprint).into(), reply))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn kept_replies_are_read_back(
            fingerprint: [u8; 32],
            status in 200_u16..500,
            body in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let reply = Reply { status, body: body.into() };
            let read = decode(&encode(fingerprint.into(), &reply)).unwrap();
            prop_assert_eq!(read, (fingerprint.into(), reply));
        }

        #[test]
        fn foreign_values_are_no_replies(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assume!(value.first() != Some(&REPLY_FORM) || value.len() < 35);
            prop_assert!(decode(&value).is_none());
        }
    }
}
