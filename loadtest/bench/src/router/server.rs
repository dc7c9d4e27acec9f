//! Programs that answer requests, started for a measurement.

use std::{env, net::TcpListener, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use stack::wait;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::connection::Service;

/// How long a server may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// A server, ended when it is dropped.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) service: Service,
    pub(super) process: Child,
    /// Of its files, if it has any.
    _directory: Option<TempDir>,
}

impl Server {
    /// Starts `command` and waits until it listens on `address`.
    pub(super) async fn start(
        name: &'static str,
        mut command: Command,
        address: String,
        directory: Option<TempDir>,
    ) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.kill_on_drop(true).spawn().context(name)?;
        let listens = async || Ok(TcpStream::connect(&address).await.map(drop)?);
        let listening = wait::until(LISTENS_WITHIN, listens).await;
        listening.with_context(|| format!("{name} does not listen on {address}"))?;
        Ok(Self {
            name,
            service: Service { address, key: None },
            process,
            _directory: directory,
        })
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        let pid = self.process.id();
        pid.with_context(|| format!("{} ended", self.name))
    }
}

/// The path of a program of this workspace.
pub(super) fn program(name: &str) -> anyhow::Result<String> {
    let path = env::current_exe()?.with_file_name(name);
    let built = path.is_file();
    ensure!(built, "{} is missing: build the workspace", path.display());
    Ok(path.display().to_string())
}

pub(super) fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
