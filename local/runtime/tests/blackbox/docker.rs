//! What only containers have. An engine must be there, as `tests/docker` sees to.

use std::path::Path;
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::harness::{Driver, Puppeteer, Runtime, eventually, example, is_alive, soon, status_of};

const OK: &str = r#"{"statusCode":200,"body":"done"}"#;

async fn run(arguments: &[&str]) -> Output {
    let output = Command::new("docker").args(arguments).output();
    soon(output).await.unwrap()
}

/// Runs the Docker client; what it prints.
async fn docker(arguments: &[&str]) -> String {
    let output = run(arguments).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
#[ignore = "needs a Docker engine: local/runtime/tests/docker"]
async fn a_container_has_no_more_rights_than_a_function_needs() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer
        .start_under(Driver::Docker, "memory_mb = 96", "")
        .await;
    let pid = runtime.pids("puppet").await[0];
    let user = status_of(pid, "Uid:");
    assert!(!user.split_whitespace().any(|id| id == "0"), "{user}");
    assert_eq!(status_of(pid, "CapBnd:"), "0000000000000000");
    assert_eq!(status_of(pid, "NoNewPrivs:"), "1");
    assert_eq!(status_of(pid, "Seccomp:"), "2");
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let mount = |point: &str| {
        let mount = mounts
            .lines()
            .find(|line| line.split(' ').nth(4) == Some(point));
        mount.unwrap().split(' ').nth(5).unwrap().to_owned()
    };
    assert!(mount("/").starts_with("ro"), "{mounts}");
    assert!(mount("/tmp").starts_with("rw"), "{mounts}");
    let name = runtime.function("puppet").await["instances"][0]["name"].to_string();
    let name = name.trim_matches('"');
    let filter = format!("label=local-lambda.instance={name}");
    let ids = docker(&["ps", "--quiet", "--filter", &filter]).await;
    let format = "{{.State.Pid}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}}";
    let limits = docker(
        &[
            &["inspect", "--format", format],
            &*ids.lines().collect::<Vec<_>>(),
        ]
        .concat(),
    )
    .await;
    let memory = 96 * 1024 * 1024;
    let wanted = format!("{pid} {memory} {memory} 1024");
    assert!(limits.lines().any(|line| line == wanted), "{limits}");
}

#[tokio::test]
#[ignore = "needs a Docker engine: local/runtime/tests/docker"]
async fn missing_image_is_named_and_looked_for_again() {
    let manifest = "[functions.absent]\nimage = 'local-lambda-test/absent:dev'\n";
    let mut runtime = Runtime::launch_under(Driver::Docker, manifest, &[]).await;
    for _ in 0..2 {
        let missing = |line: &Value| line["message"].as_str().unwrap().contains("no image");
        let line = runtime.await_line(missing).await;
        let message = line["message"].as_str().unwrap();
        assert!(
            message.contains("local-lambda-test/absent:dev"),
            "{message}"
        );
    }
}

/// The ids of the images that a function's containers are made of; `None` if there are no containers,
/// or one ends meanwhile.
async fn images(function: &str) -> Option<String> {
    let filter = format!("label=local-lambda.function={function}");
    let ids = docker(&["ps", "--quiet", "--filter", &filter]).await;
    let mut inspect = vec!["inspect", "--format", "{{.Image}}"];
    inspect.extend(ids.lines());
    let images = run(&inspect).await;
    let text = String::from_utf8(images.stdout).unwrap();
    images.status.success().then(|| text.trim().to_owned())
}

#[tokio::test]
#[ignore = "needs a Docker engine: local/runtime/tests/docker"]
async fn version_keeps_its_image_whatever_its_tag_leads_to() {
    let tag = "local-lambda-test/changing:dev";
    let id = async |image| docker(&["image", "inspect", "--format", "{{.Id}}", image]).await;
    let (echo, puppet) = ("local-lambda-test/echo:dev", "local-lambda-test/puppet:dev");
    let (old, new) = (id(echo).await, id(puppet).await);
    docker(&["tag", echo, tag]).await;
    let manifest = format!("[functions.changing]\nimage = '{tag}'\n");
    let runtime = Runtime::start_under(Driver::Docker, &manifest).await;
    let pids = runtime.pids("changing").await;
    docker(&["tag", puppet, tag]).await;
    kill(Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    eventually(async || (runtime.pids("changing").await != pids).then_some(())).await;
    runtime.ready().await;
    eventually(async || (images("changing").await? == old).then_some(())).await;
    for (order, image) in [("rollout", &new), ("rollback", &old)] {
        let (done, text) = runtime.order(&[order, "changing"]).await;
        assert!(done, "{text}");
        eventually(async || (images("changing").await? == *image).then_some(())).await;
    }
}

#[tokio::test]
#[ignore = "needs a Docker engine: local/runtime/tests/docker"]
async fn containers_of_runtimes_that_are_gone_are_removed_and_no_others() {
    let puppeteer = Puppeteer::new().await;
    let neighbour = puppeteer.start_under(Driver::Docker, "", "").await;
    let pid = neighbour.pids("puppet").await[0];
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let namespace = namespace.display().to_string();
    let namespace = namespace.trim_matches(|it: char| !it.is_ascii_digit());
    // No process has this id and was started with the machine.
    let label = format!("local-lambda.runtime={namespace}-{}-1", std::process::id());
    let image = "local-lambda-test/echo:dev";
    let orphan = docker(&["create", "--label", &label, image]).await;
    let _runtime = Runtime::launch_under(Driver::Docker, "", &[]).await;
    let filter = format!("id={orphan}");
    let left = docker(&["ps", "--all", "--quiet", "--filter", &filter]).await;
    assert_eq!(left, "");
    assert!(is_alive(pid));
}

/// How many processes there are with the parent `pid`, in whatever state.
fn children(pid: i32) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let texts = processes.filter_map(|it| std::fs::read_to_string(it.path().join("stat")).ok());
    let begin = format!("{pid} ");
    // The name before may hold anything, and the state is a letter.
    let is_meant = |text: &String| text.rsplit_once(") ").unwrap().1[2..].starts_with(&begin);
    texts.filter(is_meant).count()
}

#[tokio::test]
#[ignore = "needs a Docker engine: local/runtime/tests/docker"]
async fn standalone_runtime_is_the_first_process_of_a_container() {
    let function = format!("{}:/function:ro", example("echo").display());
    let options = "run --detach --network host --read-only --cap-drop ALL --env PORT=0";
    let mut arguments: Vec<&str> = options.split(' ').collect();
    arguments.extend(["--volume", &function, "local-lambda-test/runtime:dev"]);
    arguments.extend(["serve", "--", "/function"]);
    let id = docker(&arguments).await;
    let port = eventually(async || {
        let log = docker(&["logs", &id]).await;
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut addresses = lines.filter_map(|line| line["http"].as_str().map(str::to_owned));
        let address = addresses.next()?;
        address.rsplit(':').next().map(str::to_owned)
    })
    .await;
    let client = reqwest::Client::new();
    let request = client
        .post(format!("http://127.0.0.1:{port}/healthz"))
        .body("it is me");
    let response = soon(request.header("x-orphan", "1").send()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "it is me");
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &id]).await;
    let pid = pid.parse().unwrap();
    eventually(async || (children(pid) == 1).then_some(())).await;
    docker(&["kill", "--signal", "TERM", &id]).await;
    assert_eq!(docker(&["wait", &id]).await, "0");
    docker(&["rm", &id]).await;
}

/// An engine of a test's own, without a network.
struct Engine {
    process: Child,
    folder: TempDir,
}

impl Engine {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = spawn_engine(folder.path());
        let engine = Self { process, folder };
        engine.answers().await;
        engine
    }

    fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.path().display())
    }

    async fn answers(&self) {
        eventually(async || {
            let mut version = Command::new("docker");
            let version = version
                .arg("version")
                .env("DOCKER_HOST", self.host())
                .output();
            version.await.unwrap().status.success().then_some(())
        })
        .await;
    }

    async fn load(&self, function: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let packed = Command::new(root.join("infra/images/pack"))
            .arg(format!("local-lambda-test/{function}:dev"))
            .arg(example(function))
            .env("DOCKER_HOST", self.host())
            .status();
        assert!(soon(packed).await.unwrap().success());
    }

    async fn stop(&mut self) {
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        soon(self.process.wait()).await.unwrap();
        // It leaves a mount behind.
        let network = self.folder.path().join("exec/netns/default");
        let unmounted = Command::new("umount").arg(network).status();
        assert!(soon(unmounted).await.unwrap().success());
    }

    async fn restart(&mut self) {
        self.stop().await;
        self.process = spawn_engine(self.folder.path());
        self.answers().await;
    }
}

fn spawn_engine(folder: &Path) -> Child {
    let path = |name: &str| folder.join(name).display().to_string();
    Command::new("dockerd")
        .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
        .args(["--pidfile", &path("pid"), "--host"])
        .arg(format!("unix://{}", path("docker.sock")))
        .args(["--bridge", "none", "--iptables=false", "--ip-masq=false"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "needs a Docker engine: local/runtime/tests/docker"]
async fn instances_are_replaced_after_the_engine_was_restarted() {
    let mut engine = Engine::start().await;
    engine.load("puppet").await;
    let puppeteer = Puppeteer::new().await;
    let manifest = puppeteer.manifest("", "");
    let variables = [("DOCKER_HOST", &*engine.host())];
    let mut runtime = Runtime::launch_under(Driver::Docker, &manifest, &variables).await;
    runtime.ready().await;
    let response = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    engine.restart().await;
    assert_eq!(response.await.unwrap().status(), 500);
    drop(invocation);
    runtime.ready().await;
    let response = runtime.post("/puppet");
    puppeteer.next().await.answer(OK).await;
    assert_eq!(response.await.unwrap().status(), 200);
    runtime.signal(Signal::SIGTERM);
    assert_eq!(soon(runtime.process.wait()).await.unwrap().code(), Some(0));
    let mut list = Command::new("docker");
    let left = list
        .args(["ps", "--all", "--quiet"])
        .env("DOCKER_HOST", engine.host())
        .output();
    assert_eq!(
        String::from_utf8(soon(left).await.unwrap().stdout).unwrap(),
        ""
    );
    engine.stop().await;
}
