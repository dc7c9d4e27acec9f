use std::{
    collections::HashSet,
    mem,
    time::{Duration, Instant},
};

use anyhow::Context;
use chrono::Utc;
use futures_util::future::join_all;
use lambda_runtime::Error;
use outbox::{Delivery, Pending, SHARDS, owner_table, pending_table};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, mysql::MySqlConnectOptions};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{broker::Broker, held::Held};

/// Events read at once.
const BATCH_ROWS_MAX: u32 = 500;
/// Batches sent in one invocation; more is left to the next one.
const BATCHES_MAX: u32 = 20;
/// No batch of an invocation begins later than this: the last one's events may take nine seconds to
/// be given up, and the function's timeout must not end the relay while it sends.
const BATCHES_BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// A batch of at least this many events tells that many more come: the next one is read only after
/// [`GATHER_FOR`], so that more events share a transaction, and a request to the broker. One of half
/// of [`BATCH_ROWS_MAX`] is large enough.
const GATHER_FROM: usize = 12;
const GATHER_FOR: Duration = Duration::from_millis(10);
/// A silent session gives up its shards after this, in seconds, whatever it was doing.
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
    held: Held,
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
#[derive(Default, Serialize)]
pub(crate) struct Report {
    sent: usize,
    /// Keys left alone because an event of theirs was not acknowledged.
    held: usize,
    /// Nothing is left to send now.
    idle: bool,
}

impl Relay {
    pub(crate) fn new(database: MySqlConnectOptions, broker: Broker) -> Self {
        Self {
            database,
            broker,
            held: Held::default(),
            session: None,
        }
    }

    /// Sends what is pending, batch by batch. An event that the broker does not acknowledge stays
    /// pending, and its key is left alone for a while. After an error the session is dropped and
    /// its shards are free; the next invocation begins anew.
    ///
    /// # Errors
    /// Those of the database; a producer that cannot be made.
    pub(crate) async fn run(&mut self) -> Result<Report, Error> {
        let report = self.relay().await;
        if report.is_err() {
            self.session = None;
        }
        Ok(report?)
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
        self.held.release();
        let mut report = Report::default();
        let mut delivered: Vec<Delivery> = Vec::new();
        let began = Instant::now();
        for _ in 0..BATCHES_MAX {
            if began.elapsed() >= BATCHES_BEGIN_WITHIN {
                break;
            }
            let settling = mem::take(&mut delivered);
            let batch = session.settle_and_read(&settling, &self.held).await?;
            report.idle = batch.is_empty();
            if report.idle {
                break;
            }
            failpoint::at!("relay.read");
            delivered = send(&self.broker, batch, &mut self.held).await;
            failpoint::at!("relay.sent");
            report.sent += delivered.len();
            if (GATHER_FROM..BATCH_ROWS_MAX as usize / 2).contains(&delivered.len()) {
                sleep(GATHER_FOR).await;
            }
        }
        session.settle(&delivered).await?;
        session.used = Instant::now();
        report.held = self.held.publish();
        Ok(report)
    }
}

impl Session {
    async fn open(database: &MySqlConnectOptions) -> anyhow::Result<Self> {
        let mut connection = MySqlConnection::connect_with(database)
            .await
            .context("outbox session")?;
        db::set_up(&mut connection).await?;
        connection.execute(AssertSqlSafe(silence_ends())).await?;
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
    async fn settle_and_read(
        &mut self,
        delivered: &[Delivery],
        held: &Held,
    ) -> sqlx::Result<Vec<Pending>> {
        let rows_max = BATCH_ROWS_MAX.min(held.room());
        let mut tx = self.connection.begin().await?;
        let settled = settle(&mut tx, self.owner, delivered).await?;
        let pending =
            pending_table::read(&mut tx, self.owner, self.first_shard, rows_max, held.keys())
                .await?;
        if settled == 0 && !pending.is_empty() {
            owner_table::beat(&mut tx, self.owner).await?;
        }
        tx.commit().await?;
        failpoint::at!("relay.settled");
        self.first_shard = next_shard(&pending, rows_max);
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

/// Sends events of different keys at once, and gives those that were acknowledged.
async fn send(broker: &Broker, batch: Vec<Pending>, held: &mut Held) -> Vec<Delivery> {
    let acknowledged = join_all(batch.iter().map(|event| broker.send(event))).await;
    let mut delivered = Vec::with_capacity(batch.len());
    for (event, delivery) in batch.into_iter().zip(acknowledged) {
        match delivery {
            Some(delivery) => delivered.push(delivery),
            None => held.hold(event.aggregate_id),
        }
    }
    delivered
}

/// Lets the server end a silent session, be it asleep, within a transaction or within a message.
/// Each of these has a time limit of its own.
fn silence_ends() -> String {
    let limits = [
        "wait_timeout",
        "idle_transaction_timeout",
        "idle_write_transaction_timeout",
        "net_read_timeout",
        "net_write_timeout",
    ];
    let settings = limits.map(|limit| format!("{limit} = {SESSION_TIMEOUT_S}"));
    format!("SET SESSION {}", settings.join(", "))
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
fn next_shard(pending: &[Pending], rows_max: u32) -> u16 {
    match pending.last() {
        Some(last) if pending.len() >= rows_max as usize => (last.shard + 1) % SHARDS,
        _ => 0,
    }
}
