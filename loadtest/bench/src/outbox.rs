//! From the commit to the topic, as the database knows it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{Connection, MySqlConnection};
use tokio::time::sleep;

use crate::{figures::Latency, target::variable};

/// How long the outbox may take to be empty.
const DRAINED_WITHIN: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The outbox of the stack.
pub(crate) struct Outbox(MySqlConnection);

impl Outbox {
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let url = variable("DATABASE_URL_ADMIN")?;
        let connection = MySqlConnection::connect(&url).await;
        Ok(Self(connection.context("DATABASE_URL_ADMIN")?))
    }

    /// The newest event's row.
    pub(crate) async fn last(&mut self) -> anyhow::Result<u64> {
        let last = sqlx::query_scalar("SELECT MAX(id) FROM outbox_event");
        let last: Option<u64> = last.fetch_one(&mut self.0).await?;
        Ok(last.unwrap_or_default())
    }

    /// Waits until nothing is pending.
    pub(crate) async fn drained(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.pending().await? > 0 {
            ensure!(
                began.elapsed() < DRAINED_WITHIN,
                "events wait for {DRAINED_WITHIN:?}"
            );
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Events that wait.
    pub(crate) async fn pending(&mut self) -> anyhow::Result<u64> {
        let pending = sqlx::query_scalar("SELECT COUNT(*) FROM outbox_pending");
        let pending: i64 = pending.fetch_one(&mut self.0).await?;
        Ok(pending.try_into()?)
    }

    /// From an event's time, just before its commit, until the broker's delivery report was noted,
    /// for the events after the row `first`; `None` when there are none.
    pub(crate) async fn delivery_latency(&mut self, first: u64) -> anyhow::Result<Option<Latency>> {
        let lags = sqlx::query_scalar(
            "SELECT TIMESTAMPDIFF(MICROSECOND, e.created, d.delivered_at) \
               FROM outbox_event e JOIN outbox_delivery d ON d.id = e.id WHERE e.id > ?",
        );
        let lags: Vec<i64> = lags.bind(first).fetch_all(&mut self.0).await?;
        let microseconds = lags.into_iter().map(|lag| u64::try_from(lag).unwrap_or(0));
        Ok(Latency::of_all(microseconds.map(Duration::from_micros)))
    }

    /// Of the events after the row `first`: how many deliveries were noted later than the first
    /// one, and how long after it the last one was. Those of the first moment took time that nobody
    /// knows.
    pub(crate) async fn delivered(&mut self, first: u64) -> anyhow::Result<(u64, Duration)> {
        let delivered = sqlx::query_as(
            "SELECT COUNT(*), TIMESTAMPDIFF(MICROSECOND, MIN(began), MAX(delivered_at)) \
               FROM outbox_delivery, \
                    (SELECT MIN(delivered_at) AS began FROM outbox_delivery WHERE id > ?) AS start \
              WHERE id > ? AND delivered_at > began",
        );
        let (events, took_us): (i64, Option<i64>) = delivered
            .bind(first)
            .bind(first)
            .fetch_one(&mut self.0)
            .await?;
        let took_us = took_us.context("too few events to tell a rate")?;
        Ok((
            events.try_into()?,
            Duration::from_micros(took_us.try_into()?),
        ))
    }
}
