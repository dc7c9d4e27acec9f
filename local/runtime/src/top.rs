//! `local-lambda top`: how busy the functions are, live.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::admin::FunctionView;
use crate::client;

/// Control sequences (ECMA-48) for a screen of our own without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the upper left corner; to the end of the line, and of the screen, nothing.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K\n";
const REST_OF_SCREEN: &str = "\x1b[J";

/// Calls and errors of each function, and when they were counted.
struct Counted {
    at: Instant,
    calls: HashMap<String, (u64, u64)>,
}

/// Shows a table every `interval`, until Ctrl-C; with `once` prints one and returns.
///
/// # Errors
/// If no runtime answers at `admin`, or nobody reads what is printed.
pub(crate) async fn run(admin: SocketAddr, interval: Duration, once: bool) -> anyhow::Result<()> {
    let mut before = counted(&client::functions(admin).await?);
    if once {
        sleep(interval).await;
        let functions = client::functions(admin).await?;
        let table = table(&functions, &before, &counted(&functions));
        return Ok(io::stdout().write_all(table.as_bytes())?);
    }
    show(ENTER)?;
    let shown = tokio::select! {
        shown = async {
            loop {
                sleep(interval).await;
                let functions = client::functions(admin).await?;
                let now = counted(&functions);
                let table = table(&functions, &before, &now).replace('\n', REST_OF_LINE);
                show(&format!("{HOME}{table}{REST_OF_SCREEN}"))?;
                before = now;
            }
        } => shown,
        stopped = tokio::signal::ctrl_c() => stopped.map_err(Into::into),
    };
    show(LEAVE)?;
    shown
}

fn show(text: &str) -> io::Result<()> {
    let mut output = io::stdout();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn counted(functions: &[FunctionView]) -> Counted {
    let calls = functions.iter();
    let calls = calls.map(|it| (it.name.clone(), (it.calls, it.errors)));
    Counted {
        at: Instant::now(),
        calls: calls.collect(),
    }
}

fn table(functions: &[FunctionView], before: &Counted, now: &Counted) -> String {
    let elapsed = now.at.duration_since(before.at);
    let mut table = format!(
        "{:<24} {:>9} {:>9} {:>9} {:>7} {:>10} {:>10}\n",
        "FUNCTION", "READY", "STARTING", "IN FLIGHT", "QUEUED", "CALLS/S", "ERRORS/S"
    );
    for function in functions {
        let (calls, errors) = before
            .calls
            .get(&function.name)
            .copied()
            .unwrap_or_default();
        let ready = function.instances.iter().filter(|it| it.state == "ready");
        let ready = ready.count();
        let running: usize = function.instances.iter().map(|it| it.in_flight).sum();
        let _infallible = writeln!(
            table,
            "{:<24} {ready:>9} {:>9} {running:>9} {:>7} {:>10} {:>10}",
            function.name,
            function.instances.len() - ready,
            function.queued,
            per_second(function.calls.saturating_sub(calls), elapsed),
            per_second(function.errors.saturating_sub(errors), elapsed),
        );
    }
    table
}

/// How many of so many there were in a second, with one decimal.
fn per_second(count: u64, elapsed: Duration) -> String {
    let tenths = u128::from(count) * 10_000 / elapsed.as_millis().max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_what_was_counted_between_two_looks() {
        let second = Duration::from_secs(1);
        assert_eq!(per_second(0, second), "0.0");
        assert_eq!(per_second(1234, second), "1234.0");
        assert_eq!(per_second(7, 2 * second), "3.5");
        assert_eq!(per_second(1, Duration::ZERO), "1000.0");
    }
}
