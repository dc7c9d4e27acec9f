//! One seed from its plan to its verdict.

use std::{
    collections::HashSet,
    convert::Infallible,
    env,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use futures_util::future::{join_all, try_join_all};
use stack::{foreground, output::say};
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use crate::{
    check::{self, Goodput, Violation, requests},
    clients::Clients,
    history::{Attempt, History, Outcome},
    inject::{self, Journal},
    plan::{Action, Operation, Plan, Size},
    site::Site,
};

/// How long operations that wait for their payment may go on after the plan's end.
const DRAIN: Duration = Duration::from_secs(20);
/// How long everything may take to work again once it is healed.
const HEAL_WITHIN: Duration = Duration::from_mins(1);
/// How often lapsed authorizations are expired.
const EXPIRE_EVERY: Duration = Duration::from_secs(2);

/// What came of a seed.
#[derive(Debug)]
pub struct Verdict {
    /// What was planned.
    pub plan: Plan,
    /// What is broken.
    pub violations: Vec<Violation>,
    /// Every request sent.
    pub attempts: Vec<Attempt>,
    /// What was answered in time.
    pub goodput: Goodput,
    /// Faults that took place.
    pub faults: usize,
    /// Faults that this machine cannot do.
    pub impossible: usize,
    /// Where schedule, history and logs are.
    pub folder: PathBuf,
    /// How long it took.
    pub took: Duration,
}

/// Runs a seed in the folder `faults/seed-N` of the state directory.
///
/// # Errors
/// When the stack does not start, or the run is interrupted.
pub async fn run(seed: u64, size: Size) -> anyhow::Result<Verdict> {
    let began = Instant::now();
    let set = env::var_os("PAYFN_STATE").filter(|directory| !directory.is_empty());
    let directory = set.map_or_else(|| "local/.state".into(), PathBuf::from);
    let folder = directory.join(format!("faults/seed-{seed}"));
    let plan = Plan::new(seed, size);
    let started = Site::start(&folder).await?;
    let ran = tokio::select! {
        ran = on(&started, plan, folder.clone()) => ran,
        interrupted = foreground::interrupted() => interrupted.and(Err(anyhow!("interrupted"))),
    };
    started.stop().await?;
    let ran = ran.with_context(|| {
        let (folder, again) = (folder.display(), command(seed, size));
        format!("seed {seed}; logs are in {folder}; {again} runs it again")
    })?;
    Ok(Verdict {
        took: began.elapsed(),
        ..ran
    })
}

/// The command that runs a seed again.
#[must_use]
pub fn command(seed: u64, size: Size) -> String {
    let Size {
        operations,
        faults,
        only,
    } = size;
    let only = only.map_or_else(String::new, |card| format!(" --only {}", card.name()));
    format!(
        "loadtest/faults/run run --seed {seed} --operations {operations} --faults {faults}{only}"
    )
}

async fn on(site: &Site, plan: Plan, folder: PathBuf) -> anyhow::Result<Verdict> {
    plan.write(BufWriter::new(File::create(folder.join("schedule.jsonl"))?))?;
    if let Err(cause) = &site.disk {
        say(format_args!(
            "not possible on this machine: a full or stalled disk: {cause}"
        ));
    }
    let history = History::create(&folder.join("history.jsonl"))?;
    let clients = Clients::new(site, plan.payments(), history)?;
    let injected = under_faults(site, &plan, &clients, &folder).await?;
    let faults = injected.iter().filter(|it| matches!(it, Ok(true))).count();
    let impossible = injected.iter().filter(|it| matches!(it, Ok(false))).count();
    let broken = injected.into_iter().find_map(Result::err);
    let healed = match broken {
        Some(error) => Err(error),
        None => heal(site, &plan, &clients).await,
    };
    clients.history().flush()?;
    let attempts = clients.history().attempts().to_vec();
    let (violations, goodput) = match healed {
        Ok(()) => check::all(site, &plan, &clients).await?,
        Err(error) => (vec![unhealed(&error)], Goodput::of(&plan, &attempts)),
    };
    Ok(Verdict {
        plan,
        violations,
        attempts,
        goodput,
        faults,
        impossible,
        folder,
        took: Duration::ZERO,
    })
}

/// Heals everything and settles every request.
async fn heal(site: &Site, plan: &Plan, clients: &Clients) -> anyhow::Result<()> {
    inject::heal(site, HEAL_WITHIN).await?;
    settle(plan, clients).await?;
    repeat(plan, clients).await?;
    inject::heal(site, HEAL_WITHIN).await
}

/// What does not work again proves nothing else.
fn unhealed(error: &anyhow::Error) -> Violation {
    Violation {
        check: "healing",
        payment: None,
        what: format!("{error:#}"),
    }
}

/// Runs the schedule. Gives of each fault whether it was possible here, or what did not start again
/// after it.
async fn under_faults(
    site: &Site,
    plan: &Plan,
    clients: &Clients,
    folder: &Path,
) -> anyhow::Result<Vec<anyhow::Result<bool>>> {
    let journal = Journal::create(&folder.join("faults.jsonl"), clients.began())?;
    let injected = plan
        .faults
        .iter()
        .map(|fault| inject::inject(site, fault, &journal));
    let ends = clients.began() + Duration::from_millis(plan.ends_ms) + DRAIN;
    let performed = plan
        .operations
        .iter()
        .map(|operation| clients.perform(operation));
    // What still waits for its payment in the end is never sent.
    let performed = timeout_at(ends.into(), try_join_all(performed));
    let (injected, performed) = tokio::select! {
        both = async { tokio::join!(join_all(injected), performed) } => both,
        never = expire(site) => match never {},
    };
    if let Ok(performed) = performed {
        performed?;
    }
    Ok(injected)
}

/// Runs the schedule of expired authorizations again and again; it fails while faults last.
async fn expire(site: &Site) -> Infallible {
    let mut ticks = interval(EXPIRE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // What it did not do now, it does the next time.
        let _ = site.expire().await;
    }
}

/// Sends every request again whose outcome is unknown.
async fn settle(plan: &Plan, clients: &Clients) -> anyhow::Result<()> {
    let attempts = clients.history().attempts().to_vec();
    let unknown: Vec<&Operation> = requests(&attempts)
        .iter()
        .filter(|request| request.settled_us.is_none() && request.action != Action::Read)
        .map(|request| &plan.operations[request.operation as usize])
        .collect();
    let is_new = |operation: &&&Operation| matches!(operation.action, Action::Authorize { .. });
    // The others need the payment.
    let (new, others): (Vec<_>, Vec<_>) = unknown.iter().partition(is_new);
    for operations in [new, others] {
        try_join_all(
            operations
                .into_iter()
                .map(|operation| clients.settle(operation)),
        )
        .await?;
    }
    Ok(())
}

/// Sends every request with a key once more.
async fn repeat(plan: &Plan, clients: &Clients) -> anyhow::Result<()> {
    let attempts = clients.history().attempts().to_vec();
    let requests = requests(&attempts);
    let keyed = requests.iter().filter(|request| request.key.is_some());
    let keyed = keyed.map(|request| &plan.operations[request.operation as usize]);
    try_join_all(keyed.map(|operation| clients.repeat(operation))).await?;
    Ok(())
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// How many outcomes were unknown to a client and then settled by sending the same key again.
    #[must_use]
    pub fn unknowns_settled(&self) -> usize {
        let requests = requests(&self.attempts);
        let settled = requests
            .iter()
            .filter(|request| request.settled_us.is_some());
        settled
            .filter(|request| request.key.is_some() && request.unknown > 0)
            .count()
    }

    /// How many operations were sent; one whose payment was never known is not.
    #[must_use]
    pub fn sent(&self) -> usize {
        let operations = self.attempts.iter().map(|attempt| attempt.operation);
        operations.collect::<HashSet<_>>().len()
    }

    /// Deletes the folder of a seed whose promises were kept.
    ///
    /// # Errors
    /// When something cannot be deleted.
    pub fn discard(&self) -> anyhow::Result<()> {
        if !self.holds() {
            bail!("the folder of a failed seed is kept");
        }
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("cannot delete {}", self.folder.display()))
    }

    /// How many attempts ended in a way.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.attempts
            .iter()
            .filter(|attempt| attempt.outcome == outcome)
            .count()
    }
}
