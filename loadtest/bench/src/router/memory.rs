//! Resident memory of the runtime's own process.

use std::{fmt, fmt::Write as _, time::Duration};

use serde::Serialize;
use tokio::time::sleep;

use super::{runtime::Runtime, server::program};
use crate::{connection::Connection, crowd::Crowd, processes::Processes};

const FUNCTIONS: u32 = 20;
const CONNECTIONS: u32 = 10_000;
/// How long nothing is done before it is looked at.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Serialize)]
pub(super) struct Memory {
    functions: u32,
    idle_mib: u64,
    connections: u32,
    connections_mib: u64,
}

pub(super) async fn measure() -> anyhow::Result<Memory> {
    let program = program("echo-function")?;
    let mut manifest = String::new();
    for number in 0..FUNCTIONS {
        writeln!(
            manifest,
            "[functions.f{number}]\ncommand = [{program:?}]\nroutes = [\"POST /{number}\"]"
        )?;
    }
    let runtime = Runtime::start(&manifest).await?;
    let mut connection = Connection::new(runtime.server.service.clone());
    for number in 0..FUNCTIONS {
        let path = format!("/{number}");
        let answer = connection.post(&path, bytes::Bytes::new()).await?;
        anyhow::ensure!(answer.status == 200, "{path}: {}", answer.status);
    }
    let processes = Processes::of_parent("runtime", runtime.server.pid()?, "function")?;
    let resident = async || {
        sleep(QUIET).await;
        processes.resident().of("runtime")
    };
    let idle_mib = resident().await;
    let crowd = Crowd::gather(&runtime.server.service.address, CONNECTIONS, 0).await?;
    let connections_mib = resident().await;
    let (connections, _) = crowd.open();
    Ok(Memory {
        functions: FUNCTIONS,
        idle_mib,
        connections,
        connections_mib,
    })
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            functions,
            idle_mib,
            connections,
            connections_mib,
        } = self;
        writeln!(
            formatter,
            "memory     {idle_mib} MiB with {functions} idle functions"
        )?;
        writeln!(
            formatter,
            "memory     {connections_mib} MiB with {connections} open connections"
        )
    }
}
