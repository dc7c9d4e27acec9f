//! Tries every action at every failpoint with every operation: after it, each operation is sent
//! again and must have taken place exactly once.

mod operation;
mod point;
mod site;

use std::process::ExitCode;

use anyhow::{Context, ensure};
use failpoint::DELAY;
use futures_util::future::join_all;

use crate::{
    operation::{Answer, Operation},
    point::{Action, Scenario},
    site::Site,
};

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
        prepared.push((scenario, Operation::prepare(&site.client).await?));
    }
    runtime.kill().await?;

    let mut tried = Vec::new();
    for (scenario, operations) in prepared {
        let answers = meet(&site, scenario, &operations).await;
        let answers = answers.with_context(|| scenario.to_string())?;
        println!("{scenario}");
        tried.extend(
            operations
                .into_iter()
                .zip(answers)
                .map(|pair| (scenario, pair)),
        );
    }

    let runtime = site.start(None).await?;
    for (scenario, (operation, answer)) in &tried {
        let settled = operation.settle(&site.client, answer).await;
        settled.with_context(|| format!("{} at {scenario}", operation.function))?;
    }
    runtime.kill().await?;
    Ok(tried.len())
}

/// Runs operations into a failpoint and gives what their callers were told.
async fn meet(
    site: &Site,
    scenario: Scenario,
    operations: &[Operation],
) -> anyhow::Result<Vec<Answer>> {
    let runtime = site.start(Some(scenario)).await?;
    let sent = operations
        .iter()
        .map(|operation| operation.send(&site.client));
    let answers = join_all(sent).await;
    for (operation, answer) in operations.iter().zip(&answers) {
        ensure!(
            answer.success.is_some() == scenario.is_hidden(),
            "{}: {answer}",
            operation.function
        );
        if scenario.in_relay() {
            continue;
        }
        runtime.reached(scenario, operation.function).await?;
        let waited = answer.took >= DELAY;
        ensure!(waited || scenario.action != Action::Delay, "{answer}");
    }
    if scenario.in_relay() {
        runtime.reached(scenario, "outbox-relay").await?;
    }
    runtime.kill().await?;
    Ok(answers)
}
