//! What a stack is made of, and how each part is started and stopped.

use std::{
    collections::HashMap,
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;

use crate::{
    Port, Ports, State,
    daemon::{Daemon, End, Setup},
    endpoints::Endpoints,
    kafka, mariadb, redis, runtime,
    secrets::Secrets,
    wait,
};

/// How long a component may take until it answers.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A daemon of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Component {
    /// The databases.
    Mariadb,
    /// Rate limits and caches.
    Redis,
    /// The event log.
    Kafka,
    /// The function runtime.
    Runtime,
}

impl Component {
    /// What functions use.
    pub const SERVICES: [Self; 3] = [Self::Mariadb, Self::Redis, Self::Kafka];
    /// All of them; each can work once those before it do.
    pub const ALL: [Self; 4] = [Self::Mariadb, Self::Redis, Self::Kafka, Self::Runtime];

    /// Its name on the command line and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mariadb => "mariadb",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
            Self::Runtime => "runtime",
        }
    }

    /// The ports it listens on, the main one first.
    #[must_use]
    pub fn ports(self) -> &'static [Port] {
        match self {
            Self::Mariadb => &[Port::Mariadb],
            Self::Redis => &[Port::Redis],
            Self::Kafka => &[Port::Kafka, Port::KafkaController],
            Self::Runtime => &[Port::Http, Port::Invoke, Port::Admin],
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// One stack: a checkout, a state directory and ports.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The root of the checkout.
    pub root: PathBuf,
    /// Where the checkout's programs are.
    pub programs: PathBuf,
    /// The state directory.
    pub state: State,
    /// The ports it uses.
    pub ports: Ports,
    /// Where functions reach a service instead of at its own port, through a proxy for instance.
    pub detours: HashMap<Component, String>,
}

impl Stack {
    /// The stack that the environment describes, of the checkout in the working directory.
    ///
    /// # Errors
    /// When the state directory cannot be made, or a port is none.
    pub fn open() -> anyhow::Result<Self> {
        let root = env::current_dir()?;
        let set = env::var_os("PAYFN_STATE").filter(|directory| !directory.is_empty());
        let directory = set.map_or_else(|| "local/.state".into(), PathBuf::from);
        let state =
            State::open(&directory).with_context(|| format!("state {}", directory.display()))?;
        let recorded = Endpoints::read(&state.endpoints())?;
        let ports = Ports::resolve(|name| env::var(name).ok(), &recorded)?;
        let executable = env::current_exe()?;
        let programs = executable.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Self {
            root,
            programs,
            state,
            ports,
            detours: HashMap::new(),
        })
    }

    /// A program of this checkout.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn program(&self, name: &str) -> anyhow::Result<String> {
        let path = self.programs.join(name);
        let built = path.is_file().then(|| path.display().to_string());
        built.with_context(|| {
            format!(
                "{} is missing: run local/up, which builds it",
                path.display()
            )
        })
    }

    /// The process of a component, if it runs.
    ///
    /// # Errors
    /// When its pid file cannot be read.
    pub fn daemon(&self, component: Component) -> anyhow::Result<Option<Daemon>> {
        Daemon::find(&self.state.pid_file(component))
    }

    /// The components that run.
    ///
    /// # Errors
    /// When a pid file cannot be read.
    pub fn running(&self) -> anyhow::Result<Vec<Component>> {
        let mut running = Vec::new();
        for component in Component::ALL {
            running.extend(self.daemon(component)?.map(|_| component));
        }
        Ok(running)
    }

    /// The address of a component's main port.
    #[must_use]
    pub fn address(&self, component: Component) -> String {
        format!("127.0.0.1:{}", self.ports.get(component.ports()[0]))
    }

    /// The address at which functions reach a component.
    #[must_use]
    pub fn reached_at(&self, component: Component) -> String {
        let detour = self.detours.get(&component).cloned();
        detour.unwrap_or_else(|| self.address(component))
    }

    /// Checks that no other program has a port that a component which does not run would need.
    ///
    /// # Errors
    /// For the first port taken, naming the variable to set.
    pub fn check_ports(&self, components: &[Component]) -> anyhow::Result<()> {
        for component in components {
            if self.daemon(*component)?.is_none() {
                component
                    .ports()
                    .iter()
                    .try_for_each(|port| self.ports.check_free(*port))?;
            }
        }
        Ok(())
    }

    /// Makes what is missing of the secrets and writes down the addresses.
    ///
    /// # Errors
    /// When a file cannot be written, or the stack runs with other ports.
    pub fn prepare(&self) -> anyhow::Result<Secrets> {
        self.check_recorded(&Endpoints::read(&self.state.endpoints())?)?;
        let secrets = Secrets::open(&self.state)?;
        secrets.write_urls(self)?;
        Endpoints::of(self, &secrets).write(&self.state)?;
        Ok(secrets)
    }

    /// Waits until a component answers, after starting it unless it runs already.
    ///
    /// # Errors
    /// Names the component and shows the end of its log.
    pub async fn start(&self, component: Component) -> anyhow::Result<()> {
        let started = self.start_and_wait(component).await;
        started.with_context(|| format!("{component} does not start"))
    }

    /// Ends a component; one that does not run is left alone.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn end(&self, component: Component, how: End) -> anyhow::Result<()> {
        if let Some(daemon) = self.daemon(component)? {
            daemon
                .end(how)
                .await
                .with_context(|| format!("{component} does not stop"))?;
        }
        Ok(())
    }

    async fn start_and_wait(&self, component: Component) -> anyhow::Result<()> {
        let secrets = self.prepare()?;
        let daemon = match self.daemon(component)? {
            Some(running) => running,
            None => self.spawn(component, &secrets).await?,
        };
        let answered = tokio::select! {
            ended = daemon.ended() => Err(ended.map_or_else(Into::into, |()| anyhow!("it ended"))),
            answered = wait::until(READY_WITHIN, || self.answers(component, &secrets)) => answered,
        };
        answered.map_err(|error| anyhow!("{error:#}\n{}", self.state.log_tail(component)))
    }

    async fn spawn(&self, component: Component, secrets: &Secrets) -> anyhow::Result<Daemon> {
        self.check_ports(&[component])?;
        let command = match component {
            Component::Mariadb => mariadb::command(self, secrets).await,
            Component::Redis => redis::command(self),
            Component::Kafka => kafka::command(self).await,
            Component::Runtime => runtime::command(self),
        }?;
        let environment = runtime::environment(self);
        let setup = Setup {
            directory: &self.root,
            environment: &environment,
        };
        let log = self.state.new_log(component)?;
        Daemon::spawn(&command, log, &self.state.pid_file(component), setup)
    }

    async fn answers(&self, component: Component, secrets: &Secrets) -> anyhow::Result<()> {
        match component {
            Component::Mariadb => mariadb::answers(self, secrets).await,
            Component::Redis => redis::answers(self).await,
            Component::Kafka => kafka::answers(self).await,
            Component::Runtime => runtime::answers(self).await,
        }
    }

    /// While something runs, its ports stay those it was started with.
    fn check_recorded(&self, recorded: &HashMap<String, String>) -> anyhow::Result<()> {
        let moved = self.ports.variables().find(|(variable, number)| {
            recorded
                .get(*variable)
                .is_some_and(|recorded| *recorded != number.to_string())
        });
        if let Some((variable, _)) = moved
            && !self.running()?.is_empty()
        {
            return Err(anyhow!(
                "this stack runs with {variable}={}: run local/down before setting another port",
                recorded[variable]
            ));
        }
        Ok(())
    }
}
