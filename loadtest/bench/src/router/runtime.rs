//! The runtime, with a manifest of the measurement's own.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use stack::program::run;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use super::server::{Server, free_address, program};
use crate::{connection::Service, processes};

/// How long a runtime that was replaced may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What instances are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Driver {
    Process,
    Docker,
}

/// A runtime, ended when it is dropped.
pub(super) struct Runtime {
    pub(super) server: Server,
    pub(super) admin: String,
    invoke: String,
    driver: Driver,
    directory: TempDir,
}

impl Runtime {
    /// Starts one whose functions are processes.
    pub(super) async fn start(manifest: &str) -> anyhow::Result<Self> {
        Self::start_under(Driver::Process, manifest).await
    }

    pub(super) async fn start_under(driver: Driver, manifest: &str) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        fs::write(manifest_in(&directory), manifest)?;
        let [http, invoke, admin] = [free_address()?, free_address()?, free_address()?];
        let command = serve(&directory, driver, [&http, &invoke, &admin])?;
        Ok(Self {
            server: Server::start("runtime", command, http, None).await?,
            admin,
            invoke,
            driver,
            directory,
        })
    }

    /// Its Invoke API.
    pub(super) fn invoke(&self) -> Service {
        let address = self.invoke.clone();
        Service { address, key: None }
    }

    /// How many processes it has started that run.
    pub(super) fn children(&self) -> anyhow::Result<usize> {
        Ok(processes::children(self.server.pid()?)?.len())
    }

    /// Runs a command of the runtime's own client.
    pub(super) async fn command(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(program("local-lambda")?);
        run(command.args(arguments).args(["--admin", &self.admin])).await
    }

    /// Has another manifest read.
    pub(super) async fn reload(&self, manifest: &str) -> anyhow::Result<()> {
        fs::write(manifest_in(&self.directory), manifest)?;
        self.command(&["reload"]).await
    }

    /// Starts another in its place, and waits until the one before has ended.
    pub(super) async fn upgrade(&mut self) -> anyhow::Result<()> {
        let addresses = [&self.server.service.address, &self.invoke, &self.admin];
        let mut command = serve(&self.directory, self.driver, addresses.map(|it| &**it))?;
        command.arg("--take-over");
        let address = addresses[0].clone();
        let next = Server::start("runtime", command, address, None).await?;
        let mut old = std::mem::replace(&mut self.server, next);
        let ended = timeout(ENDS_WITHIN, old.process.wait()).await;
        let status = ended.context("the runtime before does not end")??;
        ensure!(status.success(), "the runtime before: {status}");
        Ok(())
    }
}

fn manifest_in(directory: &TempDir) -> PathBuf {
    directory.path().join("functions.toml")
}

fn serve(
    directory: &TempDir,
    driver: Driver,
    [http, invoke, admin]: [&str; 3],
) -> anyhow::Result<Command> {
    let mut command = Command::new(program("local-lambda")?);
    command
        .arg("serve")
        .arg("--manifest")
        .arg(manifest_in(directory));
    command.args(["--http", http, "--invoke", invoke, "--admin", admin]);
    command.arg("--state").arg(directory.path().join("state"));
    if let Driver::Docker = driver {
        command.args(["--driver", "docker"]);
    }
    Ok(command)
}
