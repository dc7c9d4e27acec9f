//! What a function's process may do.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tokio::process::Command;

use crate::harness::{Runtime, eventually, example, is_alive, soon, status_of};

/// A function that does something and then waits.
fn shell(script: &str, members: &str) -> String {
    let command = format!("{script}; exec sleep 600");
    format!("[functions.shell]\ncommand = ['/bin/sh', '-c', {command:?}]\n{members}\n")
}

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("not tested: only root can start processes of other users");
    }
    root
}

#[tokio::test]
async fn kernel_refuses_calls_that_no_function_needs() {
    let manifest = shell("unshare --user true; echo \"unshare: $?\"", "");
    let mut runtime = Runtime::launch(&manifest).await;
    let refused = |line: &serde_json::Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("unshare failed: Operation not permitted")
    };
    runtime.await_line(refused).await;
    runtime
        .await_line(|line| line["message"] == "unshare: 1")
        .await;
    let pid = runtime.pids("shell").await[0];
    assert_eq!(status_of(pid, "NoNewPrivs:"), "1");
    assert_eq!(status_of(pid, "Seccomp:"), "2");
    // Here the same call is not refused, so that it was not the machine.
    let unshared = Command::new("unshare").args(["--user", "true"]).status();
    assert!(soon(unshared).await.unwrap().success());
}

#[tokio::test]
async fn function_of_another_user_has_its_rights_and_its_own_secrets_only() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "first").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let members = format!("user = '65534:65533'\nsecrets = {{ TOKEN = {secret:?} }}");
    let script = "id -u; id -G; cat \"$TOKEN\"; echo; kill -0 $PPID || echo \"no signal: $?\"; \
                  until grep second \"$TOKEN\"; do sleep 0.1; done";
    let mut runtime = Runtime::launch(&shell(script, &members)).await;
    for said in ["65534", "65533", "first", "no signal: 1"] {
        runtime.await_line(|line| line["message"] == said).await;
    }
    fs::write(folder.path().join("new"), "second").unwrap();
    fs::rename(folder.path().join("new"), &secret).unwrap();
    runtime.await_line(|line| line["message"] == "second").await;
}

#[tokio::test]
async fn function_of_another_user_ends_with_the_runtime() {
    if !is_root() {
        return;
    }
    // That user has no way to the program itself.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("echo");
    fs::copy(example("echo"), &program).unwrap();
    let manifest = format!(
        "[functions.echo]\ncommand = [{program:?}]\nroutes = ['POST /e']\nuser = 'nobody'\n"
    );
    let runtime = Runtime::start(&manifest).await;
    assert_eq!(runtime.post("/e").await.unwrap().status(), 200);
    let pid = runtime.pids("echo").await[0];
    let users = status_of(pid, "Uid:");
    assert!(!users.split_whitespace().any(|uid| uid == "0"), "{users}");
    runtime.signal(Signal::SIGKILL);
    eventually(async || (!is_alive(pid)).then_some(())).await;
}

#[tokio::test]
async fn user_that_does_not_exist_changes_nothing() {
    let runtime = Runtime::start("[functions.echo]\ncommand = [ECHO]\n").await;
    let manifest = "[functions.echo]\ncommand = [ECHO]\nuser = 'no-such-user'\n";
    let (done, message) = runtime.reload(manifest).await;
    assert!(!done);
    assert_eq!(message, "user of echo: there is no user no-such-user\n");
    assert_eq!(runtime.function("echo").await["instances"][0]["version"], 1);
}
