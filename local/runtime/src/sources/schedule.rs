//! `schedule`: calls a function at certain times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::status::{State, Status};
use super::{Leased, reason};
use crate::call::{Call, json};
use crate::deployment::Deployment;
use crate::manifest::{Schedule, Timing};

/// Longest sleep towards a scheduled time, so that a clock that was set is noticed.
const CLOCK_CHECK: Duration = Duration::from_secs(30);
/// A time that has passed longer ago is left out. The lease of another host changes hands faster.
const LATE_MAX: TimeDelta = TimeDelta::minutes(20);
/// Pause before the database is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Calls `function` whenever `schedule` is due, until `leased` ends. A run that is due while the one
/// before it is still going is skipped and counted.
pub(super) async fn run(
    function: Arc<Deployment>,
    schedule: Schedule,
    status: Arc<Status>,
    leased: Leased,
) {
    let event = json(&schedule.input);
    let mut running: Option<JoinHandle<()>> = None;
    let stop = leased.stop.clone();
    let times = Times::begin(&function.name, &schedule, &leased);
    let Some(mut times) = stop.run_until_cancelled(times).await else {
        return;
    };
    loop {
        let Some(due) = stop.run_until_cancelled(times.next_due()).await else {
            break;
        };
        let Some(due) = due else {
            tracing::warn!(function = function.name, "the schedule is never due again");
            return;
        };
        // Not broken off: a time that is noted is this host's to run.
        if !times.note(due).await {
            break;
        }
        if running.as_ref().is_some_and(|run| !run.is_finished()) {
            let skipped = &function.function().metrics.schedule_skipped;
            skipped.increment(1);
            continue;
        }
        let call = leased.call(event.clone(), Some(due.scheduled));
        let run = run_once(Arc::clone(&function), call, Arc::clone(&status));
        running = Some(tokio::spawn(run));
    }
    if let Some(run) = running {
        let _panicked = run.await;
    }
}

async fn run_once(function: Arc<Deployment>, call: Call, status: Arc<Status>) {
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

/// When a schedule comes up, by both clocks, and the time for which it does: earlier if it is late.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    time: DateTime<Utc>,
    scheduled: DateTime<Utc>,
}

impl Due {
    fn now() -> Self {
        Self::at(Instant::now(), Utc::now())
    }

    /// A time that has passed.
    fn past(time: DateTime<Utc>) -> Self {
        let now = Self::now();
        let passed = (now.time - time).to_std().unwrap_or_default();
        Self::at(now.at.checked_sub(passed).unwrap_or(now.at), time)
    }

    fn at(at: Instant, time: DateTime<Utc>) -> Self {
        Self {
            at,
            time,
            scheduled: time,
        }
    }
}

/// The times of a schedule; under a lease each comes up once over all hosts.
struct Times<'a> {
    timing: &'a Timing,
    /// What tells the schedule from the function's others.
    name: String,
    leased: &'a Leased,
    last: Due,
    /// What the others know of the last one, in milliseconds of Unix time.
    noted: i64,
}

impl<'a> Times<'a> {
    /// Goes on where the last host has ended, if there was one lately.
    async fn begin(function: &str, schedule: &'a Schedule, leased: &'a Leased) -> Self {
        let timing = &schedule.timing;
        let input = String::from_utf8_lossy(&json(&schedule.input)).into_owned();
        let name = format!("{timing} {input}");
        let now = Due::now();
        let mut noted = now.time.timestamp_millis();
        if let Some((cluster, _)) = &leased.under {
            noted = loop {
                match cluster.last_due(function, &name, noted).await {
                    Ok(noted) => break noted,
                    // Until the lease ends, which needs the database, too.
                    Err(_) => sleep(ASK_AGAIN).await,
                }
            };
        }
        Self {
            timing,
            name,
            leased,
            last: DateTime::from_timestamp_millis(noted).map_or(now, Due::past),
            noted,
        }
    }

    /// Waits for the next time; `None` if there is none.
    async fn next_due(&mut self) -> Option<Due> {
        let due = next_due(self.timing, self.last).await?;
        self.last = due;
        Some(due)
    }

    /// Tells the other hosts that this one runs the function for that time. False if it has lost its
    /// lease.
    async fn note(&mut self, due: Due) -> bool {
        let Some((cluster, term)) = &self.leased.under else {
            return true;
        };
        // A clock that was set back does not make a time come again.
        let to = due.time.timestamp_millis().max(self.noted + 1);
        while term.holds(Instant::now()) {
            match cluster.note_due(term, &self.name, self.noted, to).await {
                Ok(noted) => {
                    self.noted = to;
                    return noted;
                }
                Err(_) => sleep(ASK_AGAIN).await,
            }
        }
        false
    }
}

/// Waits for the next time after `last`; `None` if there is none. Of times that have passed
/// meanwhile one comes up, late; the others are left out.
async fn next_due(timing: &Timing, last: Due) -> Option<Due> {
    match timing {
        Timing::Every(period) => {
            let now = Due::now();
            let is_late = now.time - last.time > LATE_MAX + TimeDelta::from_std(*period).ok()?;
            let last = if is_late { now.at } else { last.at };
            let due = (last + *period).max(now.at);
            sleep_until(due.into()).await;
            Some(Due::at(due, Utc::now()))
        }
        Timing::Cron(cron, zone) => {
            let now = Utc::now();
            let after = |time: DateTime<Utc>| {
                let due = cron.find_next_occurrence(&time.with_timezone(zone), false);
                due.ok().map(|due| due.with_timezone(&Utc))
            };
            // One far ahead is of a clock that was wrong.
            let last = if last.time > now + LATE_MAX {
                now
            } else {
                last.time
            };
            let mut due = after(last)?;
            if due < now - LATE_MAX {
                due = after(now)?;
            }
            while let Ok(left) = (due - Utc::now()).to_std() {
                sleep(left.min(CLOCK_CHECK)).await;
            }
            Some(Due {
                at: Instant::now(),
                time: due.max(now),
                scheduled: due,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::manifest::Manifest;

    #[tokio::test]
    async fn period_leaves_out_what_has_passed() {
        let period = Duration::from_secs(10);
        let before = Due::now();
        let late = Due::past(before.time - TimeDelta::seconds(35));
        let due = next_due(&Timing::Every(period), late).await.expect("due");
        assert!(due.at >= before.at);
    }

    #[test]
    fn cron_is_due_in_its_time_zone() {
        let manifest =
            "[functions.a]\ncommand = ['a']\n[[functions.a.schedule]]\ncron = '0 2 * * *'\n";
        let manifest = Manifest::parse(manifest, &|_| None).expect("valid");
        let Timing::Cron(cron, zone) = &manifest.functions["a"].sources.schedules[0].timing else {
            panic!("a cron schedule");
        };
        let now = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").expect("a time");
        let due = cron
            .find_next_occurrence(&now.with_timezone(zone), false)
            .expect("due");
        assert_eq!(
            due.with_timezone(&Utc).to_rfc3339(),
            "2026-03-01T17:00:00+00:00"
        );
    }

    fn timing(schedule: &str) -> Timing {
        let manifest =
            format!("[functions.a]\ncommand = ['a']\n[[functions.a.schedule]]\n{schedule}\n");
        let manifest = Manifest::parse(&manifest, &|_| None).expect("valid");
        manifest.functions["a"].sources.schedules[0].timing.clone()
    }

    #[tokio::test]
    async fn time_that_has_passed_lately_comes_up_once_and_late() {
        let every_minute = timing("cron = '* * * * *'");
        let last = Due::past(Utc::now() - TimeDelta::minutes(10));
        let before = Utc::now();
        let due = next_due(&every_minute, last).await.expect("due");
        assert!(due.time >= before, "the others are left out");
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_has_passed_long_ago_is_left_out() {
        let once_a_year = timing("cron = '0 0 1 1 *'");
        let last = Due::past(Utc::now() - TimeDelta::days(700));
        let due = timeout(Duration::from_secs(1), next_due(&once_a_year, last));
        assert!(due.await.is_err());
    }
}
