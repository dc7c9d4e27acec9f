//! Proves the books: payments = ledger = outbox = topics = stored replies = settlement =
//! reconciliation, and nothing waits among the dead letters.
//!
//! Everything is held against the events: each payment's are folded anew, by rules written for this
//! purpose, and the other tables and the topics must say the same. The database is read in one
//! snapshot, so that an audit can run while payments go on.

mod dead_letters;
mod events;
mod fold;
mod ledger;
mod moved;
mod outbox_rows;
mod payments;
mod recon_cases;
mod recon_files;
mod recon_items;
mod recon_rows;
mod replies;
mod report;
mod service_outbox;
mod settlement_batches;
mod settlement_items;
mod snapshot;
mod topics;
mod totals;

use std::{collections::HashMap, env, time::Duration};

use anyhow::Context;
use uuid::Uuid;

pub use report::{Check, EXAMPLES_MAX, Report};

use crate::{events::Known, snapshot::Snapshot, totals::Totals};

/// How old a pending event may be, unless the options say otherwise.
pub const PENDING_WITHIN: Duration = Duration::from_secs(5);

/// Where the books are.
#[derive(Clone, Debug)]
pub struct Sources {
    /// URL of the payment database, of a user who may read every table.
    pub database_url: String,
    /// URL of the settlement database, of a user who may read every table.
    pub settlement_database_url: String,
    /// URL of the reconciliation database, of a user who may read every table.
    pub recon_database_url: String,
    /// URL of the database of decisions about dead letters, of a user who may read every table.
    pub dlq_database_url: String,
    /// Kafka's `host:port`, separated by commas.
    pub brokers: String,
}

impl Sources {
    /// From `DATABASE_URL_ADMIN`, `DATABASE_URL_SETTLEMENT`, `DATABASE_URL_RECON`,
    /// `DATABASE_URL_DLQ` and `KAFKA_BROKERS`.
    ///
    /// # Errors
    /// Names the variable that is missing.
    pub fn from_env() -> anyhow::Result<Self> {
        let variable = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
        Ok(Self {
            database_url: variable("DATABASE_URL_ADMIN")?,
            settlement_database_url: variable("DATABASE_URL_SETTLEMENT")?,
            recon_database_url: variable("DATABASE_URL_RECON")?,
            dlq_database_url: variable("DATABASE_URL_DLQ")?,
            brokers: variable("KAFKA_BROKERS")?,
        })
    }
}

/// How strict the audit is.
#[derive(Clone, Debug)]
pub struct Options {
    /// How old an event may be that no topic has yet.
    pub pending_within: Duration,
    /// Stands before the name of every topic.
    pub topic_prefix: String,
    /// Whether dead letters may wait that nobody has decided about.
    pub letters_may_wait: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pending_within: PENDING_WITHIN,
            topic_prefix: String::new(),
            letters_may_wait: false,
        }
    }
}

/// What the events say, by payment; the index is `seq` − 1. About 150 bytes per event.
pub(crate) type Books = HashMap<Uuid, Vec<Known>>;

/// Carries every check out.
///
/// # Errors
/// When database or broker cannot be read.
pub async fn audit(sources: &Sources, options: &Options) -> anyhow::Result<Report> {
    // Before the payments: they know nothing that these do not know. After them settlement has told
    // everything that they have posted.
    let mut settlement_before = Snapshot::open(&sources.settlement_database_url).await?;
    let mut recon_before = Snapshot::open(&sources.recon_database_url).await?;
    let mut snapshot = Snapshot::open(&sources.database_url).await?;
    let mut settlement_after = Snapshot::open(&sources.settlement_database_url).await?;
    let mut others = settlement_batches::settled(&mut settlement_after).await?;
    settlement_after.close().await?;
    let mut recon = Snapshot::open(&sources.recon_database_url).await?;
    others.extend(recon_cases::decided(&mut recon).await?);
    recon.close().await?;
    let (mut books, events) = events::check(&mut snapshot).await?;
    let mut checks = vec![
        events,
        payments::check(&mut snapshot, &books).await?,
        ledger::check(&mut snapshot, &books, &others, options).await?,
        outbox_rows::check(&mut snapshot, &mut books, options).await?,
        replies::check(&mut snapshot, &books).await?,
    ];
    snapshot.close().await?;
    let mut totals = Totals::default();
    let url = sources.settlement_database_url.as_str();
    let before = &mut settlement_before;
    checks.push(settlement_items::check(before, &mut totals, &books, (url, options)).await?);
    let url = sources.recon_database_url.as_str();
    let before = &mut recon_before;
    checks.push(recon_items::check(before, &mut totals, &books, (url, options)).await?);
    checks.push(totals.check(&books));
    for (name, mut snapshot) in [
        ("told-settlement", settlement_before),
        ("told-recon", recon_before),
    ] {
        checks.push(service_outbox::check(name, &mut snapshot, sources, options).await?);
        snapshot.close().await?;
    }
    checks.push(topics::check(sources, options, books).await?);
    checks.push(dead_letters::check(sources, options).await?);
    Ok(Report { checks })
}
