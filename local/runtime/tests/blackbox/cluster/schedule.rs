use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use nix::sys::signal::Signal;
use tokio::sync::mpsc;

use super::{Database, await_source, epoch, manifest, start};
use crate::harness::{Invocation, Puppeteer, soon};

const EVERY_SECOND: &str = "[[functions.puppet.schedule]]\ncron = '* * * * * *'\n";

/// The time for which an invocation was made.
fn scheduled(invocation: &Invocation) -> DateTime<Utc> {
    let time = &invocation.context["clientContext"]["custom"]["scheduledTime"];
    time.as_str().unwrap().parse().unwrap()
}

/// Answers every invocation; its time and its epoch.
fn answer_all(puppeteer: Arc<Puppeteer>) -> mpsc::UnboundedReceiver<(DateTime<Utc>, u64)> {
    let (seen, runs) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let invocation = puppeteer.next().await;
            let run = (scheduled(&invocation), epoch(&invocation));
            invocation.answer("{}").await;
            if seen.send(run).is_err() {
                return;
            }
        }
    });
    runs
}

#[tokio::test]
async fn each_time_of_a_schedule_comes_up_once_over_all_hosts() {
    let (database, puppeteer) = (Database::start().await, Arc::new(Puppeteer::new().await));
    let mut runs = answer_all(Arc::clone(&puppeteer));
    let mut hosts = vec![start(&database, &puppeteer, "a", EVERY_SECOND).await];
    let mut seen = Vec::new();
    for name in ["b", "c", "d"] {
        hosts.push(start(&database, &puppeteer, name, EVERY_SECOND).await);
        for _ in 0..2 {
            seen.push(soon(runs.recv()).await.unwrap());
        }
        // The one with the lease goes.
        let sources = hosts[0].admin("/sources").await;
        let mut gone = hosts.remove(usize::from(sources.contains("standby")));
        gone.signal(Signal::SIGTERM);
        let status = soon(gone.process.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0));
    }
    while seen.last().is_some_and(|(_, epoch)| *epoch < 4) {
        seen.push(soon(runs.recv()).await.unwrap());
    }
    let second = TimeDelta::seconds(1);
    for pair in seen.windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, second, "{seen:?}");
        assert!(pair[0].1 <= pair[1].1, "{seen:?}");
    }
}

#[tokio::test]
async fn rhythm_of_a_period_goes_on_in_the_other_host() {
    let (database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let period = "[[functions.puppet.schedule]]\nevery = '2s'\n";
    let first = start(&database, &puppeteer, "a", period).await;
    let second = start(&database, &puppeteer, "b", period).await;
    let run = puppeteer.next().await;
    let before = scheduled(&run);
    run.answer("{}").await;
    let (holder, other) = if first.admin("/sources").await.contains("standby") {
        (second, first)
    } else {
        (first, second)
    };
    holder.signal(Signal::SIGTERM);
    let run = puppeteer.next().await;
    let between = scheduled(&run) - before;
    assert!(between.num_milliseconds() >= 1990, "{between:?}");
    assert_eq!(await_source(&other, "running").await["epoch"], 2);
}

#[tokio::test]
async fn reload_adds_and_removes_schedules_of_every_host() {
    let (database, puppeteer) = (Database::start().await, Puppeteer::new().await);
    let hosts = [
        start(&database, &puppeteer, "a", "").await,
        start(&database, &puppeteer, "b", "").await,
    ];
    let with = "[[functions.puppet.schedule]]\nevery = '100ms'\n";
    let puppet = |schedule| puppeteer.manifest("timeout_s = 5", schedule);
    let (added, _) = hosts[0]
        .reload(&manifest(&database, "a", &puppet(with)))
        .await;
    assert!(added);
    let run = puppeteer.next().await;
    assert_eq!(epoch(&run), 1);
    let of_first = run.pid;
    run.answer("{}").await;
    let (added, _) = hosts[1]
        .reload(&manifest(&database, "b", &puppet(with)))
        .await;
    assert!(added);
    await_source(&hosts[1], "standby").await;
    let (removed, _) = hosts[0]
        .reload(&manifest(&database, "a", &puppet("")))
        .await;
    assert!(removed);
    loop {
        let run = puppeteer.next().await;
        let (pid, epoch) = (run.pid, epoch(&run));
        run.answer("{}").await;
        if pid != of_first {
            assert_eq!(epoch, 2);
            break;
        }
        assert_eq!(epoch, 1);
    }
}
