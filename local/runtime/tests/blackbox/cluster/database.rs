//! A MariaDB server of a test's own, which it may end and start again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Connection, Executor, MySqlConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::harness::{eventually, soon};

const DATABASE: &str = "cluster";

pub(crate) struct Database {
    address: SocketAddr,
    folder: TempDir,
    server: Child,
}

impl Database {
    pub(crate) async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        Self::start_at(address).await
    }

    /// Listens on an address of the machine.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = serve(&folder, address).await;
        let database = Self {
            address,
            folder,
            server,
        };
        let create = format!("CREATE DATABASE {DATABASE}");
        let mut connection = database.connect("").await;
        connection
            .execute(sqlx::AssertSqlSafe(create))
            .await
            .unwrap();
        std::fs::write(
            database.url_file(),
            format!("mysql://root@{address}/{DATABASE}\n"),
        )
        .unwrap();
        database
    }

    /// The file with its URL.
    pub(crate) fn url_file(&self) -> PathBuf {
        self.folder.path().join("url")
    }

    /// Ends the server as a power cut would.
    pub(crate) async fn kill(&mut self) {
        soon(self.server.kill()).await.unwrap();
    }

    /// Starts the server again.
    pub(crate) async fn start_again(&mut self) {
        self.server = serve(&self.folder, self.address).await;
    }

    async fn connect(&self, database: &str) -> MySqlConnection {
        let options = MySqlConnectOptions::new()
            .host(&self.address.ip().to_string())
            .port(self.address.port())
            .username("root")
            .database(database);
        eventually(async || MySqlConnection::connect_with(&options).await.ok()).await
    }
}

async fn serve(folder: &TempDir, address: SocketAddr) -> Child {
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let mut server = Command::new("/usr/sbin/mariadbd")
        .arg("--no-defaults")
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--bind-address={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .args([
            "--socket=mariadb.sock",
            "--pid-file=mariadb.pid",
            // There are no tables of users, and none are needed.
            "--skip-grant-tables",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--performance-schema=OFF",
            "--innodb-buffer-pool-size=16M",
            "--innodb-log-file-size=8M",
        ])
        .args(nix::unistd::geteuid().is_root().then_some("--user=root"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually(async || {
        assert!(server.try_wait().unwrap().is_none(), "mariadbd has ended");
        tokio::net::TcpStream::connect(address).await.ok()
    })
    .await;
    server
}
