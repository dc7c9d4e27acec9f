//! Instances as containers of a Docker engine on this machine, with its network.
//!
//! Source: Docker Engine API 1.41.

mod container;

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerSummary, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptions, ListContainersOptions, RemoveContainerOptions,
};
use bollard::{ClientVersion, Docker};
use futures_util::future::join_all;
use nix::unistd::{getgid, getuid};

pub(super) use self::container::Container;
use super::PIDS_MAX;
use super::environment::environment;
use super::owner::Owner;
use super::secrets::{self, Secrets};
use crate::function::{Function, locked};
use crate::instance::Instance;
use crate::manifest::FunctionConfig;

const SOCKET: &str = "unix:///var/run/docker.sock";
/// Versions of the API tried, in this order: every engine since 2020 speaks one of them, and they do
/// not differ in what is asked here.
const VERSIONS: [ClientVersion; 2] = [version(44), version(41)];
/// Longest wait for an answer of the engine, in seconds.
const ANSWER_S_MAX: u64 = 30;
/// As on AWS; it is memory, and counts as the function's.
const TMP: &str = "rw,exec,nosuid,nodev,mode=1777,size=512m";
/// The least memory an engine lets a container have, in MiB.
const MEMORY_MB_MIN: u32 = 6;
const MIB: i64 = 1024 * 1024;
/// Whom instances run as if the runtime is root: nobody, whatever the image says. So does AWS.
const NONROOT: (u32, u32) = (65532, 65532);
/// Where a container has its secrets.
const SECRETS: &str = "/run/secrets";
/// Says which runtime a container belongs to.
const RUNTIME: &str = "local-lambda.runtime";
const FUNCTION: &str = "local-lambda.function";
const INSTANCE: &str = "local-lambda.instance";

/// The docker driver.
pub(crate) struct Engine {
    client: Docker,
    owner: Owner,
    secrets: Secrets,
    user: (u32, u32),
    /// Containers that could not be removed when they had ended.
    leftovers: Mutex<Vec<String>>,
    /// Held open until this process ends, however it does.
    _lifeline: Option<ChildStdin>,
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
        let is_gone = |label: &str| Owner::parse(label).is_some_and(Owner::is_gone);
        if let Err(error) = sweep(&client, is_gone).await {
            tracing::warn!("containers of runtimes that are gone may be left: {error:#}");
        }
        let user = if getuid().is_root() {
            NONROOT
        } else {
            (getuid().as_raw(), getgid().as_raw())
        };
        Ok(Self {
            client,
            owner,
            secrets: Secrets::new(owner)?,
            user,
            leftovers: Mutex::default(),
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
        match self.client.attach_container(&id, Some(everything())).await {
            Ok(output) => Ok(Container::new(Arc::clone(self), id, output)),
            Err(error) => {
                self.remove(id).await;
                Err(error).context("cannot attach to the container")
            }
        }
    }

    fn describe(
        &self,
        function: &Function,
        instance: &Instance,
    ) -> anyhow::Result<ContainerCreateBody> {
        let config = &function.config;
        // Once it is known what the tag leads to, that is the version's image.
        let image = function.version.image.get().or(config.image.as_ref());
        let mut variables = environment(config, instance);
        let secrets = config.secrets.keys();
        variables.extend(secrets.map(|name| (name.clone(), format!("{SECRETS}/{name}"))));
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
            host_config: Some(hardened(config.memory_mb, self.bind(config)?)),
            ..ContainerCreateBody::default()
        })
    }

    /// Where a function's secrets are and where its containers have them.
    fn bind(&self, config: &FunctionConfig) -> anyhow::Result<Option<String>> {
        if config.secrets.is_empty() {
            return Ok(None);
        }
        let folder = self.secrets.provide(config, self.user)?;
        Ok(Some(format!("{}:{SECRETS}:ro", folder.display())))
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

/// All that a container writes, as it comes.
fn everything() -> AttachContainerOptions {
    AttachContainerOptions {
        stream: true,
        stdout: true,
        stderr: true,
        ..AttachContainerOptions::default()
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
