//! `bench commit`: what a request costs beyond the transaction that it cannot do without.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use auditor::Report;
use bytes::Bytes;
use fastrand::Rng;
use guard::Call;
use http::{HeaderMap, Method};
use idempotency::{Fingerprint, IdempotencyKey};
use operation::Operations;
use serde::Serialize;
use signature::Key;
use telemetry::TraceContext;

use crate::{
    connection::{Service, fresh_id},
    figures::{Figures, Latency},
    journal::Journal,
    load::{ANY_SEED, Bound, Pace, Workers},
    outbox::Outbox,
    target::books,
    work::{AUTHORIZE, Work, authorize_body},
};

/// Transactions and requests before, that only fill caches.
const WARM_UP: u64 = 200;
/// Transactions, then requests, in one turn: few, so that whatever disturbs the machine disturbs
/// both alike.
const TURN: u64 = 20;

#[derive(Serialize)]
struct Commit {
    rounds: Vec<Round>,
    /// The median of the rounds'.
    ratio: f64,
    books: Report,
}

#[derive(Serialize)]
struct Round {
    commit: Latency,
    authorize: Latency,
    /// Of the medians.
    ratio: f64,
}

/// Runs the transaction of an authorize from here and whole authorizes at one connection, by turns.
pub(crate) async fn measure(
    service: &Service,
    time: Duration,
    rounds: u32,
    journal: &Journal,
) -> anyhow::Result<()> {
    let mut outbox = Outbox::open().await?;
    let key = service.key.clone().context("a key")?;
    let committer = Committer {
        operations: Operations::new(db::url_from_file("DATABASE_URL_PAYMENT_FILE")?),
        key,
    };
    let mut workers = Workers::new(service, 1, ANY_SEED);
    for _ in 0..WARM_UP {
        committer.commit().await?;
    }
    workers
        .run(Work::Authorize, Pace::closed(Bound::Count(WARM_UP)))
        .await?;
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.push(round(&committer, &mut workers, time).await?);
    }
    outbox.drained().await?;
    let ratio = median(all.iter().map(|round| round.ratio));
    let commit = Commit {
        rounds: all,
        ratio,
        books: books().await?,
    };
    journal.tell(&commit)?;
    ensure!(commit.books.holds(), "the books do not hold");
    Ok(())
}

/// The middle one; of an even number the upper.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = figures.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Takes turns for `time`.
async fn round(
    committer: &Committer,
    workers: &mut Workers,
    time: Duration,
) -> anyhow::Result<Round> {
    let began = Instant::now();
    let (mut took, mut figures) = (Vec::new(), Figures::default());
    while began.elapsed() < time {
        for _ in 0..TURN {
            took.push(committer.commit().await?);
        }
        let pace = Pace::closed(Bound::Count(TURN));
        figures.merge(workers.run(Work::Authorize, pace).await?);
    }
    let summary = figures.summary();
    ensure!(summary.failed.is_empty(), "{summary}");
    let commit = Latency::of_all(took).context("no transaction")?;
    let authorize = summary.steps.get("authorize").context("no request")?;
    let authorize = authorize.latency.clone();
    Ok(Round {
        ratio: authorize.p50_ms / commit.p50_ms,
        commit,
        authorize,
    })
}

/// Does in this process what the function does between a verified request and its answer.
struct Committer {
    operations: Operations,
    key: Arc<Key>,
}

impl Committer {
    async fn commit(&self) -> anyhow::Result<Duration> {
        let call = self.call(authorize_body(&mut Rng::new()))?;
        let began = Instant::now();
        let answer = authorize::authorize(self.operations.clone(), call).await;
        let took = began.elapsed();
        answer.map_err(|problem| anyhow!("{problem:?}"))?;
        Ok(took)
    }

    fn call(&self, body: Bytes) -> anyhow::Result<Call> {
        let idempotency_key = IdempotencyKey::parse(&fresh_id())?;
        let fingerprint = Fingerprint::of("POST", AUTHORIZE, &body);
        Ok(Call {
            caller: Arc::clone(&self.key),
            method: Method::POST,
            path: AUTHORIZE.to_owned(),
            query: None,
            headers: HeaderMap::new(),
            body,
            idempotency: Some((idempotency_key, fingerprint)),
            trace: TraceContext::root(),
        })
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Round {
            commit,
            authorize,
            ratio,
        } in &self.rounds
        {
            writeln!(formatter, "commit     {commit}")?;
            writeln!(formatter, "authorize  {authorize}")?;
            writeln!(formatter, "ratio      {ratio:.2}")?;
        }
        let Self { ratio, books, .. } = self;
        writeln!(formatter, "median     {ratio:.2} commits per authorize")?;
        write!(formatter, "{books}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!(median([].into_iter()).is_nan());
    }
}
