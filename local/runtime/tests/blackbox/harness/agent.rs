//! Agents, whose instances attach to a runtime.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::{Runtime, TOKEN, program, soon};

/// A running `local-lambda attach`; killed when dropped, and its instances with it.
pub(crate) struct Agent {
    process: Child,
    pub(super) function: String,
    pub(super) instances: usize,
}

impl Agent {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.process.id().unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for its end; its exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        soon(self.process.wait()).await.unwrap().code()
    }
}

impl Runtime {
    /// Starts an agent for a function, with so many instances.
    pub(crate) fn add_agent(&mut self, function: &str, instances: usize, command: &[String]) {
        let mut agent = self.agent(&self.token(), function, instances, command);
        self.agents.push(Agent {
            process: agent.stdout(Stdio::null()).spawn().unwrap(),
            function: function.to_owned(),
            instances,
        });
    }

    /// The command of an agent, which has an empty environment.
    pub(crate) fn agent(
        &self,
        token: &Path,
        function: &str,
        instances: usize,
        command: &[String],
    ) -> Command {
        let mut agent = Command::new(program());
        agent
            .args([
                "attach",
                "--to",
                &format!("http://{}", self.attach.unwrap()),
            ])
            .arg("--token-file")
            .arg(token)
            .args(["--instances", &instances.to_string(), function, "--"])
            .args(command)
            .env_clear()
            .kill_on_drop(true);
        agent
    }

    /// The file with the token that instances need.
    pub(crate) fn token(&self) -> PathBuf {
        self.folder.path().join(TOKEN)
    }
}

/// Instances that are to attach.
pub(super) struct Wanted {
    pub(super) function: String,
    pub(super) instances: usize,
    pub(super) command: Vec<String>,
}

/// Changes a manifest such that the instances of functions attach that would be started.
pub(super) fn have_attached(manifest: &mut String) -> Vec<Wanted> {
    let mut document: toml::Table = manifest.parse().unwrap();
    let mut wanted = Vec::new();
    let functions = document
        .get_mut("functions")
        .and_then(|it| it.as_table_mut());
    for (name, function) in functions.into_iter().flatten() {
        let function = function.as_table_mut().unwrap();
        let Some(command) = function.remove("command") else {
            continue;
        };
        let instances = function.remove("min_instances");
        let instances = instances.map_or(1, |it| it.as_integer().unwrap());
        let parts = command.as_array().unwrap().iter();
        let command = parts
            .map(|part| part.as_str().unwrap().to_owned())
            .collect();
        wanted.push(Wanted {
            function: name.clone(),
            instances: usize::try_from(instances).unwrap(),
            command,
        });
        function.insert("driver".to_owned(), "attach".into());
    }
    *manifest = toml::to_string(&document).unwrap();
    wanted
}
