use std::path::Path;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Command;

use crate::variable;

/// A process that stands still until this is dropped.
#[derive(Debug)]
pub struct Paused(Pid);

impl Paused {
    /// Stops a process where it stands.
    #[must_use]
    pub fn process(pid: i32) -> Self {
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGSTOP).expect("the process can be stopped");
        Self(pid)
    }

    /// Stops the broker where it stands.
    #[must_use]
    pub fn kafka() -> Self {
        let pid_file = Path::new(&variable("PAYFN_STATE")).join("run/kafka.pid");
        let text = std::fs::read_to_string(pid_file).expect("Kafka has a pid file");
        let pid = text.split_whitespace().next().expect("a pid");
        Self::process(pid.parse().expect("a pid"))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // The runtime may have replaced an instance that stood still for too long.
        let _gone = kill(self.0, Signal::SIGCONT);
    }
}

/// Runs a command of the stack that is under test: `stop redis`, `start kafka`, ….
pub async fn stack(arguments: &[&str]) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(workspace.join("target/release/stack"))
        .args(arguments)
        .current_dir(&workspace)
        .output()
        .await
        .expect("the stack's command runs");
    assert!(
        output.status.success(),
        "stack {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
