//! Starts a runtime, and plays the part of its functions.

mod agent;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use self::agent::Agent;
use self::agent::{Wanted, have_attached};

/// Longest wait for anything that must happen; only a broken runtime gets near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Names in a runtime's folder.
const MANIFEST: &str = "functions.toml";
const STATE: &str = "state";
const TOKEN: &str = "token";
/// Pause between two looks at a condition that cannot be awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What instances are: containers are made of the images that `tests/docker` builds, and those that
/// attach have an agent for each function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Driver {
    Process,
    Docker,
    Attach,
}

/// Makes a test of each function named, under either driver.
macro_rules! under_either_driver {
    ($($test:ident)*) => {
        mod process {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::harness::Driver::Process).await;
            })*
        }
        mod docker {
            $(#[tokio::test]
            #[ignore = "needs a Docker engine: local/runtime/tests/docker"]
            async fn $test() {
                super::$test(crate::harness::Driver::Docker).await;
            })*
        }
    };
}
pub(crate) use under_either_driver;

/// Makes a test of each function named, for instances that attach.
macro_rules! attached {
    ($($test:ident)*) => {
        mod attached {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::harness::Driver::Attach).await;
            })*
        }
    };
}
pub(crate) use attached;

/// Makes two tests of each function named: for processes that the runtime starts, and that attach.
macro_rules! started_and_attached {
    ($($test:ident)*) => {
        mod started {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::harness::Driver::Process).await;
            })*
        }
        crate::harness::attached! { $($test)* }
    };
}
pub(crate) use started_and_attached;

/// A running runtime; killed when dropped.
pub(crate) struct Runtime {
    pub(crate) process: Child,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
    pub(crate) http: SocketAddr,
    pub(crate) invoke: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) client: reqwest::Client,
    /// Where instances attach, if they may.
    pub(crate) attach: Option<SocketAddr>,
    pub(crate) agents: Vec<Agent>,
    driver: Driver,
    folder: Arc<TempDir>,
    /// The network namespace it runs in, if in one of its own.
    namespace: Option<String>,
}

/// The runtime's program.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_local-lambda"))
}

/// Runs the runtime's program, in a network namespace if one is named.
fn command(namespace: Option<&str>) -> Command {
    let Some(namespace) = namespace else {
        return Command::new(program());
    };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}"));
    command.arg(program());
    command
}

/// The program of a test function.
pub(crate) fn example(name: &str) -> PathBuf {
    program().with_file_name("examples").join(name)
}

/// Runs `future`, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("it happens within the test's patience")
}

/// Waits until `condition` gives a value.
pub(crate) async fn eventually<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await
}

/// Options for free ports.
const ANYWHERE: [&str; 6] = [
    "--http",
    "127.0.0.1:0",
    "--invoke",
    "127.0.0.1:0",
    "--admin",
    "127.0.0.1:0",
];

impl Runtime {
    /// Starts a runtime for `manifest`, in which `ECHO` and `PUPPET` stand for the test functions
    /// and `CONTROL` for the address of a [`Puppeteer`]; returns once every instance is ready.
    pub(crate) async fn start(manifest: &str) -> Self {
        Self::start_under(Driver::Process, manifest).await
    }

    /// As [`Runtime::start`], under either driver.
    pub(crate) async fn start_under(driver: Driver, manifest: &str) -> Self {
        let runtime = Self::launch_under(driver, manifest, &[]).await;
        runtime.ready().await;
        runtime
    }

    /// As [`Runtime::start`], without waiting for the instances.
    pub(crate) async fn launch(manifest: &str) -> Self {
        Self::launch_under(Driver::Process, manifest, &[]).await
    }

    /// As [`Runtime::launch`], under either driver; `variables` are added to its environment.
    pub(crate) async fn launch_under(
        driver: Driver,
        manifest: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(TOKEN), "a token of some length").unwrap();
        let wanted = write_manifest(driver, &folder, manifest);
        let mut runtime = Self::launch_in(Arc::new(folder), driver, &ANYWHERE, variables).await;
        for wanted in wanted {
            runtime.add_agent(&wanted.function, wanted.instances, &wanted.command);
        }
        runtime
    }

    /// As [`Runtime::start`], in a network namespace, where it serves HTTP at the address `http`.
    pub(crate) async fn start_in(namespace: &str, http: &str, manifest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_manifest(Driver::Process, &folder, manifest);
        let options = [&["--http", http], &ANYWHERE[2..]].concat();
        Self::launch_as(
            Arc::new(folder),
            Some(namespace),
            Driver::Process,
            &options,
            &[],
        )
        .await
    }

    async fn launch_in(
        folder: Arc<TempDir>,
        driver: Driver,
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        Self::launch_as(folder, None, driver, options, variables).await
    }

    async fn launch_as(
        folder: Arc<TempDir>,
        namespace: Option<&str>,
        driver: Driver,
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = command(namespace);
        if driver == Driver::Attach {
            let token = folder.path().join(TOKEN);
            command.args(["serve", "--attach-token-file"]).arg(token);
            if !options.contains(&"--attach") {
                command.args(["--attach", "127.0.0.2:0"]);
            }
        } else {
            let driver = format!("{driver:?}").to_lowercase();
            command.args(["serve", "--driver", &driver]);
        }
        let mut process = command
            .arg("--manifest")
            .arg(folder.path().join(MANIFEST))
            .arg("--state")
            .arg(folder.path().join(STATE))
            .args(options)
            .env("RUNTIME_ONLY", "not for functions")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = lines_of(&mut process);
        let started = await_line(&mut lines, |line| line["http"].is_string()).await;
        let address = |name: &str| started[name].as_str().unwrap().parse().unwrap();
        Self {
            http: address("http"),
            invoke: address("invoke"),
            admin: address("admin"),
            attach: started["attach"].as_str().map(|it| it.parse().unwrap()),
            process,
            lines,
            client: reqwest::Client::new(),
            agents: Vec::new(),
            driver,
            folder,
            namespace: namespace.map(str::to_owned),
        }
    }

    /// Ends with `signal`, and starts again with the same manifest and state, and the same agents.
    pub(crate) async fn start_again_after(mut self, signal: Signal) -> Self {
        self.signal(signal);
        soon(self.process.wait()).await.unwrap();
        let attach = self.attach.map(|it| it.to_string());
        let mut options = ANYWHERE.to_vec();
        options.extend(attach.iter().flat_map(|it| ["--attach", it]));
        let mut runtime = Self::launch_in(self.folder, self.driver, &options, &[]).await;
        runtime.agents = self.agents;
        runtime.ready().await;
        runtime
    }

    /// Starts the runtime that takes this one's place; returns as soon as it has its sockets.
    pub(crate) async fn launch_successor(&self) -> Self {
        let admin = self.admin.to_string();
        let options = ["--take-over", "--admin", &admin];
        Self::launch_in(Arc::clone(&self.folder), self.driver, &options, &[]).await
    }

    /// The folder of the events that are not over.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join(STATE)
    }

    /// Replaces the manifest.
    pub(crate) fn write(&self, manifest: &str) {
        write_manifest(self.driver, &self.folder, manifest);
    }

    /// Replaces the manifest, and changes nothing in it.
    pub(crate) fn write_as_it_is(&self, manifest: &str) {
        std::fs::write(self.folder.path().join(MANIFEST), manifest).unwrap();
    }

    /// Replaces the manifest and has it read; what `local-lambda reload` prints.
    pub(crate) async fn reload(&self, manifest: &str) -> (bool, String) {
        self.write(manifest);
        self.order(&["reload"]).await
    }

    /// Runs a command of `local-lambda` on this runtime; whether it succeeds, and what it prints.
    pub(crate) async fn order(&self, arguments: &[&str]) -> (bool, String) {
        let address = self.admin.to_string();
        let mut command = command(self.namespace.as_deref());
        command.args(arguments).args(["--admin", &address]);
        let output = soon(command.output()).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Sends a request to the HTTP address in a task of its own.
    pub(crate) fn post(&self, path: &str) -> JoinHandle<reqwest::Response> {
        let request = self.client.post(self.url(path)).body("{}");
        tokio::spawn(async move { soon(request.send()).await.unwrap() })
    }

    /// Invokes a function through the Invoke API.
    pub(crate) async fn invoke(&self, function: &str, payload: &str) -> reqwest::Response {
        let request = self.invocation(function).body(payload.to_owned());
        soon(request.send()).await.unwrap()
    }

    /// A request to the Invoke API for a function, which may be named in any form.
    pub(crate) fn invocation(&self, function: &str) -> reqwest::RequestBuilder {
        let address = self.invoke;
        let url = format!("http://{address}/2015-03-31/functions/{function}/invocations");
        self.client.post(url)
    }

    /// `GET` from the admin address.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let response = self
            .client
            .get(format!("http://{}{path}", self.admin))
            .send();
        soon(response).await.unwrap().text().await.unwrap()
    }

    /// The instances of a function, as `ps` sees them.
    pub(crate) async fn function(&self, name: &str) -> Value {
        let functions: Vec<Value> = serde_json::from_str(&self.admin("/functions").await).unwrap();
        functions
            .into_iter()
            .find(|function| function["name"] == name)
            .unwrap()
    }

    /// The process ids of a function's instances, once each has one: a container that is being started
    /// has none yet.
    pub(crate) async fn pids(&self, name: &str) -> Vec<i32> {
        eventually(async || {
            let function = self.function(name).await;
            let instances = function["instances"].as_array().unwrap();
            let pid = |instance: &Value| i32::try_from(instance["pid"].as_i64().unwrap()).unwrap();
            let pids: Vec<i32> = instances.iter().map(pid).collect();
            (!pids.contains(&0)).then_some(pids)
        })
        .await
    }

    /// The value of the metric whose line begins with `name`.
    pub(crate) async fn metric(&self, name: &str) -> Option<String> {
        let metrics = self.admin("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next().map(str::to_owned)
    }

    /// Waits until `count` calls of a function wait for an instance.
    pub(crate) async fn queued(&self, function: &str, count: u64) {
        eventually(async || (self.function(function).await["queued"] == count).then_some(())).await;
    }

    /// Waits until every function has the instances that are kept running.
    pub(crate) async fn ready(&self) {
        eventually(async || {
            let functions: Vec<Value> =
                serde_json::from_str(&self.admin("/functions").await).unwrap();
            let instances = |function: &Value| function["instances"].as_array().unwrap().clone();
            let ready = |function: &Value| {
                let instances = instances(function);
                let kept = usize::try_from(function["minInstances"].as_u64().unwrap()).unwrap();
                let agents = self
                    .agents
                    .iter()
                    .filter(|it| function["name"] == *it.function);
                let attached: usize = agents.map(|it| it.instances).sum();
                instances.len() >= kept.max(attached)
                    && instances.iter().all(|it| it["state"] == "ready")
            };
            functions.iter().all(ready).then_some(())
        })
        .await;
    }

    /// Waits until so many instances of a function have nothing to do.
    pub(crate) async fn has_idle(&self, function: &str, idle: usize) {
        eventually(async || {
            let function = self.function(function).await;
            let instances = function["instances"].as_array().unwrap();
            let is_idle = |it: &&Value| it["state"] == "ready" && it["inFlight"] == 0;
            (instances.iter().filter(is_idle).count() == idle).then_some(())
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// The first line of the log that fits.
    pub(crate) async fn await_line(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        await_line(&mut self.lines, fits).await
    }
}

/// Writes the manifest's file, with the test functions' programs, and images where they are needed.
/// Where instances attach: those to attach.
fn write_manifest(driver: Driver, folder: &TempDir, manifest: &str) -> Vec<Wanted> {
    let mut text = manifest.to_owned();
    for function in ["echo", "puppet", "streamer"] {
        let name = function.to_uppercase();
        let image = format!("image = 'local-lambda-test/{function}:dev'");
        if driver == Driver::Docker {
            text = text.replace(&format!("[{name}]"), &format!("[{name}]\n{image}"));
        }
        text = text.replace(
            &name,
            &format!("{:?}", example(function).display().to_string()),
        );
    }
    let wanted = if driver == Driver::Attach {
        have_attached(&mut text)
    } else {
        Vec::new()
    };
    std::fs::write(folder.path().join(MANIFEST), text).unwrap();
    wanted
}

/// The lines of a process' standard output.
pub(crate) fn lines_of(process: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(process.stdout.take().unwrap()).lines()
}

/// The first line that fits.
pub(crate) async fn await_line(
    lines: &mut Lines<BufReader<ChildStdout>>,
    fits: impl Fn(&Value) -> bool,
) -> Value {
    soon(async {
        loop {
            let line = lines
                .next_line()
                .await
                .unwrap()
                .expect("the runtime still logs");
            let line: Value = serde_json::from_str(&line).expect("every line is JSON");
            if fits(&line) {
                return line;
            }
        }
    })
    .await
}

/// Clients that send one request after the other to a path, on connections they keep, and each time
/// expect a 200.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    /// Starts so many clients.
    pub(crate) fn start(clients: usize, runtime: &Runtime, path: &str) -> Self {
        Self::of(clients, runtime, path, reqwest::Client::new)
    }

    /// As [`Load::start`], with clients that speak HTTP/2.
    pub(crate) fn over_http2(clients: usize, runtime: &Runtime, path: &str) -> Self {
        let client = || reqwest::Client::builder().http2_prior_knowledge().build();
        Self::of(clients, runtime, path, || client().unwrap())
    }

    fn of(
        clients: usize,
        runtime: &Runtime,
        path: &str,
        client: impl Fn() -> reqwest::Client,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let started = |_| {
            let (client, url) = (client(), runtime.url(path));
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                let mut answered = 0;
                while !over.load(Ordering::Relaxed) {
                    let response = soon(client.post(&url).body("{}").send()).await.unwrap();
                    assert_eq!(response.status(), 200);
                    answered += 1;
                }
                answered
            })
        };
        let clients = (0..clients).map(started).collect();
        Self { over, clients }
    }

    /// Ends them; fails if one has met a failure, or got no answer.
    pub(crate) async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert!(client.await.unwrap() > 0);
        }
    }
}

/// A member of what the kernel tells of a process, such as `Uid:`.
pub(crate) fn status_of(pid: i32, member: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(member));
    line.unwrap().trim().to_owned()
}

/// Whether a process is there; one that has ended but was not waited for is not.
pub(crate) fn is_alive(pid: i32) -> bool {
    state(&format!("/proc/{pid}")).is_some_and(|state| state != 'Z')
}

/// Stops a process, and returns once none of its threads runs any more.
pub(crate) async fn pause(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    eventually(async || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut states = threads.map(|it| state(&it.unwrap().path().display().to_string()));
        states.all(|state| state == Some('T')).then_some(())
    })
    .await;
}

/// The state of the process or thread that the folder describes.
fn state(folder: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("{folder}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// Answers for the functions that run `puppet`.
pub(crate) struct Puppeteer {
    listener: TcpListener,
}

/// One invocation of a puppet, waiting for its answer.
pub(crate) struct Invocation {
    control: BufReader<TcpStream>,
    pub(crate) event: Value,
    pub(crate) pid: i32,
    /// `{"requestId","clientContext","tenantId"}`
    pub(crate) context: Value,
}

impl Puppeteer {
    pub(crate) async fn new() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// Listens where `listener` does.
    pub(crate) fn on(listener: std::net::TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        Self {
            listener: TcpListener::from_std(listener).unwrap(),
        }
    }

    /// A runtime with the patient function `puppet` at `POST /puppet`; `members` go into its table, and
    /// `rest` comes after it.
    pub(crate) async fn start(&self, members: &str, rest: &str) -> Runtime {
        self.start_under(Driver::Process, members, rest).await
    }

    /// As [`Puppeteer::start`], under either driver.
    pub(crate) async fn start_under(&self, driver: Driver, members: &str, rest: &str) -> Runtime {
        let runtime = Runtime::launch_under(driver, &self.manifest(members, rest), &[]).await;
        runtime.ready().await;
        runtime
    }

    /// The manifest of [`Puppeteer::start`].
    pub(crate) fn manifest(&self, members: &str, rest: &str) -> String {
        let control = self.address();
        format!(
            "[defaults]\ntimeout_s = 60\nqueue_wait_ms = 60000\nenvironment = {{ CONTROL = \"{control}\" }}\n\
             [functions.puppet]\ncommand = [PUPPET]\nroutes = [\"POST /puppet\"]\n{members}\n{rest}"
        )
    }

    /// The value of `CONTROL`.
    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// The next invocation.
    pub(crate) async fn next(&self) -> Invocation {
        soon(self.next_of_any_time()).await
    }

    /// The next invocation, of which nobody knows whether it comes.
    pub(crate) async fn next_of_any_time(&self) -> Invocation {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut control = BufReader::new(stream);
        let mut line = String::new();
        soon(control.read_line(&mut line)).await.unwrap();
        let mut question: Value = serde_json::from_str(&line).unwrap();
        let pid = i32::try_from(question["pid"].as_i64().unwrap()).unwrap();
        Invocation {
            control,
            event: question["event"].take(),
            pid,
            context: question,
        }
    }
}

impl Invocation {
    /// Has the function log a line, which reaches the runtime before any answer.
    pub(crate) async fn log(&mut self, line: &str) {
        self.say(&format!("log {line}")).await;
    }

    /// Ends the invocation with `answer`: JSON, `fail`, `exit` or `swell`.
    pub(crate) async fn answer(mut self, answer: &str) {
        self.say(answer).await;
    }

    /// Tells the function one line.
    pub(crate) async fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.control.write_all(line.as_bytes()).await.unwrap();
    }
}
