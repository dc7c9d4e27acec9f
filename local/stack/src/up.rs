//! Bringing the stack up in order, and down again.

use std::time::Instant;

use anyhow::anyhow;
use futures_util::future::try_join_all;
use tokio::process::Command;

use crate::output::say;
use crate::{
    Component, Port, Stack, daemon::End, foreground, mariadb::SERVICES, program, runtime, sample,
    state,
};

/// What `stack up` does besides starting services and migrating.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Leave the runtime out.
    pub services_only: bool,
    /// Return when everything is ready instead of showing logs.
    pub detach: bool,
    /// Make a sample payment.
    pub sample: bool,
}

/// Starts what does not run yet. When that fails or is interrupted, ends what it started.
///
/// # Errors
/// Names what failed.
pub async fn up(stack: &Stack, options: Options) -> anyhow::Result<()> {
    let mut interrupted = Box::pin(foreground::interrupted());
    let lock = stack.state.lock().await?;
    let before = stack.running()?;
    let brought_up = tokio::select! {
        brought_up = bring_up(stack, options, &before) => brought_up,
        interrupted = &mut interrupted => interrupted.and(Err(anyhow!("interrupted"))),
    };
    let mut started = stack.running()?;
    started.retain(|component| !before.contains(component));
    if let Err(error) = brought_up {
        return match end(stack, &started).await {
            Ok(()) => Err(error),
            Err(also) => Err(also.context(error)),
        };
    }
    drop(lock);
    if options.detach || started.is_empty() {
        return Ok(());
    }
    say("Ctrl-C stops it. Logs from here on:");
    let followed = foreground::follow(stack, interrupted).await;
    say("stopping");
    let _lock = stack.state.lock().await?;
    end(stack, &started).await?;
    followed
}

/// Ends everything; keeps the data unless `wipe`.
///
/// # Errors
/// When something does not end or cannot be deleted.
pub async fn down(stack: &Stack, wipe: bool) -> anyhow::Result<()> {
    let _lock = stack.state.lock().await?;
    end(stack, &Component::ALL).await?;
    if wipe { stack.state.wipe() } else { Ok(()) }
}

/// Ends the runtime first: it uses the others. The addresses are forgotten with the last one.
async fn end(stack: &Stack, components: &[Component]) -> anyhow::Result<()> {
    let (runtime, services): (Vec<_>, Vec<_>) = components
        .iter()
        .partition(|component| **component == Component::Runtime);
    for components in [runtime, services] {
        let ends = components
            .into_iter()
            .map(|component| stack.end(component, End::Terminate));
        try_join_all(ends).await?;
    }
    if stack.running()?.is_empty() {
        state::remove(&stack.state.endpoints())?;
    }
    Ok(())
}

async fn bring_up(stack: &Stack, options: Options, before: &[Component]) -> anyhow::Result<()> {
    let began = Instant::now();
    let wanted = if options.services_only {
        &Component::SERVICES[..]
    } else {
        &Component::ALL[..]
    };
    let already = wanted.iter().all(|component| before.contains(component));
    stack.check_ports(wanted)?;
    try_join_all(Component::SERVICES.map(|service| start(stack, service))).await?;
    migrate(stack).await?;
    if !options.services_only {
        start(stack, Component::Runtime).await?;
        runtime::functions_are_ready(stack).await?;
    }
    if !options.services_only && !already && options.sample {
        say("a sample payment:");
        sample::run(stack).await.map_err(|error| {
            let log = stack.state.log_tail(Component::Runtime);
            anyhow!("the sample payment failed: {error:#}\n{log}")
        })?;
    }
    let state = if already { "was up already" } else { "is up" };
    say(format_args!("payfn {state}, {:.1?}", began.elapsed()));
    print_addresses(stack, options.services_only);
    Ok(())
}

async fn start(stack: &Stack, component: Component) -> anyhow::Result<()> {
    let began = Instant::now();
    let running = stack.daemon(component)?.is_some();
    if !running {
        say(format_args!("starting {component}"));
    }
    stack.start(component).await?;
    let how = if running { "runs already" } else { "runs" };
    say(format_args!(
        "{component} {how} on {}, {:.1?}",
        stack.address(component),
        began.elapsed()
    ));
    Ok(())
}

async fn migrate(stack: &Stack) -> anyhow::Result<()> {
    let url_files = SERVICES.map(|service| {
        let variable = format!("DATABASE_URL_{}_MIGRATE_FILE", service.to_uppercase());
        (
            variable,
            stack
                .state
                .secret(&format!("database-url-{service}-migrate")),
        )
    });
    let mut migrate = Command::new(stack.program("migrate")?);
    program::run(migrate.arg("--once").envs(url_files)).await?;
    say(format_args!("migrated: {}", SERVICES.join(", ")));
    Ok(())
}

fn print_addresses(stack: &Stack, services_only: bool) {
    let http = |port| format!("http://127.0.0.1:{}", stack.ports.get(port));
    if !services_only {
        say(format_args!("  payments    {}", http(Port::Http)));
        say(format_args!(
            "  OpenAPI     {}/openapi.json",
            http(Port::Http)
        ));
        say(format_args!("  Invoke API  {}", http(Port::Invoke)));
        say(format_args!("  metrics     {}/metrics", http(Port::Admin)));
    }
    for service in Component::SERVICES {
        say(format_args!(
            "  {:11} {}",
            service.name(),
            stack.address(service)
        ));
    }
    say(format_args!(
        "  variables   {}",
        stack.state.endpoints().display()
    ));
    say(format_args!(
        "  logs        {}",
        stack.state.directory().join("logs").display()
    ));
}
