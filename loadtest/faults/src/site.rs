//! The stack of one run, with its proxies and its disk.

use std::{
    collections::HashMap,
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use reqwest::Client;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;
use sqlx::{MySqlPool, mysql::MySqlPoolOptions};
use stack::{
    Component, Port, Ports, Stack, State,
    daemon::End,
    mariadb::ADMIN,
    secrets::{KEYS_FILE, Secrets},
    up, wait,
};

use crate::{
    disk::{self, Disk},
    plan::{FUNCTIONS, Link},
    proxy::{Protocol, Proxy},
};

/// How long every function may take until an instance is ready.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Connections that look into the database.
const CONNECTIONS_MAX: u32 = 8;
/// How long a look waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer of the runtime to an operator.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that faults can meet.
pub struct Site {
    /// The daemons.
    pub stack: Stack,
    /// Where everything of the run is.
    pub folder: PathBuf,
    /// The database's own file system, or why there is none.
    pub disk: Result<Disk, String>,
    links: HashMap<Link, Proxy>,
    http: Client,
    database_url: String,
    settlement_database_url: String,
    recon_database_url: String,
    dlq_database_url: String,
    database: MySqlPool,
}

/// A function in the runtime's registry.
#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    pid: i32,
    state: String,
}

/// A process that cannot become another one.
pub struct Process(rustix::fd::OwnedFd);

impl Site {
    /// Starts everything in `folder`, where nothing of an earlier run is left.
    ///
    /// # Errors
    /// Names what does not start.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        clear(folder).await?;
        let state = State::open(&folder.join("stack"))?;
        let disk = small_disk(folder, &state).await?;
        let mut stack = stack_in(state)?;
        let links = links(&stack).await?;
        for (component, link) in [
            (Component::Mariadb, Link::Database),
            (Component::Redis, Link::Redis),
            (Component::Kafka, Link::Kafka),
        ] {
            stack
                .detours
                .insert(component, links[&link].address().to_string());
        }
        let secrets = stack.prepare()?;
        let [
            database_url,
            settlement_database_url,
            recon_database_url,
            dlq_database_url,
        ] = ["payment", "settlement", "recon", "dlq"]
            .map(|service| secrets.url(&stack, ADMIN, service));
        let database = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy(&database_url)?;
        let site = Self {
            stack,
            folder: folder.to_owned(),
            disk,
            links,
            http: Client::builder().timeout(ADMIN_TIMEOUT).build()?,
            database_url,
            settlement_database_url,
            recon_database_url,
            dlq_database_url,
            database,
        };
        match site.bring_up().await {
            Ok(()) => Ok(site),
            Err(error) => {
                site.stop().await?;
                Err(error)
            }
        }
    }

    async fn bring_up(&self) -> anyhow::Result<()> {
        let options = up::Options {
            services_only: true,
            detach: true,
            sample: false,
        };
        up::up(&self.stack, options).await?;
        self.stack.start(Component::Runtime).await?;
        self.ready().await
    }

    /// Ends everything and frees the disk; logs and data stay.
    ///
    /// # Errors
    /// When something does not end.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.database.close().await;
        end(&self.stack).await
    }

    /// The proxy of a link.
    #[must_use]
    pub fn link(&self, link: Link) -> &Proxy {
        &self.links[&link]
    }

    /// Where clients send requests.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.link(Link::Http).address())
    }

    /// The signing keys.
    #[must_use]
    pub fn keys_file(&self) -> PathBuf {
        self.stack.state.secret(KEYS_FILE)
    }

    /// The database, not through the proxy and with every right.
    #[must_use]
    pub fn database(&self) -> &MySqlPool {
        &self.database
    }

    /// Where an auditor finds the books.
    #[must_use]
    pub fn books(&self) -> auditor::Sources {
        auditor::Sources {
            database_url: self.database_url.clone(),
            settlement_database_url: self.settlement_database_url.clone(),
            recon_database_url: self.recon_database_url.clone(),
            dlq_database_url: self.dlq_database_url.clone(),
            brokers: self.stack.reached_at(Component::Kafka),
        }
    }

    /// The process of a function's first ready instance.
    ///
    /// # Errors
    /// While there is none.
    pub async fn process(&self, function: &str) -> anyhow::Result<(i32, Process)> {
        let functions = self.functions().await?;
        let of_function = functions.into_iter().filter(|it| it.name == function);
        let mut ready = of_function
            .flat_map(|it| it.instances)
            .filter(|it| it.state == "ready");
        let pid = ready.next().context("no instance is ready")?.pid;
        let process = Pid::from_raw(pid).context("no process")?;
        Ok((pid, Process(pidfd_open(process, PidfdFlags::empty())?)))
    }

    /// Waits until every function can serve.
    ///
    /// # Errors
    /// Names one that cannot.
    pub async fn ready(&self) -> anyhow::Result<()> {
        wait::until(READY_WITHIN, async || {
            for function in FUNCTIONS {
                let ready = self.process(function).await;
                ready.with_context(|| function.to_owned())?;
            }
            Ok(())
        })
        .await
    }

    /// Runs the schedule that expires authorizations now.
    ///
    /// # Errors
    /// When the function does not answer with success.
    pub async fn expire(&self) -> anyhow::Result<()> {
        let port = self.stack.ports.get(Port::Invoke);
        let url = format!("http://127.0.0.1:{port}/2015-03-31/functions/expire/invocations");
        let answer = self.http.post(url).body("{}").send().await?;
        let failed = answer.headers().contains_key("x-amz-function-error");
        ensure!(
            answer.status().is_success() && !failed,
            "expire: {}",
            answer.text().await?
        );
        Ok(())
    }

    /// How many events wait to be sent, or to be noted for settlement or reconciliation.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn pending(&self) -> sqlx::Result<i64> {
        let count = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM outbox_pending)
                  + 2 * (SELECT COUNT(*) FROM outbox_event
                          WHERE type IN ('payment.captured', 'payment.refunded'))
                  - (SELECT COUNT(*) FROM settlement.settlement_source)
                  - (SELECT COUNT(*) FROM recon.recon_transaction)",
        );
        count.fetch_one(&self.database).await
    }

    /// Keeps what a component has logged so far; the next start would replace it.
    ///
    /// # Errors
    /// When the file cannot be moved.
    pub fn keep_log(&self, component: Component, name: &str) -> anyhow::Result<()> {
        let log = self.stack.state.log(component);
        let kept = log.with_file_name(format!("{component}.{name}.log"));
        fs::rename(&log, kept).with_context(|| format!("cannot keep {}", log.display()))
    }

    async fn functions(&self) -> anyhow::Result<Vec<Function>> {
        let url = format!(
            "http://127.0.0.1:{}/functions",
            self.stack.ports.get(Port::Admin)
        );
        let answer = self.http.get(url).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }
}

impl Process {
    /// Sends a signal; a process that has ended is left alone.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The file system of the database alone, or why there is none: what else has data gets a directory
/// elsewhere.
async fn small_disk(folder: &Path, state: &State) -> anyhow::Result<Result<Disk, String>> {
    let data = state.directory().join("data");
    let mounted = Disk::mount(&folder.join("disk.img"), &data).await;
    for component in [Component::Kafka, Component::Redis] {
        let elsewhere = folder.join(component.name());
        fs::create_dir_all(&elsewhere)?;
        symlink(elsewhere.canonicalize()?, state.data(component))?;
    }
    Ok(mounted.map_err(|error| format!("{error:#}")))
}

/// Ends and deletes what an earlier run left in `folder`.
///
/// # Errors
/// When something does not end or cannot be deleted.
pub async fn clear(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        end(&stack_in(State::open(&folder.join("stack"))?)?).await?;
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot delete {}", folder.display()))?;
    }
    Ok(fs::create_dir_all(folder)?)
}

async fn end(stack: &Stack) -> anyhow::Result<()> {
    let data = stack.state.directory().join("data");
    disk::release(&data).await?;
    for component in Component::ALL.into_iter().rev() {
        stack.end(component, End::Kill).await?;
    }
    disk::unmount(&data).await
}

fn stack_in(state: State) -> anyhow::Result<Stack> {
    let executable = env::current_exe()?;
    Ok(Stack {
        root: env::current_dir()?,
        programs: executable
            .parent()
            .context("a program is in a directory")?
            .to_owned(),
        state,
        ports: Ports::free()?,
        detours: HashMap::new(),
    })
}

async fn links(stack: &Stack) -> anyhow::Result<HashMap<Link, Proxy>> {
    let mut links = HashMap::new();
    for (link, component, protocol) in [
        (Link::Database, Component::Mariadb, Protocol::Mysql),
        (Link::Redis, Component::Redis, Protocol::Opaque),
        (Link::Kafka, Component::Kafka, Protocol::Opaque),
        (Link::Http, Component::Runtime, Protocol::Opaque),
    ] {
        let upstream = stack.address(component).parse()?;
        links.insert(link, Proxy::start(upstream, protocol).await?);
    }
    Ok(links)
}

/// Passwords and signing secrets of a stack, which must never be found in a log.
///
/// # Errors
/// When the files cannot be read.
pub fn secrets(stack: &Stack) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Key {
        secret: String,
    }
    let keys: Vec<Key> = serde_json::from_slice(&fs::read(stack.state.secret(KEYS_FILE))?)?;
    let passwords = Secrets::open(&stack.state)?;
    let passwords = passwords.passwords().map(|(_, password)| password.clone());
    Ok(keys
        .into_iter()
        .map(|key| key.secret)
        .chain(passwords)
        .collect())
}
