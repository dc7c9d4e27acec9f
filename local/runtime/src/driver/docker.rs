//! Instances as containers of a Docker engine on this machine, with its network.
//!
//! Source: Docker Engine API 1.41.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerState, ContainerSummary, HostConfig, HostConfigLogConfig,
};
use bollard::query_parameters::{
    AttachContainerOptions, KillContainerOptions, ListContainersOptions, RemoveContainerOptions,
};
use bollard::{ClientVersion, Docker};
use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt};
use nix::sys::signal::Signal;
use nix::unistd::{getgid, getuid};
use tokio::io::{AsyncWriteExt, duplex};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::owner::Owner;
use super::secrets::{self, Secrets};
use super::{Exit, PIDS_MAX, environment};
use crate::function::{Function, locked};
use crate::instance::Instance;
use crate::logs::{self, LogSink};

const SOCKET: &str = "unix:///var/run/docker.sock";
/// Versions of the API tried, in this order: every engine since 2020 speaks one of them, and they do
/// not differ in what is asked here.
const VERSIONS: [ClientVersion; 2] = [version(44), version(41)];
/// Longest wait for an answer of the engine, in seconds.
const ANSWER_S_MAX: u64 = 30;
/// Time for the last lines of an ended container.
const LAST_LINES_WAIT: Duration = Duration::from_millis(200);
/// Bytes of output that wait to be read as lines.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// As on AWS; it is memory, and counts as the function's.
const TMP: &str = "rw,exec,nosuid,nodev,mode=1777,size=512m";
/// The least memory an engine lets a container have, in MiB.
const MEMORY_MB_MIN: u32 = 6;
const MIB: i64 = 1024 * 1024;
/// Whom instances run as if the runtime is root: nobody, whatever the image says. So does AWS.
const NONROOT: (u32, u32) = (65532, 65532);
/// Says which runtime a container belongs to.
const RUNTIME: &str = "local-lambda.runtime";
const FUNCTION: &str = "local-lambda.function";
const INSTANCE: &str = "local-lambda.instance";

/// The docker driver.
pub(crate) struct Engine {
    client: Docker,
    owner: Owner,
    secrets: Arc<Secrets>,
    user: (u32, u32),
    /// Containers that could not be removed when they had ended.
    leftovers: Mutex<Vec<String>>,
    /// Ended when dropped.
    _refreshing: JoinSet<()>,
    /// Held open until this process ends, however it does.
    _lifeline: Option<ChildStdin>,
}

/// One container.
pub(super) struct Container {
    engine: Arc<Engine>,
    id: String,
    output: Option<AttachContainerResults>,
    end: BoxFuture<'static, Exit>,
    lines: JoinSet<()>,
}

const fn version(minor_version: usize) -> ClientVersion {
    ClientVersion {
        major_version: 1,
        minor_version,
    }
}

/// A connection to the engine that `DOCKER_HOST` names, else to this machine's.
async fn connect() -> anyhow::Result<Docker> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| SOCKET.to_owned());
    if !host.starts_with("unix://") {
        bail!("DOCKER_HOST is {host}: instances need an engine on this machine, unix://SOCKET");
    }
    let mut refusal = None;
    for version in &VERSIONS {
        let client = Docker::connect_with_unix(&host, ANSWER_S_MAX, version)?;
        match client.version().await {
            Ok(_) => return Ok(client),
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.context("no version of the API")?.into())
}

impl Engine {
    /// Connects, and removes the containers of runtimes that are gone.
    ///
    /// # Errors
    /// If no engine answers, or there is no place for secrets.
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let client = connect().await.context("no Docker engine answers")?;
        let owner = Owner::this().context("cannot tell this process from others")?;
        sweep(&client, |label| {
            Owner::parse(label).is_some_and(Owner::is_gone)
        })
        .await?;
        let user = if getuid().is_root() {
            NONROOT
        } else {
            (getuid().as_raw(), getgid().as_raw())
        };
        let secrets = Arc::new(Secrets::new(owner, user)?);
        let mut refreshing = JoinSet::new();
        refreshing.spawn(Arc::clone(&secrets).keep_current());
        Ok(Self {
            client,
            owner,
            secrets,
            user,
            leftovers: Mutex::default(),
            _refreshing: refreshing,
            _lifeline: watch(owner).context("cannot start the reaper of containers")?,
        })
    }

    /// Makes a container that waits to be started.
    ///
    /// # Errors
    /// If the engine refuses, which it does if it does not have the image.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        function: &Function,
        instance: &Instance,
    ) -> anyhow::Result<Container> {
        self.remove_leftovers().await;
        let description = self.describe(function, instance)?;
        let image = description.image.clone().unwrap_or_default();
        let created = self.client.create_container(None, description).await;
        let id = match created {
            Ok(created) => created.id,
            Err(Error::DockerResponseServerError {
                status_code: 404, ..
            }) => {
                bail!("the Docker engine has no image {image}: build, load or pull it")
            }
            Err(error) => return Err(error).context("the Docker engine makes no container"),
        };
        let attach = AttachContainerOptions {
            stream: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let output = self.client.attach_container(&id, Some(attach)).await;
        if output.is_err() {
            self.remove(id.clone()).await;
        }
        Ok(Container {
            end: end(self.client.clone(), id.clone()).boxed(),
            output: Some(output.context("cannot attach to the container")?),
            engine: Arc::clone(self),
            id,
            lines: JoinSet::new(),
        })
    }

    fn describe(
        &self,
        function: &Function,
        instance: &Instance,
    ) -> anyhow::Result<ContainerCreateBody> {
        let config = &function.config;
        // Once it is known what the tag leads to, that is the version's image.
        let image = function.version.image.get().or(config.image.as_ref());
        let secrets = self.secrets.provide(config)?;
        let mut variables = environment(config, instance);
        variables.extend(secrets.variables);
        let labels = [
            (RUNTIME, self.owner.to_string()),
            (FUNCTION, config.name.clone()),
            (INSTANCE, instance.name.to_string()),
        ];
        let (user, group) = self.user;
        Ok(ContainerCreateBody {
            image: image.cloned(),
            user: Some(format!("{user}:{group}")),
            env: Some(
                variables
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect(),
            ),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            host_config: Some(hardened(config.memory_mb, secrets.bind)),
            ..ContainerCreateBody::default()
        })
    }

    /// Ends a container that could not be removed while the engine was away.
    async fn remove_leftovers(&self) {
        let leftovers = std::mem::take(&mut *locked(&self.leftovers));
        for id in leftovers {
            self.remove(id).await;
        }
    }

    /// Removes a container, in whatever state.
    async fn remove(&self, id: String) {
        if let Err(error) = remove(&self.client, &id).await {
            tracing::debug!("the container {id} is not removed yet: {error}");
            locked(&self.leftovers).push(id);
        }
    }

    /// Removes what is left of this runtime's containers and secrets.
    pub(super) async fn finish(&self) {
        let owner = self.owner.to_string();
        if let Err(error) = sweep(&self.client, |label| label == owner).await {
            tracing::warn!("containers may be left: {error:#}");
        }
        secrets::remove(&owner);
    }
}

impl Container {
    /// Starts it.
    ///
    /// # Errors
    /// If the engine cannot: there may be no such program in the image.
    pub(super) async fn start(
        &mut self,
        function: &Arc<Function>,
        instance: &Arc<Instance>,
        sink: &LogSink,
    ) -> anyhow::Result<()> {
        let client = &self.engine.client;
        if let Some(output) = self.output.take() {
            pump(output, function, instance, sink, &mut self.lines);
        }
        let started = client.start_container(&self.id, None).await;
        started.context("the Docker engine cannot start the container")?;
        let container = client.inspect_container(&self.id, None).await?;
        if let Some(image) = container.image {
            let _known = function.version.image.set(image);
        }
        let state = container.state;
        let pid = state.and_then(|state| u32::try_from(state.pid?).ok());
        instance.set_pid(pid.unwrap_or_default());
        Ok(())
    }

    pub(super) async fn ended(&mut self) -> Exit {
        (&mut self.end).await
    }

    pub(super) async fn signal(&mut self, signal: Signal) {
        let options = KillContainerOptions {
            signal: signal.as_str().to_owned(),
        };
        let client = &self.engine.client;
        if let Err(error) = client.kill_container(&self.id, Some(options)).await {
            tracing::debug!("cannot send {signal} to the container {}: {error}", self.id);
        }
    }

    pub(super) async fn finish(mut self) {
        let _cut_short = timeout(LAST_LINES_WAIT, async {
            while self.lines.join_next().await.is_some() {}
        })
        .await;
        self.engine.remove(self.id).await;
    }
}

/// Passes the container's output on, over a connection of its own.
fn pump(
    mut output: AttachContainerResults,
    function: &Arc<Function>,
    instance: &Arc<Instance>,
    sink: &LogSink,
    tasks: &mut JoinSet<()>,
) {
    let mut stream = |level| {
        let (to, from) = duplex(OUTPUT_BYTES_MAX);
        let (function, instance) = (Arc::clone(function), Arc::clone(instance));
        tasks.spawn(logs::pump(from, level, function, instance, sink.clone()));
        to
    };
    let (mut stdout, mut stderr) = (stream("INFO"), stream("WARN"));
    tasks.spawn(async move {
        while let Some(Ok(chunk)) = output.output.next().await {
            let stream = match chunk {
                LogOutput::StdErr { .. } => &mut stderr,
                _ => &mut stdout,
            };
            if stream.write_all(&chunk.into_bytes()).await.is_err() {
                return;
            }
        }
    });
}

/// Waits for the end of a container that has been started.
async fn end(client: Docker, id: String) -> Exit {
    // An error is what ends here with another status than 0, or the engine's end: what has become of
    // the container says the next answer, if there is one.
    let _ended = client.wait_container(&id, None).next().await;
    let container = client.inspect_container(&id, None).await;
    let Ok(Some(state)) = container.map(|container| container.state) else {
        return Exit {
            reason: "Runtime exited, status unknown: the Docker engine does not tell".to_owned(),
            out_of_memory: false,
        };
    };
    Exit {
        reason: describe(&state),
        out_of_memory: state.oom_killed == Some(true),
    }
}

fn describe(state: &ContainerState) -> String {
    let code = state.exit_code.unwrap_or_default();
    let signal = i32::try_from(code - 128).ok();
    match signal.and_then(|number| Signal::try_from(number).ok()) {
        Some(signal) => format!("Runtime exited with error: signal: {signal}"),
        None => format!("Runtime exited with error: exit status {code}"),
    }
}

/// What a container may do: as little as a function needs.
fn hardened(memory_mb: u32, bind: Option<String>) -> HostConfig {
    let memory = i64::from(memory_mb.max(MEMORY_MB_MIN)) * MIB;
    HostConfig {
        network_mode: Some("host".to_owned()),
        readonly_rootfs: Some(true),
        tmpfs: Some(HashMap::from([("/tmp".to_owned(), TMP.to_owned())])),
        binds: bind.map(|bind| vec![bind]),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        pids_limit: Some(PIDS_MAX.into()),
        memory: Some(memory),
        // Memory and swap together.
        memory_swap: Some(memory),
        init: Some(false),
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        ..HostConfig::default()
    }
}

/// Removes the containers of those runtimes whose labels are meant.
async fn sweep(client: &Docker, is_meant: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(HashMap::from([(
            "label".to_owned(),
            vec![RUNTIME.to_owned()],
        )])),
        ..ListContainersOptions::default()
    };
    let containers = client.list_containers(Some(options)).await?;
    let meant = |container: &ContainerSummary| {
        let labels = container.labels.as_ref();
        labels
            .and_then(|labels| labels.get(RUNTIME))
            .is_some_and(|label| is_meant(label))
    };
    let ids = containers
        .into_iter()
        .filter(meant)
        .filter_map(|container| container.id);
    let removals = ids.map(async |id| remove(client, &id).await);
    let removals: Vec<_> = removals.collect();
    for removed in join_all(removals).await {
        removed.context("cannot remove a container")?;
    }
    Ok(())
}

/// Kills and removes a container; one that is not there is removed.
async fn remove(client: &Docker, id: &str) -> Result<(), Error> {
    let options = RemoveContainerOptions {
        force: true,
        v: true,
        ..RemoveContainerOptions::default()
    };
    match client.remove_container(id, Some(options)).await {
        // 409: it is being removed already.
        Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => Ok(()),
        other => other,
    }
}

/// Starts [`reap`] as a process that outlives this one.
fn watch(owner: Owner) -> io::Result<Option<ChildStdin>> {
    let mut reaper = Command::new("/proc/self/exe");
    reaper
        .args(["reap-containers", &owner.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0);
    Ok(reaper.spawn()?.stdin)
}

/// Waits until the runtime `owner`, at the other end of standard input, has ended, and removes what it
/// could not remove if it was killed.
///
/// # Errors
/// If the engine does not answer, or refuses.
pub(crate) async fn reap(owner: &str) -> anyhow::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    secrets::remove(owner);
    sweep(&connect().await?, |label| label == owner).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_above_128_is_a_signal() {
        let described = |code| {
            describe(&ContainerState {
                exit_code: Some(code),
                ..ContainerState::default()
            })
        };
        assert_eq!(described(137), "Runtime exited with error: signal: SIGKILL");
        assert_eq!(described(7), "Runtime exited with error: exit status 7");
        assert_eq!(described(128), "Runtime exited with error: exit status 128");
    }
}
