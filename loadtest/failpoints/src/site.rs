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
use sqlx::{Connection, Executor, MySql, MySqlConnection, QueryBuilder};
use tokio::{
    process::{Child, Command},
    time::sleep,
};
use toml::{Table, Value};

use crate::point::{Action, Scenario};

const MANIFEST: &str = "functions/functions.toml";
/// Functions built with failpoints, and where.
const BUILT: [&str; 6] = [
    "authorize",
    "capture",
    "refund",
    "void",
    "expire",
    "outbox-relay",
];
const BUILT_IN: &str = "target/failpoints";
/// How long anything is waited for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where the services are, from `endpoints.env`.
#[derive(Clone)]
pub(crate) struct Site {
    state: PathBuf,
    /// Of the routes.
    pub(crate) client: Client,
    /// Of the Invoke API.
    pub(crate) invoker: Client,
    /// The payment database, with all rights.
    database_url: String,
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
            client: Client::new(&variable("PAYFN_URL")?, key.clone())?,
            invoker: Client::new(&variable("INVOKE_URL")?, key)?,
            database_url: variable("DATABASE_URL_ADMIN")?,
        })
    }

    async fn database(&self) -> sqlx::Result<MySqlConnection> {
        MySqlConnection::connect(&self.database_url).await
    }

    /// Lets an authorization lapse.
    pub(crate) async fn lapse(&self, payment: &str) -> anyhow::Result<()> {
        let lapse = "UPDATE payment SET expires_at = UTC_TIMESTAMP(3) WHERE payment_id = UNHEX(?)";
        let lapse = sqlx::query(lapse).bind(payment.trim_start_matches("pay_"));
        lapse.execute(&mut self.database().await?).await?;
        Ok(())
    }

    /// Keeps the relay from taking shards over, and so from sending, until the connection is dropped.
    pub(crate) async fn hold_relay(&self) -> anyhow::Result<MySqlConnection> {
        let mut database = self.database().await?;
        database.execute("BEGIN").await?;
        database
            .execute("SELECT shard FROM outbox_owner FOR UPDATE")
            .await?;
        Ok(database)
    }

    /// How many of the keys are claimed, and by how many transactions: those of one share its time.
    pub(crate) async fn claims(&self, keys: &[&str]) -> anyhow::Result<(i64, i64)> {
        let mut query = QueryBuilder::<MySql>::new(
            "SELECT COUNT(*), COUNT(DISTINCT created_at) FROM idem_response_cache WHERE idem_key IN (",
        );
        let mut list = query.separated(", ");
        for key in keys {
            list.push_bind(*key);
        }
        query.push(")");
        let claims = query.build_query_as();
        Ok(claims.fetch_one(&mut self.database().await?).await?)
    }

    /// Waits until settlement and reconciliation know every capture and refund.
    pub(crate) async fn everything_arrived(&self) -> anyhow::Result<()> {
        let missing = "SELECT 2 * (SELECT COUNT(*) FROM payment.outbox_event
                                     WHERE type IN ('payment.captured', 'payment.refunded'))
                            - (SELECT COUNT(*) FROM settlement.settlement_source)
                            - (SELECT COUNT(*) FROM recon.recon_transaction)";
        until("every capture and refund has arrived", async || {
            let missing = sqlx::query_scalar::<_, i64>(missing);
            Ok(missing.fetch_one(&mut self.database().await?).await? == 0)
        })
        .await
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
    /// Waits until `function` has done `action` at the scenario's place so many times.
    pub(crate) async fn reached(
        &self,
        scenario: Scenario,
        action: Action,
        function: &str,
        times: usize,
    ) -> anyhow::Result<()> {
        let what = format!("{function} reaches {scenario}");
        let member = format!("\"function\":\"{function}\"");
        until(&what, async || {
            let log = fs::read_to_string(&self.log)?;
            let lines = log.lines().filter(|line| line.contains(&member));
            let reached = lines.filter(|line| line.contains(&scenario.trace(action)));
            Ok(reached.count() >= times)
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
    // Invoked here, never by its schedule.
    let expire = functions.get_mut("expire").and_then(Value::as_table_mut);
    expire.context("expire")?.remove("schedule");
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

pub(crate) fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name)
        .with_context(|| format!("{name} is not set: start it with loadtest/failpoints/run"))
}
