use std::process::Command;

use crate::harness::program;

/// Runs a command with a manifest; its exit code and what it says of the manifest.
fn run(command: &[&str], manifest: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("functions.toml");
    std::fs::write(&file, manifest).unwrap();
    let output = Command::new(program())
        .args(command)
        .arg("--manifest")
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let folder = format!("{}/", folder.path().display());
    (output.status.code(), text.replace(&folder, ""))
}

#[test]
fn check_prints_every_fault_with_file_and_line() {
    let (code, text) = run(
        &["check"],
        "[functions.a]\ncommand = ['a']\nroutes = ['GET']\n\n[functions.b]\n",
    );
    assert_eq!(code, Some(1));
    assert_eq!(
        text,
        "functions.toml:3: route \"GET\": must be \"METHOD /path\"\n\
         functions.toml:5: functions.b.command is missing\n"
    );
}

#[test]
fn check_of_a_valid_manifest_succeeds() {
    let (code, text) = run(&["check"], "[functions.a]\ncommand = ['a']\n");
    assert_eq!((code, text.as_str()), (Some(0), ""));
}

#[test]
fn serve_refuses_more_kept_instances_than_the_host_has_memory_for() {
    let huge = "[functions.a]\ncommand = ['a']\nmemory_mb = 10240\nmin_instances = 1000\n";
    let anywhere = ["--http", "--invoke", "--admin"].map(|option| [option, "127.0.0.1:0"]);
    let (code, text) = run(&[&["serve"], anywhere.as_flattened()].concat(), huge);
    assert_eq!(code, Some(1));
    assert!(text.contains("need 10240000 MiB"), "{text}");
}

#[test]
fn serve_refuses_a_taken_address_by_its_option() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = run(&["serve", "--http", &address], "");
    assert_eq!(code, Some(1));
    assert!(text.contains("--http"), "{text}");
}
