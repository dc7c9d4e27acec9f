//! What one connection does again and again.

use std::{ops::RangeInclusive, time::Instant};

use bytes::Bytes;
use fastrand::Rng;
use serde_json::Value;

use crate::{
    connection::{Connection, Service, fresh_id},
    figures::{Figures, LIFE},
};

/// The path of new authorizations.
pub(crate) const AUTHORIZE: &str = "/payments/authorize";
/// Amounts of payments, in won.
const AMOUNTS: RangeInclusive<u64> = 1_000..=99_999;

/// The kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// New authorizations.
    Authorize,
    /// Authorize, capture, refund, one after the other.
    Life,
    /// One request, the same each time.
    Post(&'static Post),
}

/// A request that needs no key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Post {
    /// What it is called among the figures.
    pub(crate) step: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: &'static str,
}

/// A connection and what came of its work.
pub(crate) struct Worker {
    connection: Connection,
    amounts: Rng,
    pub(crate) figures: Figures,
}

impl Worker {
    pub(crate) fn new(service: Service, seed: u64) -> Self {
        Self {
            connection: Connection::new(service),
            amounts: Rng::with_seed(seed),
            figures: Figures::default(),
        }
    }

    /// Does it once. The first step counts from `due`, when it should have begun.
    pub(crate) async fn once(&mut self, work: Work, due: Instant) {
        match work {
            Work::Post(Post { step, path, body }) => {
                self.step(step, path, Bytes::from_static(body.as_bytes()), due)
                    .await;
            }
            Work::Authorize => {
                self.authorize(due).await;
            }
            Work::Life => {
                self.life(due).await;
            }
        }
    }

    async fn life(&mut self, due: Instant) -> Option<()> {
        let payment_id = self.authorize(due).await?;
        for name in ["capture", "refund"] {
            let path = format!("/payments/{name}/{payment_id}");
            self.step(name, &path, Bytes::new(), Instant::now()).await?;
        }
        self.figures.record(LIFE, due.elapsed());
        Some(())
    }

    /// A new payment's id.
    async fn authorize(&mut self, due: Instant) -> Option<String> {
        let body = authorize_body(&mut self.amounts);
        let body = self.step("authorize", AUTHORIZE, body, due).await?;
        let payment: Value = serde_json::from_slice(&body).ok()?;
        let payment_id = payment["paymentId"].as_str()?.to_owned();
        self.figures.answered(payment_id.clone());
        Some(payment_id)
    }

    /// One request; gives the body of a success.
    async fn step(
        &mut self,
        name: &'static str,
        path: &str,
        body: Bytes,
        due: Instant,
    ) -> Option<Bytes> {
        match self.connection.post(path, body).await {
            Ok(answer) if answer.status == 200 => {
                self.figures.record(name, due.elapsed());
                Some(answer.body)
            }
            Ok(answer) => {
                let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let code = problem["code"].as_str().unwrap_or("without a code");
                let what = format!("{name} {} {code}", answer.status);
                match answer.status {
                    429 | 503 if answer.retry_after => self.figures.refused(name, what),
                    _ => self.figures.failed(what),
                }
                None
            }
            Err(error) => {
                self.figures.failed(format!("{name} {error:#}"));
                None
            }
        }
    }
}

/// The body of an authorize request.
pub(crate) fn authorize_body(amounts: &mut Rng) -> Bytes {
    let (order, amount) = (fresh_id(), amounts.u64(AMOUNTS));
    format!(r#"{{"orderId":"{order}","amount":{amount},"currency":"KRW"}}"#).into()
}
