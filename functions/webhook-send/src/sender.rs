use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use signature::{Endpoint, KeyFile};
use sqlx::MySqlPool;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::sleep,
};
use webhook::{Delivery, Schedule, delivery_table, gone_table};

use crate::{attempt::attempt, client::Client};

/// Webhooks that are sent at once, and of them those of one merchant: one whose endpoint is slow fills
/// its own places alone.
const IN_FLIGHT_MAX: usize = 256;
const IN_FLIGHT_PER_MERCHANT_MAX: usize = 8;
/// How long a webhook is left to whoever took it: longer than it may take to send it and to note that.
/// After a crash it is sent again this much later.
const LEASE: TimeDelta = TimeDelta::seconds(20);
/// How long webhooks are kept that are over, and how many are deleted in one invocation; more are left
/// to the next one.
const KEPT: TimeDelta = TimeDelta::days(90);
const PURGE_ROWS_MAX: u32 = 1_000;
/// How long an invocation looks for what is due; what it has begun goes on in the next one.
const RUN_FOR: Duration = Duration::from_secs(5);
/// How often is looked for what has become due while something is sent.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Sends what is due, and notes each attempt.
pub(crate) struct Sender {
    pool: MySqlPool,
    keys: KeyFile,
    client: Client,
    schedule: Schedule,
    sending: JoinSet<()>,
    places: Arc<Semaphore>,
    places_of: HashMap<String, Arc<Semaphore>>,
}

/// What one invocation did.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    begun: u64,
    /// Ended, because their merchants have no endpoint.
    without_endpoint: u64,
    /// Deleted, because they have been over for long.
    purged: u64,
    /// Nothing is due, and nothing is being sent.
    idle: bool,
}

impl Sender {
    pub(crate) fn new(pool: MySqlPool, keys: KeyFile, client: Client, schedule: Schedule) -> Self {
        Self {
            pool,
            keys,
            client,
            schedule,
            sending: JoinSet::new(),
            places: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            places_of: HashMap::new(),
        }
    }

    /// Deletes what is old, then sends what is due, for a while. An endpoint that takes longer is waited
    /// for beyond the invocation, so that it holds up nobody else; should the process end then, its
    /// webhooks are due again after [`LEASE`].
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn run(&mut self) -> sqlx::Result<Report> {
        let start = Instant::now();
        let mut report = Report {
            purged: self.purge().await?,
            ..Report::default()
        };
        while start.elapsed() < RUN_FOR {
            while self.sending.try_join_next().is_some() {}
            let begun = self.begin_due(&mut report).await?;
            report.idle = begun == 0 && self.sending.is_empty();
            if report.idle {
                break;
            }
            tokio::select! {
                _ = self.sending.join_next() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("webhooks_in_flight").set(self.sending.len() as f64);
        Ok(report)
    }

    async fn purge(&self) -> sqlx::Result<u64> {
        let before = Utc::now() - KEPT;
        db::session(&self.pool, |db| {
            Box::pin(delivery_table::purge(db, before, PURGE_ROWS_MAX))
        })
        .await
    }

    /// Begins what there is room for, merchant by merchant, each time in another order.
    async fn begin_due(&mut self, report: &mut Report) -> sqlx::Result<u64> {
        let now = Utc::now();
        let (mut merchants, gone) = db::session(&self.pool, |db| {
            Box::pin(async move {
                let merchants = delivery_table::merchants_due(db, now).await?;
                Ok::<_, sqlx::Error>((merchants, gone_table::all(db).await?))
            })
        })
        .await?;
        fastrand::shuffle(&mut merchants);
        let keys = self.keys.ring();
        let mut begun = 0;
        for merchant_id in merchants {
            let gone = gone.get(&merchant_id);
            let endpoint = keys.endpoint(&merchant_id);
            let same = |endpoint: &Endpoint| gone == Some(&gone_table::fingerprint(&endpoint.url));
            match endpoint {
                Some(endpoint) if !same(endpoint) => {
                    if gone.is_some() {
                        self.forget_gone(merchant_id.clone()).await?;
                    }
                    begun += self.begin(&merchant_id, endpoint, now).await?;
                }
                _ => report.without_endpoint += self.end(merchant_id, now).await?,
            }
        }
        report.begun += begun;
        Ok(begun)
    }

    async fn begin(
        &mut self,
        merchant_id: &str,
        endpoint: &Endpoint,
        now: DateTime<Utc>,
    ) -> sqlx::Result<u64> {
        let mut permits = self.permits(merchant_id);
        let room = u32::try_from(permits.len()).unwrap_or(u32::MAX);
        if room == 0 {
            return Ok(0);
        }
        let merchant = merchant_id.to_owned();
        let deliveries: Vec<Delivery> = db::session(&self.pool, |db| {
            Box::pin(
                async move { delivery_table::claim(db, &merchant, now, now + LEASE, room).await },
            )
        })
        .await?;
        let begun = deliveries.len() as u64;
        for delivery in deliveries {
            let permits = permits.pop();
            let (client, pool, schedule) = (self.client.clone(), self.pool.clone(), self.schedule);
            let (merchant_id, endpoint) = (merchant_id.to_owned(), endpoint.clone());
            self.sending.spawn(async move {
                attempt(&client, &pool, schedule, merchant_id, endpoint, delivery).await;
                drop(permits);
            });
        }
        Ok(begun)
    }

    /// The places that are free for a merchant.
    fn permits(&mut self, merchant_id: &str) -> Vec<[OwnedSemaphorePermit; 2]> {
        let places = self.places_of.entry(merchant_id.to_owned());
        let own = places.or_insert_with(|| Arc::new(Semaphore::new(IN_FLIGHT_PER_MERCHANT_MAX)));
        let free = std::iter::from_fn(|| {
            let own = Arc::clone(own).try_acquire_owned().ok()?;
            let any = Arc::clone(&self.places).try_acquire_owned().ok()?;
            Some([own, any])
        });
        free.collect()
    }

    async fn end(&self, merchant_id: String, now: DateTime<Utc>) -> sqlx::Result<u64> {
        db::session(&self.pool, |db| {
            Box::pin(
                async move { delivery_table::end_without_endpoint(db, &merchant_id, now).await },
            )
        })
        .await
    }

    async fn forget_gone(&self, merchant_id: String) -> sqlx::Result<()> {
        db::session(&self.pool, |db| {
            Box::pin(async move { gone_table::delete(db, &merchant_id).await })
        })
        .await
    }
}
