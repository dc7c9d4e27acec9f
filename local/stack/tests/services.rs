//! Real services on free ports and a directory of their own, driven through the command line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, MySqlConnection};
use stack::{
    Component, Port, Ports, State,
    daemon::Daemon,
    endpoints::Endpoints,
    kafka::{self, PARTITIONS},
};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A stack in a temporary directory, ended with the test however that ends.
struct Fixture {
    directory: tempfile::TempDir,
    ports: Ports,
}

impl Fixture {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            ports: Ports::free().unwrap(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let ports = self.ports.variables();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stack"));
        command
            .args(arguments)
            .current_dir(root)
            .env("PAYFN_STATE", self.directory.path())
            .env("PAYFN_MARIADB_BUFFER_POOL", "64M")
            .envs(ports.map(|(variable, number)| (variable, number.to_string())));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs `up` in the foreground, interrupts it once it prints `line`, and tells how it ended.
    fn interrupt_up_at(&self, line: &str) -> ExitStatus {
        let mut command = self.command(&["up", "--services-only"]);
        let mut up = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(up.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        assert!(
            lines.any(|printed| printed.contains(line)),
            "up never printed {line}"
        );
        kill_process(Pid::from_child(&up), Signal::INT).unwrap();
        for _rest in lines {}
        up.wait().unwrap()
    }

    /// What a command prints that has to succeed.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "stack {arguments:?}: {text}");
        text
    }

    fn endpoints(&self) -> HashMap<String, String> {
        Endpoints::read(&self.directory.path().join("endpoints.env")).unwrap()
    }

    fn pid(&self, component: Component) -> Option<u32> {
        let pid_file = self
            .directory
            .path()
            .join(format!("run/{}.pid", component.name()));
        Daemon::find(&pid_file).unwrap().map(|daemon| daemon.pid())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.run(&["down", "--wipe"]);
    }
}

async fn databases(url: &str) -> Vec<String> {
    let mut connection = MySqlConnection::connect(url).await.unwrap();
    let names = sqlx::query_scalar("SELECT schema_name FROM information_schema.schemata");
    names.fetch_all(&mut connection).await.unwrap()
}

async fn redis_is_there(url: &str) -> bool {
    let client = redis::Client::open(url).unwrap();
    let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
        return false;
    };
    redis::cmd("PING")
        .query_async::<String>(&mut connection)
        .await
        .unwrap()
        == "PONG"
}

/// Topics with their numbers of partitions.
fn topics(brokers: &str) -> HashMap<String, usize> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(None, ANSWER_WITHIN).unwrap();
    let topics = metadata.topics().iter();
    topics
        .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
        .collect()
}

#[tokio::test]
async fn up_serves_databases_topics_and_redis_and_a_second_up_changes_nothing() {
    let fixture = Fixture::new();
    let first = fixture.succeed(&["up", "--services-only", "--detach"]);
    assert!(first.contains("payfn is up"), "{first}");
    let endpoints = fixture.endpoints();

    assert!(
        databases(&endpoints["DATABASE_URL_ADMIN"])
            .await
            .contains(&"payment".to_owned())
    );
    let functions = databases(&endpoints["DATABASE_URL_PAYMENT"]).await;
    assert_eq!(functions, ["information_schema", "payment"]);
    assert!(redis_is_there(&endpoints["REDIS_URL"]).await);
    let topics = topics(&endpoints["KAFKA_BROKERS"]);
    for topic in kafka::topics() {
        assert_eq!(
            topics.get(topic).copied(),
            usize::try_from(PARTITIONS).ok(),
            "{topic}"
        );
    }

    let pids = Component::SERVICES.map(|component| fixture.pid(component));
    let second = fixture.succeed(&["up", "--services-only", "--detach"]);
    assert!(second.contains("payfn was up already"), "{second}");
    assert_eq!(
        pids,
        Component::SERVICES.map(|component| fixture.pid(component))
    );
    assert_eq!(endpoints, fixture.endpoints());

    fixture.succeed(&["down", "--wipe"]);
    assert_eq!(
        Component::SERVICES.map(|component| fixture.pid(component)),
        [None; 3]
    );
    for name in ["data", "logs", "run", "secrets", "endpoints.env"] {
        assert!(!fixture.directory.path().join(name).exists(), "{name}");
    }
    fixture.ports.check_free(Port::Kafka).unwrap();
}

#[test]
fn an_interrupted_up_leaves_nothing_running() {
    let fixture = Fixture::new();
    for (line, succeeds) in [("redis runs on", false), ("Ctrl-C stops it", true)] {
        let status = fixture.interrupt_up_at(line);
        assert_eq!(status.success(), succeeds, "{line}");
        assert_eq!(
            Component::ALL.map(|component| fixture.pid(component)),
            [None; 4],
            "{line}"
        );
        assert!(fixture.endpoints().is_empty(), "{line}");
    }
}

#[tokio::test]
async fn a_stopped_redis_is_away_until_it_is_started_on_the_same_port() {
    let fixture = Fixture::new();
    fixture.succeed(&["start", "redis"]);
    let url = fixture.endpoints()["REDIS_URL"].clone();
    assert!(redis_is_there(&url).await);
    fixture.succeed(&["stop", "redis"]);
    assert!(!redis_is_there(&url).await);
    assert_eq!(fixture.pid(Component::Redis), None);
    fixture.succeed(&["start", "redis"]);
    assert!(redis_is_there(&url).await);
}

#[tokio::test]
async fn a_crashed_mariadb_comes_back_with_what_was_committed() {
    let fixture = Fixture::new();
    fixture.succeed(&["start", "mariadb"]);
    let url = fixture.endpoints()["DATABASE_URL_ADMIN"].clone();
    let mut connection = MySqlConnection::connect(&url).await.unwrap();
    for statement in [
        "CREATE TABLE payment.kept (id INT PRIMARY KEY)",
        "INSERT INTO payment.kept VALUES (7)",
    ] {
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    fixture.succeed(&["kill", "mariadb"]);
    assert!(MySqlConnection::connect(&url).await.is_err());
    fixture.succeed(&["start", "mariadb"]);
    let mut connection = MySqlConnection::connect(&url).await.unwrap();
    let kept: i32 = sqlx::query_scalar("SELECT id FROM payment.kept")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 7);
}

#[test]
fn a_taken_port_names_its_variable_and_nothing_is_started() {
    let fixture = Fixture::new();
    let taken = fixture.ports.get(Port::KafkaController);
    let _listener = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let output = fixture.run(&["up", "--services-only", "--detach"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        message.contains(&format!("port {taken} is taken")),
        "{message}"
    );
    assert!(message.contains("PAYFN_KAFKA_CONTROLLER_PORT"), "{message}");
    assert_eq!(
        Component::ALL.map(|component| fixture.pid(component)),
        [None; 4]
    );
}

#[test]
fn a_component_that_does_not_start_is_named_with_the_end_of_its_log() {
    let fixture = Fixture::new();
    let state = State::open(fixture.directory.path()).unwrap();
    // A data directory without the system tables.
    std::fs::create_dir_all(state.data(Component::Mariadb).join("mysql")).unwrap();
    let output = fixture.run(&["start", "mariadb"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(message.contains("mariadb does not start"), "{message}");
    assert!(message.contains("last lines of"), "{message}");
    assert!(message.contains("[ERROR]"), "{message}");
}

#[test]
fn running_components_keep_their_ports() {
    let mut fixture = Fixture::new();
    fixture.succeed(&["start", "redis"]);
    let before = std::mem::replace(&mut fixture.ports, Ports::free().unwrap());
    let output = fixture.run(&["start", "redis"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        message.contains("run local/down before setting another port"),
        "{message}"
    );
    fixture.ports = before;
    fixture.succeed(&["start", "redis"]);
}
