//! Looks at the tables again and again, and does what follows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, timeout_at};

use super::lease::Lease;
use super::share::Member;
use super::state::Todo;
use super::{ANSWER_WITHIN, Cluster};
use crate::function::locked;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the row of this host is written.
const RENEW_EVERY: Duration = Duration::from_secs(1);

impl Cluster {
    /// Looks until the cluster is left.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed = None;
        let mut reached = true;
        loop {
            tokio::select! {
                () = self.left.cancelled() => return,
                () = self.hurry.notified() => {}
                _ = looks.tick() => {}
            }
            let looked = self.left.run_until_cancelled(self.look(&mut renewed)).await;
            self.lose_unconfirmed();
            self.count();
            match &looked {
                Some(Err(error)) if reached => {
                    tracing::warn!("the cluster's database cannot be used: {error:#}");
                }
                Some(Ok(())) if !reached => {
                    tracing::info!("the cluster's database can be used again");
                }
                _ => {}
            }
            reached = looked.is_none_or(|looked| looked.is_ok());
        }
    }

    async fn look(&self, renewed: &mut Option<Instant>) -> anyhow::Result<()> {
        let began = Instant::now();
        let rows = self.ask(async |session| Ok((session.hosts().await?, session.leases().await?)));
        // Terms end in time, however long the answer takes.
        let until = locked(&self.state).holds_until();
        let until = until.map_or(began + ANSWER_WITHIN, |end| end.min(began + ANSWER_WITHIN));
        let (hosts, leases) = timeout_at(until.into(), rows).await??;
        let own = Member {
            name: self.host.clone(),
            weight: self.weight,
        };
        let todo = locked(&self.state).look(began, (self.runtime, own), hosts, leases);
        // What is too much is given up before anybody is told that it is.
        self.set_shares();
        let is_due = renewed.is_none_or(|last: Instant| last.elapsed() >= RENEW_EVERY);
        if is_due || todo.is_news {
            self.ask(async |session| {
                let (host, members) = (&self.host, &todo.members);
                session
                    .renew(self.runtime, host, self.weight, members)
                    .await
            })
            .await?;
            *renewed = Some(began);
        }
        self.follow(todo).await
    }

    async fn follow(&self, todo: Todo) -> anyhow::Result<()> {
        for term in &todo.give_back {
            self.ask(async |session| session.give_back(&term.function, term.epoch).await)
                .await?;
            locked(&self.state).is_given_back(&term.function);
        }
        for take in &todo.take {
            let asked = Instant::now();
            let epoch = self.ask(async |session| {
                let (function, host) = (&take.function, &self.host);
                session.take(function, take.epoch, self.runtime, host).await
            });
            let Some(epoch) = epoch.await? else { continue };
            tracing::info!(function = take.function, epoch, "this host has the lease");
            let hurry = Arc::clone(&self.hurry);
            let lease = |term| Lease { term, hurry };
            locked(&self.state).taken(take, epoch, asked, Instant::now(), lease);
        }
        for runtime in todo.forget {
            self.ask(async |session| session.forget(runtime).await)
                .await?;
        }
        Ok(())
    }

    fn set_shares(&self) {
        let (shares, is_joined) = {
            let state = locked(&self.state);
            (state.shares().clone(), state.is_joined())
        };
        locked(&self.dispatcher).set_shares(shares);
        if is_joined {
            self.joined.notify_one();
        }
    }

    fn lose_unconfirmed(&self) {
        for function in locked(&self.state).drop_lost(Instant::now()) {
            tracing::warn!(function, "this host has lost the lease");
        }
    }

    /// Sets the metrics.
    fn count(&self) {
        let hosts = locked(&self.state).hosts();
        self.registry.cluster(hosts, &self.view());
    }
}
