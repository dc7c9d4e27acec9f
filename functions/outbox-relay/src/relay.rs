use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::Context;
use chrono::Utc;
use futures_util::future::join_all;
use lambda_runtime::Error;
use outbox::{Delivery, Pending, SHARDS, owner_table, pending_table};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, mysql::MySqlConnectOptions};
use uuid::Uuid;

use crate::broker::Broker;

/// Events read at once.
const BATCH_ROWS_MAX: u32 = 500;
/// Batches sent in one invocation; more is left to the next one.
const BATCHES_MAX: u32 = 20;
/// A silent session gives up its shards after this, in seconds.
const SESSION_TIMEOUT_S: u32 = 10;
/// A session unused for longer is opened anew.
const SESSION_FRESH: Duration = Duration::from_secs(5);
/// How often shards that another relay held are asked for again.
const TAKE_OVER_EVERY: Duration = Duration::from_secs(1);
/// How often the backlog is measured.
const BACKLOG_EVERY: Duration = Duration::from_secs(1);

/// Sends events from the outbox, one unacknowledged event per key.
pub(crate) struct Relay {
    database: MySqlConnectOptions,
    broker: Broker,
    session: Option<Session>,
}

/// A database session and the shards it owns. Reading, settling and owning share the session: when
/// it is lost, so is the right to settle.
struct Session {
    connection: MySqlConnection,
    owner: Uuid,
    shards: u64,
    asked: Instant,
    used: Instant,
    backlog_measured: Option<Instant>,
    first_shard: u16,
}

/// What one invocation did.
#[derive(Serialize)]
pub(crate) struct Report {
    sent: usize,
    unacknowledged: usize,
    /// Nothing is left to send now.
    idle: bool,
}

impl Relay {
    pub(crate) fn new(database: MySqlConnectOptions, broker: Broker) -> Self {
        Self {
            database,
            broker,
            session: None,
        }
    }

    /// Sends what is pending, batch by batch. After an error of the database the session is dropped
    /// and its shards are free; the next invocation begins anew.
    ///
    /// # Errors
    /// Those of the database; events that the broker did not acknowledge, which stay pending.
    pub(crate) async fn run(&mut self) -> Result<Report, Error> {
        let report = match self.relay().await {
            Ok(report) => report,
            Err(error) => {
                self.session = None;
                return Err(error.into());
            }
        };
        match report.unacknowledged {
            0 => Ok(report),
            events => Err(format!("{events} events were not acknowledged").into()),
        }
    }

    async fn relay(&mut self) -> anyhow::Result<Report> {
        self.broker.replace_if_broken()?;
        let session = match self.session.take() {
            Some(session) if session.used.elapsed() < SESSION_FRESH => session,
            _ => Session::open(&self.database).await?,
        };
        let session = self.session.insert(session);
        session.take_over().await?;
        session.measure_backlog().await?;
        let mut report = Report {
            sent: 0,
            unacknowledged: 0,
            idle: false,
        };
        let mut delivered: Vec<Delivery> = Vec::new();
        for _ in 0..BATCHES_MAX {
            let batch = session.settle_and_read(&delivered).await?;
            delivered.clear();
            report.idle = batch.is_empty();
            if report.idle {
                break;
            }
            failpoint::at!("relay.read");
            let reports = join_all(batch.iter().map(|event| self.broker.send(event))).await;
            failpoint::at!("relay.sent");
            delivered.extend(reports.into_iter().flatten());
            report.sent += delivered.len();
            report.unacknowledged = batch.len() - delivered.len();
            if report.unacknowledged > 0 {
                break;
            }
        }
        session.settle(&delivered).await?;
        session.used = Instant::now();
        Ok(report)
    }
}

impl Session {
    async fn open(database: &MySqlConnectOptions) -> anyhow::Result<Self> {
        let mut connection = MySqlConnection::connect_with(database)
            .await
            .context("outbox session")?;
        db::set_up(&mut connection).await?;
        let timeout = format!("SET SESSION wait_timeout = {SESSION_TIMEOUT_S}");
        connection.execute(AssertSqlSafe(timeout)).await?;
        let owner = Uuid::now_v7();
        let now = Instant::now();
        let mut session = Self {
            connection,
            owner,
            shards: 0,
            asked: now,
            used: now,
            first_shard: 0,
            backlog_measured: None,
        };
        session.ask().await?;
        Ok(session)
    }

    /// Publishes how much waits, at most every [`BACKLOG_EVERY`].
    async fn measure_backlog(&mut self) -> sqlx::Result<()> {
        if self
            .backlog_measured
            .is_some_and(|last| last.elapsed() < BACKLOG_EVERY)
        {
            return Ok(());
        }
        let backlog = pending_table::backlog(&mut self.connection, Utc::now()).await?;
        self.backlog_measured = Some(Instant::now());
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        {
            metrics::gauge!("outbox_pending_events").set(backlog.events as f64);
            metrics::gauge!("outbox_oldest_pending_ms").set(backlog.oldest_ms as f64);
        }
        Ok(())
    }

    /// Asks for the shards of relays that are gone, at most every [`TAKE_OVER_EVERY`].
    async fn take_over(&mut self) -> sqlx::Result<()> {
        if self.shards < u64::from(SHARDS) && self.asked.elapsed() >= TAKE_OVER_EVERY {
            self.ask().await?;
        }
        Ok(())
    }

    async fn ask(&mut self) -> sqlx::Result<()> {
        let taken = owner_table::take_over(&mut self.connection, self.owner).await?;
        failpoint::at!("relay.taken-over");
        self.asked = Instant::now();
        self.shards += taken;
        if taken > 0 {
            metrics::counter!("outbox_takeovers_total").increment(taken);
            tracing::info!(outbox.owner = %self.owner, outbox.shards = self.shards, "took over");
        }
        Ok(())
    }

    /// Settles the last batch and reads the next one. An event may be visible before it is on disk;
    /// none is sent before, because the commit of what is written here comes after it.
    async fn settle_and_read(&mut self, delivered: &[Delivery]) -> sqlx::Result<Vec<Pending>> {
        let mut tx = self.connection.begin().await?;
        let settled = settle(&mut tx, self.owner, delivered).await?;
        let pending =
            pending_table::read(&mut tx, self.owner, self.first_shard, BATCH_ROWS_MAX).await?;
        if settled == 0 && !pending.is_empty() {
            owner_table::beat(&mut tx, self.owner).await?;
        }
        tx.commit().await?;
        failpoint::at!("relay.settled");
        self.first_shard = next_shard(&pending);
        Ok(first_of_each_key(pending))
    }

    async fn settle(&mut self, delivered: &[Delivery]) -> sqlx::Result<()> {
        if delivered.is_empty() {
            return Ok(());
        }
        let mut tx = self.connection.begin().await?;
        settle(&mut tx, self.owner, delivered).await?;
        tx.commit().await
    }
}

/// Takes the pointers of delivered events away, those of shards still owned, and gives their number.
async fn settle(
    tx: &mut MySqlConnection,
    owner: Uuid,
    delivered: &[Delivery],
) -> sqlx::Result<usize> {
    if delivered.is_empty() {
        return Ok(0);
    }
    let shards = owner_table::lock_owned(tx, owner).await?;
    failpoint::at!("relay.locked");
    let kept: Vec<Delivery> = delivered
        .iter()
        .copied()
        .filter(|report| shards.contains(&report.shard))
        .collect();
    if !kept.is_empty() {
        pending_table::settle(tx, &kept, Utc::now()).await?;
    }
    failpoint::at!("relay.deleted");
    metrics::counter!("outbox_events_sent_total").increment(delivered.len() as u64);
    Ok(kept.len())
}

/// The first pending event of each key, so that an event is only sent once the one before it is
/// acknowledged.
fn first_of_each_key(pending: Vec<Pending>) -> Vec<Pending> {
    let mut keys = HashSet::new();
    let mut first = |event: &Pending| keys.insert(event.aggregate_id.clone());
    pending.into_iter().filter(|event| first(event)).collect()
}

/// Where the next batch begins: after the last shard of a full one, so that no shard starves.
fn next_shard(pending: &[Pending]) -> u16 {
    match pending.last() {
        Some(last) if pending.len() >= BATCH_ROWS_MAX as usize => (last.shard + 1) % SHARDS,
        _ => 0,
    }
}
