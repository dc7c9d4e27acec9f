use std::process::Command;

use crate::harness::program;

fn check(manifest: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("functions.toml");
    std::fs::write(&file, manifest).unwrap();
    let output = Command::new(program())
        .args(["check", "--manifest"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let folder = format!("{}/", folder.path().display());
    (output.status.code(), text.replace(&folder, ""))
}

#[test]
fn check_prints_every_fault_with_file_and_line() {
    let (code, text) = check("[functions.a]\ncommand = ['a']\nroutes = ['GET']\n\n[functions.b]\n");
    assert_eq!(code, Some(1));
    assert_eq!(
        text,
        "functions.toml:3: route \"GET\": must be \"METHOD /path\"\n\
         functions.toml:5: functions.b.command is missing\n"
    );
}

#[test]
fn check_of_a_valid_manifest_succeeds() {
    let (code, text) = check("[functions.a]\ncommand = ['a']\n");
    assert_eq!((code, text.as_str()), (Some(0), ""));
}

#[test]
fn serve_refuses_more_kept_instances_than_the_host_has_memory_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("functions.toml");
    let huge = "[functions.a]\ncommand = ['a']\nmemory_mb = 10240\nmin_instances = 1000\n";
    std::fs::write(&file, huge).unwrap();
    let output = Command::new(program())
        .args(["serve", "--http", "127.0.0.1:0", "--invoke", "127.0.0.1:0"])
        .args(["--admin", "127.0.0.1:0", "--manifest"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("need 10240000 MiB"), "{text}");
}

#[test]
fn serve_refuses_a_taken_address_by_its_option() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("functions.toml");
    std::fs::write(&file, "").unwrap();
    let output = Command::new(program())
        .args(["serve", "--http", &address, "--manifest"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--http"), "{text}");
}
