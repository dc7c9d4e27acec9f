//! Programs that run to their end, unlike daemons.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{process::Command, time};

/// How long a program may take.
const ENDS_WITHIN: Duration = Duration::from_mins(5);

/// Runs a program until it has ended. When the future is dropped before, the program is killed
/// with all that it has started.
///
/// # Errors
/// When it cannot be run or fails; shows what it printed.
pub async fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.as_std().get_program().display().to_string();
    let streams = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = streams
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let mut group = Group(
        child
            .id()
            .and_then(|pid| Pid::from_raw(pid.try_into().ok()?)),
    );
    let output = time::timeout(ENDS_WITHIN, child.wait_with_output())
        .await
        .with_context(|| format!("{name} takes longer than {ENDS_WITHIN:?}"))??;
    group.0 = None;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "{name} failed: {}",
        String::from_utf8_lossy(&said).trim()
    );
    Ok(())
}

/// A process group, killed when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error means that it has ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::wait;

    #[tokio::test]
    async fn a_failure_shows_what_the_program_printed() {
        let failed = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).await;
        assert_eq!(failed.unwrap_err().to_string(), "sh failed: out\nerr");
    }

    #[tokio::test]
    async fn a_program_given_up_is_killed_with_what_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let (started, pipe) = (
            directory.path().join("started"),
            directory.path().join("pipe"),
        );
        let script = format!(
            "mkfifo {0}; (cat {0}) & echo $! > {1}; wait",
            pipe.display(),
            started.display()
        );
        let within = Duration::from_secs(10);
        let grandchild = wait::until(within, async || {
            let pid: u32 = fs::read_to_string(&started)?.trim().parse()?;
            Ok(format!("/proc/{pid}/cmdline"))
        });
        let mut shell = Command::new("sh");
        let grandchild = tokio::select! {
            _ = run(shell.args(["-c", &script])) => unreachable!("it waits forever"),
            grandchild = grandchild => grandchild.unwrap(),
        };
        // A zombie's command line is empty.
        let gone = wait::until(within, async || {
            anyhow::ensure!(
                fs::read(&grandchild).unwrap_or_default().is_empty(),
                "still there"
            );
            Ok(())
        });
        gone.await.unwrap();
    }
}
