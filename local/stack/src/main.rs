//! The command line of the stack; run in the root of the checkout.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stack::{
    Component, Ports, Stack,
    daemon::End,
    output::say,
    status,
    up::{self, Options},
};

/// `MariaDB`, Redis, Kafka and the function runtime on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts what does not run yet, migrates and makes a sample payment
    Up {
        /// Only MariaDB, Redis and Kafka, migrated
        #[arg(long)]
        services_only: bool,
        /// Return when everything is ready
        #[arg(long)]
        detach: bool,
        /// Make no sample payment
        #[arg(long)]
        no_sample: bool,
    },
    /// Stops everything and keeps the data
    Down {
        /// Delete the data too
        #[arg(long)]
        wipe: bool,
    },
    /// Shows each component and function; fails unless all components run
    Status,
    /// Starts one component and waits until it answers
    Start { component: Component },
    /// Stops one component in order
    Stop { component: Component },
    /// Lets one component crash
    Kill { component: Component },
    /// Prints free ports as variables
    FreePorts,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    if let Command::FreePorts = command {
        Ports::free()?
            .variables()
            .for_each(|(variable, number)| say(format_args!("{variable}={number}")));
        return Ok(ExitCode::SUCCESS);
    }
    let stack = Stack::open()?;
    match command {
        Command::Up {
            services_only,
            detach,
            no_sample,
        } => {
            up::up(
                &stack,
                Options {
                    services_only,
                    detach,
                    sample: !no_sample,
                },
            )
            .await?;
        }
        Command::Down { wipe } => up::down(&stack, wipe).await?,
        Command::Status if !status::print(&stack).await? => return Ok(ExitCode::FAILURE),
        Command::Start { component } => {
            let _lock = stack.state.lock().await?;
            stack.start(component).await?;
        }
        Command::Stop { component } => end(&stack, component, End::Terminate).await?,
        Command::Kill { component } => end(&stack, component, End::Kill).await?,
        Command::Status | Command::FreePorts => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn end(stack: &Stack, component: Component, how: End) -> anyhow::Result<()> {
    let _lock = stack.state.lock().await?;
    stack.end(component, how).await
}
