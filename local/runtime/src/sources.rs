//! The event sources that call functions by themselves: `schedule`, `continuous` and `kafka`.

mod kafka;
mod schedule;
mod status;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::call::{Call, Extras, Failure};
use crate::cluster::{Cluster, Term};
use crate::deployment::Deployment;
use crate::manifest::{Continuous, Schedule, Sources};
use crate::trace::Trace;

pub(crate) use self::status::{SourceList, SourceView};
use self::status::{State, Status};

/// First pause after an idle answer; it doubles up to the manifest's `idle_ms`.
const IDLE_MIN: Duration = Duration::from_millis(5);
/// First and longest pause after a failure of a continuous function.
const FAILURE_MIN: Duration = Duration::from_millis(100);
const FAILURE_MAX: Duration = Duration::from_secs(5);

/// The event of a continuous function.
const CONTINUOUS_EVENT: &[u8] = br#"{"source":"local-lambda.continuous"}"#;

/// The task of the sources that call one function; ends when this is dropped, or its `stop` comes.
pub(crate) struct RunningSources {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl RunningSources {
    /// Has `sources` call `deployment` until `stop`, from when those of `before` have ended.
    pub(crate) fn start(
        deployment: Arc<Deployment>,
        sources: Sources,
        before: Option<Self>,
        list: Arc<SourceList>,
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> Self {
        let before = before.map(Self::end);
        let task = run(deployment, sources, before, list, stop.clone());
        Self {
            task: tracker.spawn(task),
            stop: stop.drop_guard(),
        }
    }

    /// Ends them; the task is over when the last invocation is.
    fn end(self) -> JoinHandle<()> {
        drop(self.stop);
        self.task
    }
}

async fn run(
    deployment: Arc<Deployment>,
    sources: Sources,
    before: Option<JoinHandle<()>>,
    list: Arc<SourceList>,
    stop: CancellationToken,
) {
    if let Some(before) = before {
        let _panicked = before.await;
    }
    let mut tasks = JoinSet::new();
    let name = &deployment.name;
    for config in sources.kafka {
        let topics: Vec<_> = config
            .topics
            .iter()
            .map(|it| it.as_ref().as_str())
            .collect();
        tasks.spawn(kafka::run(kafka::Source {
            status: list.add(name, "kafka", topics.join(",")),
            deployment: Arc::clone(&deployment),
            metrics: Arc::new(list.registry.source(&deployment.name)),
            registry: Arc::clone(&list.registry),
            config,
            stop: stop.clone(),
        }));
    }
    let continuous = sources.continuous.map(|source| {
        let status = list.add(name, "continuous", String::new());
        (source, status)
    });
    let schedules = sources.schedules.into_iter().map(|schedule| {
        let status = list.add(name, "schedule", schedule.timing.to_string());
        (schedule, status)
    });
    let timed = Timed {
        schedules: schedules.collect(),
        continuous,
        deployment,
    };
    tasks.spawn(timed.run(list.cluster.clone(), stop));
    tasks.join_all().await;
}

/// The sources of a function that nothing from outside brings, and which therefore one host at a time
/// has.
struct Timed {
    deployment: Arc<Deployment>,
    continuous: Option<(Continuous, Arc<Status>)>,
    schedules: Vec<(Schedule, Arc<Status>)>,
}

/// For how long sources run.
#[derive(Clone)]
struct Leased {
    stop: CancellationToken,
    /// Where, and under which term, if there are other hosts.
    under: Option<(Arc<Cluster>, Arc<Term>)>,
}

impl Leased {
    /// A call that may not begin when the term is over; of a schedule, for a time.
    fn call(&self, event: Bytes, scheduled: Option<DateTime<Utc>>) -> Call {
        let mut call = call(event);
        let extras = |(_, term): &(_, Arc<Term>)| Extras {
            client_context: Some(term.client_context(scheduled)),
            term: Some(Arc::clone(term)),
            ..Extras::default()
        };
        call.extras = self.under.as_ref().map(extras).map(Box::new);
        call
    }
}

impl Timed {
    /// Runs them until `stop`, whenever this host has the lease.
    async fn run(self, cluster: Option<Arc<Cluster>>, stop: CancellationToken) {
        if self.continuous.is_none() && self.schedules.is_empty() {
            return;
        }
        let Some(cluster) = cluster else {
            return self.run_leased(&Leased { stop, under: None }).await;
        };
        while !stop.is_cancelled() {
            self.set(State::Standby, None);
            let function = self.deployment.current();
            let (name, config) = (&self.deployment.name, &function.config);
            let lease = cluster.lease(name, config.timeout, config.reserved_concurrency, &stop);
            let Some(lease) = stop.run_until_cancelled(lease).await else {
                return;
            };
            let term = &lease.term;
            let begins = sleep_until(term.begins.into());
            if term.ended.run_until_cancelled(begins).await.is_some() {
                self.set(State::Waiting, Some(term.epoch));
                let under = Some((Arc::clone(&cluster), Arc::clone(term)));
                let stop = term.ended.clone();
                self.run_leased(&Leased { stop, under }).await;
            }
        }
    }

    async fn run_leased(&self, leased: &Leased) {
        let mut tasks = JoinSet::new();
        if let Some((source, status)) = self.continuous.clone() {
            let deployment = Arc::clone(&self.deployment);
            tasks.spawn(run_continuous(deployment, source, status, leased.clone()));
        }
        for (schedule, status) in self.schedules.clone() {
            let deployment = Arc::clone(&self.deployment);
            tasks.spawn(schedule::run(deployment, schedule, status, leased.clone()));
        }
        tasks.join_all().await;
    }

    fn set(&self, state: State, epoch: Option<u64>) {
        let continuous = self.continuous.iter().map(|(_, status)| status);
        let schedules = self.schedules.iter().map(|(_, status)| status);
        for status in continuous.chain(schedules) {
            status.set(state);
            status.set_epoch(epoch);
        }
    }
}

/// Keeps one invocation of `function` running while it finds work, until `leased` ends.
async fn run_continuous(
    function: Arc<Deployment>,
    source: Continuous,
    status: Arc<Status>,
    leased: Leased,
) {
    let stop = &leased.stop;
    let mut idle = IDLE_MIN;
    let mut failure = FAILURE_MIN;
    while !stop.is_cancelled() {
        let event = leased.call(Bytes::from_static(CONTINUOUS_EVENT), None);
        let id = event.id;
        status.set(State::Running);
        let version = function.function();
        let outcome = async { version.invoke(event).await?.whole().await }.await;
        let error = outcome.as_ref().err().map(|it| reason(it, id));
        let pause = match Verdict::of(outcome) {
            Verdict::Worked => {
                (idle, failure) = (IDLE_MIN, FAILURE_MIN);
                continue;
            }
            Verdict::Idle => {
                failure = FAILURE_MIN;
                status.set(State::Waiting);
                // A wake that came while the invocation ran ends the pause at once.
                let wake = timeout(idle, function.wake.notified());
                idle = match stop.run_until_cancelled(wake).await {
                    None => return,
                    Some(Ok(())) => IDLE_MIN,
                    Some(Err(_)) => source.idle.max(IDLE_MIN).min(idle * 2),
                };
                continue;
            }
            Verdict::Failed => failure,
        };
        status.fail(State::BackingOff, error.unwrap_or_default());
        let _stopping = timeout(pause, stop.cancelled()).await;
        failure = FAILURE_MAX.min(pause * 2);
    }
}

/// What an outcome means for a continuous function.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// There may be more to do.
    Worked,
    /// There was nothing to do.
    Idle,
    Failed,
}

impl Verdict {
    fn of(outcome: Result<Bytes, Failure>) -> Self {
        #[derive(serde::Deserialize)]
        struct Report {
            #[serde(default)]
            idle: bool,
        }
        match outcome {
            Err(_) => Self::Failed,
            Ok(body) => match serde_json::from_slice(&body) {
                Ok(Report { idle: true }) => Self::Idle,
                _ => Self::Worked,
            },
        }
    }
}

/// Why the call `id` failed, as its caller is told.
fn reason(failure: &Failure, id: Uuid) -> String {
    String::from_utf8_lossy(&failure.body(id)).into_owned()
}

fn call(event: Bytes) -> Call {
    Call::new(event, Trace::new().xray())
}

#[cfg(test)]
mod tests;
