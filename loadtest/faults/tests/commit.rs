//! The proxy at the moment of COMMIT, against a real server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use faults::{
    plan::Commit,
    proxy::{Protocol, Proxy},
};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, MySqlConnection};
use stack::{Component, Ports, Stack, State, mariadb::ADMIN, secrets::Secrets, wait};
use tokio::sync::Mutex;

const STALL: Duration = Duration::from_millis(700);
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// A server of its own behind a proxy.
struct Server {
    _directory: tempfile::TempDir,
    stack: Stack,
    proxy: Proxy,
    direct: String,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let stack = Stack {
            root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
            programs: PathBuf::new(),
            state: State::open(directory.path()).unwrap(),
            ports: Ports::free().unwrap(),
            detours: HashMap::new(),
        };
        stack.start(Component::Mariadb).await.unwrap();
        let upstream = stack.address(Component::Mariadb).parse().unwrap();
        let proxy = Proxy::start(upstream, Protocol::Mysql).await.unwrap();
        let direct = Secrets::open(&stack.state)
            .unwrap()
            .url(&stack, ADMIN, "payment");
        let server = Self {
            _directory: directory,
            stack,
            proxy,
            direct,
        };
        let mut connection = server.connect(&server.direct).await;
        let table = "CREATE TABLE t (id INT PRIMARY KEY)";
        sqlx::query(table).execute(&mut connection).await.unwrap();
        server
    }

    async fn connect(&self, url: &str) -> MySqlConnection {
        MySqlConnection::connect(url).await.unwrap()
    }

    /// Inserts a row in a transaction through the proxy; whether the COMMIT was answered.
    async fn insert(&self, id: i32) -> bool {
        let port = self.stack.address(Component::Mariadb);
        let proxied = self
            .direct
            .replace(&port, &self.proxy.address().to_string());
        let mut connection = self.connect(&proxied).await;
        let mut tx = connection.begin().await.unwrap();
        sqlx::query("INSERT INTO t VALUES (?)")
            .bind(id)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.is_ok()
    }

    async fn holds(&self, id: i32) -> bool {
        let mut connection = self.connect(&self.direct).await;
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM t WHERE id = ?").bind(id);
        count.fetch_one(&mut connection).await.unwrap_or(0_i64) == 1
    }

    /// Once the server has ended every other connection, what is not there will never be.
    /// `INNODB_TRX` cannot tell: it is renewed only once nobody has read it for a while.
    async fn settled(&self) {
        let connection = Mutex::new(self.connect(&self.direct).await);
        wait::until(SEEN_WITHIN, async || {
            let others = sqlx::query_scalar(
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST
                 WHERE id <> CONNECTION_ID() AND command <> 'Daemon'",
            );
            let others: i64 = others.fetch_one(&mut *connection.lock().await).await?;
            anyhow::ensure!(others == 0, "{others} connections are open");
            Ok(())
        })
        .await
        .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(Some(daemon)) = self.stack.daemon(Component::Mariadb) {
            let pid = Pid::from_raw(daemon.pid().try_into().unwrap()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
        }
    }
}

#[tokio::test]
async fn commits_are_cut_before_and_after_the_server_has_them_and_answers_are_lost_or_late() {
    let server = Server::start().await;
    assert!(
        server.insert(1).await && server.holds(1).await,
        "no trap, no fault"
    );

    server.proxy.trap(Commit::CutBefore, 1, STALL);
    assert!(!server.insert(2).await);
    server.settled().await;
    assert!(!server.holds(2).await, "the server never had the COMMIT");

    server.proxy.trap(Commit::LoseAnswer, 1, STALL);
    assert!(!server.insert(3).await);
    assert!(server.holds(3).await, "the server had answered");

    server.proxy.trap(Commit::CutAfter, 1, STALL);
    assert!(!server.insert(4).await);
    let late = wait::until(SEEN_WITHIN, async || {
        let there = server.holds(4).await.then_some(());
        there.ok_or_else(|| std::io::Error::other("not yet").into())
    });
    assert!(late.await.is_ok(), "the server had the COMMIT");

    server.proxy.trap(Commit::StallAnswer, 1, STALL);
    let began = Instant::now();
    assert!(server.insert(5).await);
    assert!(began.elapsed() >= STALL && server.holds(5).await);

    assert!(
        server.insert(6).await,
        "a trap meets as many commits as it is told"
    );
    assert_eq!(server.proxy.clear(), 1);
}

#[tokio::test]
async fn a_cut_ends_connections_and_a_stall_only_holds_them_up() {
    let server = Server::start().await;
    let proxied = |server: &Server| {
        let port = server.stack.address(Component::Mariadb);
        server
            .direct
            .replace(&port, &server.proxy.address().to_string())
    };
    let mut connection = server.connect(&proxied(&server)).await;

    server.proxy.stall();
    let held = tokio::time::timeout(STALL, connection.ping()).await;
    assert!(held.is_err(), "nothing passes");
    server.proxy.clear();

    let mut connection = server.connect(&proxied(&server)).await;
    connection.ping().await.unwrap();
    server.proxy.cut();
    assert!(connection.ping().await.is_err());
    assert!(MySqlConnection::connect(&proxied(&server)).await.is_err());
    server.proxy.clear();
    server
        .connect(&proxied(&server))
        .await
        .ping()
        .await
        .unwrap();
}
