//! The event sources that call functions by themselves: `schedule`, `continuous` and `kafka`.

mod kafka;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::call::{Call, Failure, json};
use crate::deployment::Deployment;
use crate::manifest::{Continuous, Schedule, Sources, Timing};
use crate::trace::Trace;

pub(crate) use self::status::{SourceList, SourceView};
use self::status::{State, Status};

/// First pause after an idle answer; it doubles up to the manifest's `idle_ms`.
const IDLE_MIN: Duration = Duration::from_millis(5);
/// First and longest pause after a failure of a continuous function.
const FAILURE_MIN: Duration = Duration::from_millis(100);
const FAILURE_MAX: Duration = Duration::from_secs(5);
/// Longest sleep towards a scheduled time, so that a clock that was set is noticed.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

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
    if let Some(source) = sources.continuous {
        let status = list.add(name, "continuous", String::new());
        let deployment = Arc::clone(&deployment);
        tasks.spawn(run_continuous(deployment, source, status, stop.clone()));
    }
    for schedule in sources.schedules {
        let status = list.add(name, "schedule", schedule.timing.to_string());
        let deployment = Arc::clone(&deployment);
        tasks.spawn(run_schedule(deployment, schedule, status, stop.clone()));
    }
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
    tasks.join_all().await;
}

/// Keeps one invocation of `function` running while it finds work, until `stop`.
async fn run_continuous(
    function: Arc<Deployment>,
    source: Continuous,
    status: Arc<Status>,
    stop: CancellationToken,
) {
    let mut idle = IDLE_MIN;
    let mut failure = FAILURE_MIN;
    while !stop.is_cancelled() {
        let event = call(Bytes::from_static(CONTINUOUS_EVENT));
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

/// Calls `function` whenever `schedule` is due, until `stop`. A run that is due while the one
/// before it is still going is skipped and counted.
async fn run_schedule(
    function: Arc<Deployment>,
    schedule: Schedule,
    status: Arc<Status>,
    stop: CancellationToken,
) {
    let event = json(&schedule.input);
    let mut running: Option<JoinHandle<()>> = None;
    let mut last = Instant::now();
    loop {
        let due = tokio::select! {
            due = next_due(&schedule.timing, last) => due,
            () = stop.cancelled() => break,
        };
        let Some(due) = due else {
            tracing::warn!(function = function.name, "the schedule is never due again");
            return;
        };
        last = due;
        if running.as_ref().is_some_and(|run| !run.is_finished()) {
            let skipped = &function.function().metrics.schedule_skipped;
            skipped.increment(1);
            continue;
        }
        let run = run_once(Arc::clone(&function), event.clone(), Arc::clone(&status));
        running = Some(tokio::spawn(run));
    }
    if let Some(run) = running {
        let _panicked = run.await;
    }
}

async fn run_once(function: Arc<Deployment>, event: Bytes, status: Arc<Status>) {
    let call = call(event);
    let id = call.id;
    status.set(State::Running);
    match function.invoke_whole(call).await {
        Ok(_) => status.set(State::Waiting),
        Err(failure) => {
            let reason = reason(&failure, id);
            tracing::error!(
                function = function.name,
                "the scheduled run failed: {reason}"
            );
            status.fail(State::Waiting, reason);
        }
    }
}

/// Why the call `id` failed, as its caller is told.
fn reason(failure: &Failure, id: Uuid) -> String {
    String::from_utf8_lossy(&failure.body(id)).into_owned()
}

/// Waits for the next time after `last`; `None` if there is none.
async fn next_due(timing: &Timing, last: Instant) -> Option<Instant> {
    match timing {
        Timing::Every(period) => {
            // Times that have passed meanwhile are left out, not caught up on.
            let now = Instant::now();
            let due = (last + *period).max(now);
            sleep_until(due.into()).await;
            Some(due)
        }
        Timing::Cron(cron, zone) => {
            let due = cron
                .find_next_occurrence(&Utc::now().with_timezone(zone), false)
                .ok()?;
            while let Ok(left) = (due.with_timezone(&Utc) - Utc::now()).to_std() {
                sleep(left.min(CLOCK_CHECK)).await;
            }
            Some(Instant::now())
        }
    }
}

fn call(event: Bytes) -> Call {
    Call::new(event, Trace::new().xray())
}

#[cfg(test)]
mod tests;
