//! One MariaDB server with a database and two users for each service.

use std::{env, fmt::Write as _, fs, path::Path};

use anyhow::Context as _;
use sqlx::{Connection as _, MySqlConnection};
use tokio::process::Command;

use crate::{Component, Port, Stack, program, secrets::Secrets, state};

/// The services that have a database; a service, its database and the folder of its migrations
/// have the same name.
pub const SERVICES: [&str; 5] = ["payment", "settlement", "recon", "dlq", "notify"];
/// May do anything; for tests and for looking inside.
pub const ADMIN: &str = "admin";
/// Not in the search path of every user.
const SERVER: &str = "/usr/sbin/mariadbd";
/// Memory for pages, unless `PAYFN_MARIADB_BUFFER_POOL` says otherwise.
const BUFFER_POOL: &str = "512M";

/// The database users: an administrator, and for each service one that owns the tables and one
/// whose rights migrations give.
#[must_use]
pub fn users() -> Vec<String> {
    let of_service = |service| [format!("{service}_migrate"), format!("{service}_fn")];
    SERVICES
        .into_iter()
        .flat_map(of_service)
        .chain([ADMIN.to_owned()])
        .collect()
}

/// The server's command, once its data directory is there.
///
/// # Errors
/// When the data directory or the file of users cannot be made.
pub async fn command(stack: &Stack, secrets: &Secrets) -> anyhow::Result<Vec<String>> {
    let data = stack.state.data(Component::Mariadb);
    if !data.join("mysql").exists() {
        install(stack).await?;
    }
    let users = stack.state.secret("mariadb-init.sql");
    state::write_private(&users, &init_sql(secrets)?)?;

    let buffer_pool = env::var("PAYFN_MARIADB_BUFFER_POOL").unwrap_or_else(|_| BUFFER_POOL.into());
    let mut command = vec![SERVER.to_owned(), "--no-defaults".to_owned()];
    command.extend(SETTINGS.map(str::to_owned));
    let temporary = data.with_extension("tmp");
    fs::create_dir_all(&temporary)?;
    command.extend([
        format!("--datadir={}", data.display()),
        tmpdir(&temporary),
        format!("--port={}", stack.ports.get(Port::Mariadb)),
        format!("--init-file={}", users.display()),
        format!("--innodb-buffer-pool-size={buffer_pool}"),
    ]);
    command.extend(user());
    Ok(command)
}

/// What differs from the server's own defaults.
const SETTINGS: [&str; 19] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    // Relative to the data directory, so that its length has no limit of 107 bytes.
    "--socket=mariadb.sock",
    "--pid-file=mariadb.pid",
    // An acknowledged commit is on the disk. There is no replica to feed with a binary log.
    "--innodb-flush-log-at-trx-commit=1",
    "--skip-log-bin",
    "--innodb-flush-method=O_DIRECT",
    "--innodb-log-file-size=512M",
    // A lock wait that times out leaves no half of a transaction behind.
    "--innodb-lock-wait-timeout=2",
    "--innodb-rollback-on-timeout=ON",
    "--transaction-isolation=READ-COMMITTED",
    // A client that hangs inside a transaction loses it, and the locks become free.
    "--idle-write-transaction-timeout=10",
    "--idle-transaction-timeout=60",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--default-time-zone=+00:00",
    "--max-connections=400",
    "--performance-schema=OFF",
    "--local-infile=OFF",
];

/// Succeeds once the users of [`users`] can connect.
///
/// # Errors
/// While the server does not answer.
pub async fn answers(stack: &Stack, secrets: &Secrets) -> anyhow::Result<()> {
    let connection = MySqlConnection::connect(&secrets.url(stack, ADMIN, "")).await?;
    Ok(connection.close().await?)
}

/// How many events wait to be sent to Kafka.
///
/// # Errors
/// When the server does not answer or the table is not there yet.
pub async fn outbox_pending(stack: &Stack, secrets: &Secrets) -> anyhow::Result<i64> {
    let url = secrets.url(stack, ADMIN, "payment");
    let mut connection = MySqlConnection::connect(&url).await?;
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM outbox_pending");
    let pending = count.fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(pending)
}

/// Makes the data directory: beside its place first, so that one made by half is never used.
async fn install(stack: &Stack) -> anyhow::Result<()> {
    let data = stack.state.data(Component::Mariadb);
    let beside = data.parent().context("the data directory has a parent")?;
    fs::create_dir_all(beside)?;
    let new = tempfile::Builder::new()
        .prefix("mariadb.new-")
        .tempdir_in(beside)?;
    let [partial, temporary] = ["data", "tmp"].map(|name| new.path().join(name));
    fs::create_dir(&temporary)?;
    let mut install = Command::new("mariadb-install-db");
    install
        .arg("--no-defaults")
        .arg(format!("--datadir={}", partial.display()))
        .arg(tmpdir(&temporary))
        .args([
            "--skip-test-db",
            "--skip-name-resolve",
            "--innodb-log-file-size=512M",
        ])
        .arg("--auth-root-authentication-method=socket")
        .args(user());
    program::run(&mut install).await?;
    fs::rename(&partial, &data).with_context(|| format!("cannot make {}", data.display()))
}

/// What the server runs each time it starts, before it takes connections.
fn init_sql(secrets: &Secrets) -> anyhow::Result<String> {
    let mut sql = String::new();
    for (user, password) in secrets.passwords() {
        writeln!(
            sql,
            "CREATE USER IF NOT EXISTS {user}@'%' IDENTIFIED BY '{password}';"
        )?;
        writeln!(sql, "ALTER USER {user}@'%' IDENTIFIED BY '{password}';")?;
    }
    writeln!(sql, "GRANT ALL ON *.* TO {ADMIN}@'%' WITH GRANT OPTION;")?;
    for service in SERVICES {
        writeln!(sql, "CREATE DATABASE IF NOT EXISTS {service};")?;
        writeln!(
            sql,
            "GRANT ALL ON {service}.* TO {service}_migrate@'%' WITH GRANT OPTION;"
        )?;
    }
    Ok(sql)
}

/// A directory of its own for temporary tables: a server that starts deletes those of every other
/// server that shares the directory, and the other one crashes.
fn tmpdir(directory: &Path) -> String {
    format!("--tmpdir={}", directory.display())
}

/// The server refuses to be root unless told so, and to be told a user by anyone else.
fn user() -> Option<String> {
    rustix::process::getuid()
        .is_root()
        .then(|| "--user=root".to_owned())
}
