//! Two hosts, each in a network namespace of its own, behind a balancer; one of them is cut off.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::database::Database;
use super::{epoch, manifest};
use crate::harness::{Puppeteer, Runtime, eventually, soon};

/// How long an invocation lasts.
const WORK: Duration = Duration::from_millis(20);
/// How long a client waits before it asks again.
const CLIENT_PATIENCE: Duration = Duration::from_secs(1);
const PORT: u16 = 9000;

/// A network namespace with one cable out of it; gone when dropped.
struct Namespace {
    name: String,
    /// The end of the cable outside.
    cable: String,
    address: String,
}

impl Namespace {
    /// The `number`th of this test: 198.18.77.x is for tests of networks (RFC 2544).
    async fn new(number: usize) -> Self {
        let (outside, inside) = (4 * number + 1, 4 * number + 2);
        let id = std::process::id();
        let namespace = Self {
            name: format!("local-lambda-{id}-{number}"),
            cable: format!("ll{id}o{number}"),
            address: format!("198.18.77.{inside}"),
        };
        let (name, cable) = (&namespace.name, &namespace.cable);
        let end = format!("ll{id}i{number}");
        for command in [
            format!("netns add {name}"),
            format!("link add {cable} type veth peer name {end} netns {name}"),
            format!("address add 198.18.77.{outside}/30 dev {cable}"),
            format!("link set {cable} up"),
            format!("-n {name} address add {}/30 dev {end}", namespace.address),
            format!("-n {name} link set {end} up"),
            format!("-n {name} link set lo up"),
            format!("-n {name} route add default via 198.18.77.{outside}"),
        ] {
            ip(&command).await;
        }
        namespace
    }

    async fn cut_off(&self) {
        ip(&format!("link set {} down", self.cable)).await;
    }

    async fn heal(&self) {
        ip(&format!("link set {} up", self.cable)).await;
    }

    /// Listens on its loopback, which no cable leads to.
    fn listen(&self) -> TcpListener {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let listener = std::thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            TcpListener::bind("127.0.0.1:0").unwrap()
        });
        listener.join().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for arguments in [["link", "del", &self.cable], ["netns", "del", &self.name]] {
            let mut ip = std::process::Command::new("ip");
            let _gone = ip.args(arguments).status();
        }
    }
}

async fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = soon(output).await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}

/// A balancer before the hosts, which it asks for their health.
struct Balancer {
    address: SocketAddr,
    _folder: TempDir,
    _process: Child,
}

impl Balancer {
    fn start(hosts: &[Namespace; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let [first, second] = hosts
            .each_ref()
            .map(|host| format!("{}:{PORT}", host.address));
        let config = format!(
            "defaults\n  mode http\n  timeout connect 500ms\n  timeout client 10s\n\
             \x20 timeout server 10s\n  timeout check 500ms\n  retries 2\n  option redispatch 1\n\
             listen hosts\n  bind {address}\n  balance roundrobin\n  option httpchk GET /healthz\n\
             \x20 default-server inter 200ms fall 2 rise 2\n\
             \x20 server first {first} check\n  server second {second} check\n"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("haproxy")
            .args(["-q", "-db", "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            address,
            _folder: folder,
            _process: process,
        }
    }

    /// The host that answers a request; `None` if none does in time.
    async fn ask(&self) -> Option<String> {
        let client = reqwest::Client::new();
        let url = format!("http://{}/echo", self.address);
        let request = client.post(url).header("x-describe", "1").body("{}");
        let response = request.timeout(CLIENT_PATIENCE).send().await.ok()?;
        let described: Value = response.json().await.ok()?;
        Some(described["environment"]["HOST"].as_str()?.to_owned())
    }

    /// Asks until exactly these hosts have answered the last ten requests, without a failure.
    async fn serve_from(&self, hosts: &[&str]) {
        let expected: BTreeSet<&str> = hosts.iter().copied().collect();
        eventually(async || {
            let mut seen = BTreeSet::new();
            for _ in 0..10 {
                seen.insert(self.ask().await?);
            }
            let seen: BTreeSet<&str> = seen.iter().map(String::as_str).collect();
            (seen == expected).then_some(())
        })
        .await;
    }
}

/// An invocation that is over.
#[derive(Debug, Clone)]
struct Run {
    host: usize,
    epoch: u64,
    /// Of a schedule.
    scheduled: Option<DateTime<Utc>>,
    began: Instant,
    ended: Instant,
}

/// All invocations, of either host.
#[derive(Default)]
struct Runs(Mutex<Vec<Run>>);

impl Runs {
    /// Answers what the functions of a host ask.
    async fn serve(self: Arc<Self>, host: usize, puppeteer: Puppeteer) {
        loop {
            let invocation = puppeteer.next_of_any_time().await;
            let runs = Arc::clone(&self);
            tokio::spawn(async move {
                let began = Instant::now();
                let custom = &invocation.context["clientContext"]["custom"];
                let scheduled = custom["scheduledTime"].as_str();
                let scheduled: Option<DateTime<Utc>> = scheduled.map(|it| it.parse().unwrap());
                let epoch = epoch(&invocation);
                tokio::time::sleep(WORK).await;
                let run = Run {
                    host,
                    epoch,
                    scheduled,
                    began,
                    ended: Instant::now(),
                };
                runs.0.lock().unwrap().push(run);
                invocation.answer("{}").await;
            });
        }
    }

    fn all(&self) -> Vec<Run> {
        self.0.lock().unwrap().clone()
    }

    /// The scheduled ones of an epoch, in order.
    fn times(&self, epoch: u64) -> Vec<DateTime<Utc>> {
        let all = self.all();
        let of_epoch = all.iter().filter(|run| run.epoch == epoch);
        of_epoch.filter_map(|run| run.scheduled).collect()
    }

    /// Waits until there are so many scheduled ones of an epoch more than now.
    async fn await_more(&self, epoch: u64, more: usize) {
        let count = self.times(epoch).len() + more;
        eventually(async || (self.times(epoch).len() >= count).then_some(())).await;
    }

    /// The host whose invocations have this epoch.
    fn host(&self, epoch: u64) -> usize {
        let all = self.all();
        let hosts: BTreeSet<usize> = all
            .iter()
            .filter(|run| run.epoch == epoch)
            .map(|run| run.host)
            .collect();
        assert_eq!(hosts.len(), 1, "epoch {epoch}");
        hosts.into_iter().next().unwrap()
    }
}

/// The manifest of a host.
fn functions(database: &Database, host: &str, control: &str) -> String {
    let functions = format!(
        "[defaults]\nenvironment = {{ CONTROL = '{control}', HOST = '{host}' }}\n\
         [functions.echo]\ncommand = [ECHO]\nroutes = ['POST /echo']\nconcurrency = 8\n\
         [functions.both]\ncommand = [PUPPET]\nconcurrency = 4\n\
         [functions.both.continuous]\nidle_ms = 5\n\
         [[functions.both.schedule]]\ncron = '* * * * * *'\n"
    );
    manifest(database, host, &functions)
}

const HOSTS: [&str; 2] = ["a", "b"];

#[tokio::test]
#[ignore = "needs root and network namespaces: local/runtime/tests/namespaces"]
async fn host_that_is_cut_off_gives_way_and_comes_back() {
    let namespaces = [Namespace::new(0).await, Namespace::new(1).await];
    let port = TcpListener::bind("198.18.77.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let database = Database::start_at(address).await;
    let balancer = Balancer::start(&namespaces);
    let runs = Arc::new(Runs::default());
    let mut hosts = Vec::new();
    let mut puppeteers = tokio::task::JoinSet::new();
    for (host, namespace) in namespaces.iter().enumerate() {
        let puppeteer = Puppeteer::on(namespace.listen());
        let manifest = functions(&database, HOSTS[host], &puppeteer.address());
        puppeteers.spawn(Arc::clone(&runs).serve(host, puppeteer));
        let http = format!("{}:{PORT}", namespace.address);
        hosts.push(Runtime::start_in(&namespace.name, &http, &manifest).await);
    }
    balancer.serve_from(&HOSTS).await;
    runs.await_more(1, 3).await;

    let holder = runs.host(1);
    let other = 1 - holder;
    namespaces[holder].cut_off().await;
    balancer.serve_from(&[HOSTS[other]]).await;
    runs.await_more(2, 4).await;
    assert_eq!(runs.host(2), other);

    namespaces[holder].heal().await;
    balancer.serve_from(&HOSTS).await;
    eventually(async || {
        let (_, sources) = hosts[holder].order(&["sources"]).await;
        sources.contains("standby").then_some(())
    })
    .await;
    runs.await_more(2, 2).await;
    hosts[other].signal(Signal::SIGTERM);
    runs.await_more(3, 2).await;
    assert_eq!(runs.host(3), holder);
    assert!(puppeteers.try_join_next().is_none(), "one has failed");
    check(&runs);
}

/// Every time came up once, and nothing ran at the same time as something of a later epoch.
fn check(runs: &Runs) {
    let second = TimeDelta::seconds(1);
    let [first, second_epoch, third] = [1, 2, 3].map(|epoch| runs.times(epoch));
    assert!(in_steps(&first, second), "{first:?}");
    // The first of another host may be late, and stands for all that were due meanwhile.
    assert_eq!(second_epoch[0] - first[first.len() - 1], second);
    assert!(second_epoch[1] - second_epoch[0] >= second);
    assert!(in_steps(&second_epoch[1..], second), "{second_epoch:?}");
    let last = second_epoch[second_epoch.len() - 1];
    let third: Vec<_> = std::iter::once(last).chain(third).collect();
    assert!(in_steps(&third, second), "{third:?}");

    let all = runs.all();
    for epoch in 1..3 {
        let ended = all.iter().filter(|run| run.epoch <= epoch);
        let began = all.iter().filter(|run| run.epoch > epoch);
        let (ended, began) = (
            ended.map(|it| it.ended).max(),
            began.map(|it| it.began).min(),
        );
        assert!(ended.unwrap() < began.unwrap(), "epoch {epoch}");
    }
    let mut continuous: Vec<_> = all.iter().filter(|run| run.scheduled.is_none()).collect();
    continuous.sort_by_key(|run| run.began);
    for pair in continuous.windows(2) {
        assert!(pair[0].ended <= pair[1].began, "{pair:?}");
    }
}

fn in_steps(times: &[DateTime<Utc>], step: TimeDelta) -> bool {
    times.windows(2).all(|pair| pair[1] - pair[0] == step)
}
