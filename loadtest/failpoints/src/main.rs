//! Tries every action at every failpoint with every operation: after it, each operation is sent
//! again and must have taken place exactly once, and the books must be right.

mod operation;
mod point;
mod site;
mod topic;

use std::process::ExitCode;

use anyhow::{Context, ensure};
use auditor::{Options, Sources, audit};
use failpoint::DELAY;
use futures_util::future::join_all;

use crate::{
    operation::{Answer, Operation},
    point::{Action, Scenario},
    site::{Runtime, Site},
};

/// Transactions that delay the commands behind them: as many as a function has under way at once.
const DELAYED: usize = 2;
/// Commands that gather meanwhile, in steps of which a transaction takes them.
const GATHERED: usize = 8;

/// An operation that met a failpoint, and what its caller was told.
struct Tried {
    scenario: Scenario,
    operation: Operation,
    answer: Answer,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(tried) => {
            println!("{tried} operations at failpoints: each took place once");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("failpoints: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<usize> {
    let site = Site::from_env()?;
    let runtime = site.start(None).await?;
    let mut prepared = Vec::new();
    for scenario in Scenario::all() {
        prepared.push((scenario, prepare(&site, scenario).await?));
    }
    runtime.kill().await?;

    let mut tried = Vec::new();
    for (scenario, operations) in prepared {
        let met = meet(&site, scenario, operations).await;
        tried.extend(met.with_context(|| scenario.to_string())?);
        println!("{scenario}");
    }

    let runtime = site.start(None).await?;
    for Tried {
        scenario,
        operation,
        answer,
    } in &tried
    {
        let settled = operation.settle(&site, answer).await;
        settled.with_context(|| format!("{} at {scenario}", operation.function))?;
    }
    sent_again(&tried)?;
    site.everything_arrived().await?;
    let report = audit(&Sources::from_env()?, &Options::default()).await?;
    runtime.kill().await?;
    println!("{report}");
    ensure!(report.holds(), "the books are wrong");
    Ok(tried.len())
}

async fn prepare(site: &Site, scenario: Scenario) -> anyhow::Result<Vec<Operation>> {
    if scenario.batched {
        let gathered = (0..DELAYED + GATHERED).map(|_| Operation::authorize());
        return Ok(gathered.collect());
    }
    let mut operations = Operation::prepare(site).await?;
    operations.retain(|operation| scenario.concerns(operation.function));
    Ok(operations)
}

/// Runs operations into a failpoint.
async fn meet(
    site: &Site,
    scenario: Scenario,
    mut operations: Vec<Operation>,
) -> anyhow::Result<Vec<Tried>> {
    let held = if scenario.in_relay() {
        Some(site.hold_relay().await?)
    } else {
        None
    };
    let runtime = site.start(Some(scenario)).await?;
    if scenario.in_relay() {
        operations.push(Operation::refund(site).await?);
    }
    let answers = if scenario.batched {
        batch(site, scenario, &runtime, &operations).await?
    } else {
        each(site, scenario, &runtime, &operations).await?
    };
    // Now three events of the refunded payment wait for the relay.
    drop(held);
    if scenario.in_relay() {
        let action = scenario.action;
        runtime.reached(scenario, action, "outbox-relay", 1).await?;
    }
    runtime.kill().await?;
    let tried = |(operation, answer)| Tried {
        scenario,
        operation,
        answer,
    };
    Ok(operations.into_iter().zip(answers).map(tried).collect())
}

/// Sends operations at once, each to its function.
async fn each(
    site: &Site,
    scenario: Scenario,
    runtime: &Runtime,
    operations: &[Operation],
) -> anyhow::Result<Vec<Answer>> {
    for operation in operations {
        if let (None, Some(payment)) = (&operation.key, &operation.payment) {
            site.lapse(payment).await?;
        }
    }
    let answers = join_all(operations.iter().map(|operation| operation.send(site))).await;
    for (operation, answer) in operations.iter().zip(&answers) {
        told(scenario, operation, answer)?;
        if !scenario.in_relay() {
            let (action, function) = (scenario.action, operation.function);
            runtime.reached(scenario, action, function, 1).await?;
            let waited = answer.took >= DELAY;
            ensure!(waited || action != Action::Delay, "{answer}");
        }
    }
    Ok(answers)
}

/// Sends commands to one function, so that all but the first share the transaction that meets the
/// failpoint.
async fn batch(
    site: &Site,
    scenario: Scenario,
    runtime: &Runtime,
    operations: &[Operation],
) -> anyhow::Result<Vec<Answer>> {
    let send = |operation: &Operation| {
        let (site, operation) = (site.clone(), operation.clone());
        tokio::spawn(async move { operation.send(&site).await })
    };
    let (delayed, gathered) = operations.split_at(DELAYED);
    let mut callers = Vec::new();
    for (number, operation) in (1..).zip(delayed) {
        callers.push(send(operation));
        let function = operation.function;
        runtime
            .reached(scenario, Action::Delay, function, number)
            .await?;
    }
    callers.extend(gathered.iter().map(send));
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(caller.await?);
    }
    for (operation, answer) in operations.iter().zip(&answers).skip(DELAYED) {
        told(scenario, operation, answer)?;
    }
    runtime
        .reached(scenario, scenario.action, gathered[0].function, 1)
        .await?;
    shared(site, scenario, gathered).await?;
    Ok(answers)
}

/// Checks that the gathered commands shared a transaction: all are committed by one, or none is.
async fn shared(site: &Site, scenario: Scenario, gathered: &[Operation]) -> anyhow::Result<()> {
    let keys: Vec<&str> = gathered
        .iter()
        .filter_map(|operation| operation.key.as_deref())
        .collect();
    let (claims, transactions) = site.claims(&keys).await?;
    if scenario.point == "db.committed" {
        let shared = claims > 1 && transactions == 1;
        ensure!(shared, "{claims} commands in {transactions} transactions");
    } else if scenario.action == Action::Abort {
        ensure!(claims == 0, "{claims} commands of a killed transaction");
    }
    Ok(())
}

/// Checks that the caller was told of a success or of a failure, as the scenario has it.
fn told(scenario: Scenario, operation: &Operation, answer: &Answer) -> anyhow::Result<()> {
    let success = answer.success.is_some();
    let right = success == scenario.is_hidden() && !answer.replayed;
    ensure!(right, "{}: {answer}", operation.function);
    Ok(())
}

/// Checks that events which were sent and not settled were sent again.
fn sent_again(tried: &[Tried]) -> anyhow::Result<()> {
    let sent = topic::first_events()?;
    for Tried {
        scenario,
        operation,
        ..
    } in tried
    {
        if scenario.sends_again() && operation.function == "refund" {
            let payment = operation.payment.as_deref().context("a payment")?;
            let times = sent.get(payment).copied().unwrap_or_default();
            ensure!(times > 1, "{scenario}: {payment} was sent {times} times");
        }
    }
    Ok(())
}
