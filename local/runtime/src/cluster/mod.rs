//! The hosts that run the same manifest, and what they share: which of them calls a function by its
//! schedules and continuously, and how many calls of what is reserved each may run.
//!
//! They know of each other by the tables of one database ([`session`]), which each looks at again and
//! again ([`keeper`]). A look shows it who else is there, and that it still has its leases. What it
//! concludes is [`state`]'s, without input or output.
//!
//! A host that is cut off stops calling within [`lease::HOLDS_FOR`] after its last look. One that takes its
//! lease, which makes every later look of the other fail, waits for that and for `timeout_s` before it
//! calls: by then the other's last invocation is over, whatever happened to it, and whatever any
//! clock says.

mod keeper;
mod lease;
mod session;
mod share;
mod state;
mod view;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use futures_util::future::pending;
use sqlx::mysql::MySqlConnectOptions;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use self::lease::{Lease, Term};
use self::session::{ScheduleKey, Session};
pub(crate) use self::share::Shares;
use self::state::{State, Wanted};
pub(crate) use self::view::ClusterView;
use crate::function::{SharedDispatcher, locked};
use crate::manifest;
use crate::metrics::Registry;

/// Longest wait for the database to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Longest wait at the start for the other hosts to make room.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// This host among the others.
pub(crate) struct Cluster {
    host: String,
    weight: u32,
    /// This runtime: one that comes after it on the same host is another.
    runtime: Uuid,
    database: MySqlConnectOptions,
    /// Connects when it is needed, and anew after an error.
    session: tokio::sync::Mutex<Option<Session>>,
    state: Mutex<State>,
    dispatcher: SharedDispatcher,
    registry: Arc<Registry>,
    /// Asks for a look at once.
    hurry: Arc<Notify>,
    /// Tells that the hosts have agreed on this one's share.
    joined: Notify,
    left: CancellationToken,
}

impl Cluster {
    /// Begins to look at the others, and tells `dispatcher` this host's share.
    ///
    /// # Errors
    /// If the file of the database's URL cannot be read, or holds none.
    pub(crate) fn start(
        config: &manifest::Cluster,
        dispatcher: SharedDispatcher,
        registry: Arc<Registry>,
    ) -> anyhow::Result<Arc<Self>> {
        let database = read_url(&config.database_url_file)?;
        locked(&dispatcher).set_shares(Shares::default());
        let cluster = Arc::new(Self {
            host: config.host.clone(),
            weight: config.weight,
            runtime: Uuid::new_v4(),
            database,
            session: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            dispatcher,
            registry,
            hurry: Arc::default(),
            joined: Notify::new(),
            left: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&cluster).keep());
        Ok(cluster)
    }

    /// Waits until the other hosts have made room for this one, but not for ever: while the database
    /// is away, functions are served as well as can be.
    pub(crate) async fn join(&self) {
        let agreed = async {
            while !locked(&self.state).is_joined() {
                self.joined.notified().await;
            }
        };
        if timeout(JOIN_WITHIN, agreed).await.is_err() {
            tracing::warn!(
                "the hosts of the cluster have not agreed on shares; \
                 until they do, one call of each function that has reserved_concurrency runs here"
            );
        }
    }

    /// Waits for the lease of a function whose invocations take `timeout` at most, and of which
    /// `reserved` may run over all hosts. Its term ends with `stop` at the latest.
    pub(crate) async fn lease(
        &self,
        function: &str,
        timeout: Duration,
        reserved: Option<usize>,
        stop: &CancellationToken,
    ) -> Lease {
        let (taken, lease) = oneshot::channel();
        let wanted = Wanted {
            timeout,
            reserved,
            stop: stop.clone(),
            taken,
        };
        locked(&self.state).want(function, wanted);
        self.hurry.notify_one();
        match lease.await {
            Ok(lease) => lease,
            // The cluster is left.
            Err(_) => pending().await,
        }
    }

    /// When a schedule was due last, in milliseconds of Unix time; `now` if nobody knows. `schedule`
    /// is what tells it from the function's others.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(crate) async fn last_due(
        &self,
        function: &str,
        schedule: &str,
        now: i64,
    ) -> anyhow::Result<i64> {
        let key = key(function, schedule);
        self.ask(async |session| session.last_due(&key, now).await)
            .await
    }

    /// Notes that a schedule which was due `from` is due `to`: no other host runs it for a time up to
    /// that. False if the lease is lost, or another time is noted.
    ///
    /// # Errors
    /// If the database does not answer; then this may be said again.
    pub(crate) async fn note_due(
        &self,
        term: &Term,
        schedule: &str,
        from: i64,
        to: i64,
    ) -> anyhow::Result<bool> {
        let key = key(&term.function, schedule);
        self.ask(async |session| session.note_due(&key, term.epoch, from, to).await)
            .await
    }

    /// Gives everything back, once nothing runs any more; the other hosts need not find out.
    pub(crate) async fn leave(&self) {
        self.left.cancel();
        let terms: Vec<Arc<Term>> = locked(&self.state).terms().cloned().collect();
        let left = self.ask(async |session| {
            for term in &terms {
                session.give_back(&term.function, term.epoch).await?;
            }
            session.forget(self.runtime).await
        });
        if let Err(error) = left.await {
            tracing::warn!(
                "the other hosts of the cluster do not know that this one ends: {error:#}"
            );
        }
    }

    /// What is known of the hosts and their leases.
    pub(crate) fn view(&self) -> ClusterView {
        locked(&self.state).view(&self.host, Instant::now())
    }

    /// Asks the database, for [`ANSWER_WITHIN`] at most. What comes after an error or a break is
    /// another session.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut Session) -> sqlx::Result<T>,
    ) -> anyhow::Result<T> {
        let answer = async {
            let mut place = self.session.lock().await;
            let mut session = match place.take() {
                Some(session) => session,
                None => Session::open(&self.database).await?,
            };
            let answer = question(&mut session).await?;
            *place = Some(session);
            anyhow::Ok(answer)
        };
        let answer = timeout(ANSWER_WITHIN, answer).await;
        answer.map_err(|_| anyhow!("no answer within {ANSWER_WITHIN:?}"))?
    }
}

fn key(function: &str, schedule: &str) -> ScheduleKey {
    ScheduleKey {
        function: function.to_owned(),
        text: schedule.to_owned(),
    }
}

/// The URL is a secret, and in no message.
fn read_url(file: &Path) -> anyhow::Result<MySqlConnectOptions> {
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    let url = text.trim().parse();
    url.map_err(|_| {
        anyhow!(
            "{} holds no URL as mysql://USER:PASSWORD@HOST/DATABASE",
            file.display()
        )
    })
}
