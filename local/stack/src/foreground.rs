//! Readable logs until the user has seen enough.

use std::{future, process::Stdio};

use anyhow::Context as _;
use futures_util::future::select_all;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
};

use crate::output::say;
use crate::{Component, Stack, log_line};

/// Returns at Ctrl-C or SIGTERM.
///
/// # Errors
/// When signals cannot be received.
pub async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Prints the runtime's log, and which component ends, until `stop` says so.
///
/// # Errors
/// When the log cannot be followed.
pub async fn follow(
    stack: &Stack,
    stop: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let (_tail, mut lines) = tail(stack)?;
    let mut stop = Box::pin(stop);
    let mut ended = Box::pin(first_to_end(stack));
    loop {
        tokio::select! {
            stopped = &mut stop => return stopped,
            line = lines.next_line() => {
                say(log_line::render(&line?.context("tail has ended")?));
            }
            component = &mut ended => {
                let component = component?;
                say(format_args!("{component} has ended; target/release/stack start {component} brings it back"));
                ended = Box::pin(first_to_end(stack));
            }
        }
    }
}

/// Lines appended to the runtime's log from now on, also to the next file once it is replaced.
fn tail(stack: &Stack) -> anyhow::Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut tail = Command::new("tail")
        .args(["--follow=name", "--retry", "--lines=0"])
        .arg(stack.state.log(Component::Runtime))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Ctrl-C is for this process alone.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot run tail")?;
    let output = tail.stdout.take().context("tail has no output")?;
    Ok((tail, BufReader::new(output).lines()))
}

/// Waits until one of the components that run now has ended.
async fn first_to_end(stack: &Stack) -> anyhow::Result<Component> {
    let mut ends = Vec::new();
    for component in Component::ALL {
        let daemon = stack.daemon(component)?;
        let end = |daemon: crate::daemon::Daemon| {
            Box::pin(async move { daemon.ended().await.map(|()| component) })
        };
        ends.extend(daemon.map(end));
    }
    if ends.is_empty() {
        future::pending::<()>().await;
    }
    let (first, _, _) = select_all(ends).await;
    Ok(first?)
}
