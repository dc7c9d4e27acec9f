//! The functions with failpoints, run by a runtime of their own on the services that are up.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use client::{Client, key_from_file};
use tokio::{
    process::{Child, Command},
    time::sleep,
};
use toml::{Table, Value};

use crate::point::Scenario;

const MANIFEST: &str = "functions/functions.toml";
/// Functions built with failpoints, and where.
const BUILT: [&str; 5] = ["authorize", "capture", "refund", "void", "outbox-relay"];
const BUILT_IN: &str = "target/failpoints/release";
/// How long anything is waited for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where the services are, from `endpoints.env`.
pub(crate) struct Site {
    state: PathBuf,
    pub(crate) client: Client,
}

/// A runtime; it and its functions end with it.
pub(crate) struct Runtime {
    process: Child,
    log: PathBuf,
}

impl Site {
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let key = key_from_file(Path::new(&variable("KEYS_FILE")?), "demo")?;
        Ok(Self {
            state: variable("PAYFN_STATE")?.into(),
            client: Client::new(&variable("PAYFN_URL")?, key)?,
        })
    }

    /// Starts every function, with a failpoint set or with none, and waits until they serve.
    pub(crate) async fn start(&self, scenario: Option<Scenario>) -> anyhow::Result<Runtime> {
        let manifest = self.state.join("failpoints.toml");
        fs::write(&manifest, manifest_with(scenario)?)?;
        let name =
            scenario.map_or_else(|| "none".to_owned(), |it| it.to_string().replace(' ', "-"));
        let log = self.state.join(format!("logs/failpoint-{name}.log"));
        let output = File::create(&log)?;
        let address = |variable_name| anyhow::Ok(variable(variable_name)?.replace("http://", ""));
        let process = Command::new("target/release/local-lambda")
            .arg("serve")
            .arg("--manifest")
            .arg(&manifest)
            .args(["--http", &address("PAYFN_URL")?])
            .args(["--invoke", &address("INVOKE_URL")?])
            .args(["--admin", &address("ADMIN_URL")?])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .context("target/release/local-lambda")?;
        let mut runtime = Runtime { process, log };
        until("the runtime serves", async || {
            ensure!(runtime.process.try_wait()?.is_none(), "the runtime ended");
            let health = self
                .client
                .send(http::Method::GET, "/healthz", None, None, &[]);
            Ok(health.await.is_ok_and(|answer| answer.status.is_success()))
        })
        .await?;
        Ok(runtime)
    }
}

impl Runtime {
    /// Waits until `function` has reached the scenario's place.
    pub(crate) async fn reached(&self, scenario: Scenario, function: &str) -> anyhow::Result<()> {
        let what = format!("{function} reaches {scenario}");
        let member = format!("\"function\":\"{function}\"");
        until(&what, async || {
            let log = fs::read_to_string(&self.log)?;
            let mut lines = log.lines().filter(|line| line.contains(&member));
            Ok(lines.any(|line| line.contains(&scenario.trace())))
        })
        .await
    }

    /// Kills the runtime, and with it the functions.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }
}

/// The manifest, with the functions that have failpoints in place of the others.
fn manifest_with(scenario: Option<Scenario>) -> anyhow::Result<String> {
    let mut manifest: Table = fs::read_to_string(MANIFEST)?.parse()?;
    let table = |value: Option<&mut Value>| value?.as_table_mut().map(std::mem::take);
    let mut functions = table(manifest.get_mut("functions")).context("[functions]")?;
    for name in BUILT {
        let command = vec![Value::from(format!("{BUILT_IN}/{name}"))];
        let function = functions.get_mut(name).and_then(Value::as_table_mut);
        function
            .context(name)?
            .insert("command".to_owned(), command.into());
    }
    let mut defaults = table(manifest.get_mut("defaults")).context("[defaults]")?;
    let mut environment = table(defaults.get_mut("environment")).context("environment")?;
    if let Some(scenario) = scenario {
        environment.insert("FAILPOINTS".to_owned(), scenario.setting().into());
    }
    defaults.insert("environment".to_owned(), environment.into());
    manifest.insert("defaults".to_owned(), defaults.into());
    manifest.insert("functions".to_owned(), functions.into());
    Ok(manifest.to_string())
}

/// Waits for a condition, at most [`WAIT_MAX`].
pub(crate) async fn until(
    what: &str,
    mut condition: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !condition().await? {
        ensure!(
            began.elapsed() < WAIT_MAX,
            "waited {WAIT_MAX:?} in vain: {what}"
        );
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name)
        .with_context(|| format!("{name} is not set: start it with loadtest/failpoints/run"))
}
