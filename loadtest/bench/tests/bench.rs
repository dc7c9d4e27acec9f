//! The program against the stack of `local/test`. One test, because the figures are the stack's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use serde_json::Value;

#[test]
fn loads_are_measured_without_a_failure_and_the_books_hold() {
    let authorize = measure("authorize", &["--rate", "50", "--consume", "--seed", "7"]);
    assert_eq!(authorize["steps"]["authorize"]["count"], 100);
    assert_eq!(authorize["seed"], 7);
    assert_eq!(authorize["event_to_delivered"]["count"], 100);
    assert_eq!(authorize["answered_to_consumed"]["count"], 100);
    assert!(authorize["steps"].get("capture").is_none());

    let life = measure("life", &["--connections", "4"]);
    let count = |step: &str| life["steps"][step]["count"].as_u64().unwrap();
    assert!(count("life") > 0);
    for step in ["authorize", "capture", "refund"] {
        assert_eq!(count(step), count("life"));
        let batches = &life["batches"][step];
        let batch = batches["commands_per_transaction"].as_f64().unwrap();
        assert!((1.0..=4.0).contains(&batch), "{step}: {batch}");
        assert_eq!(batches["up_to"]["4"], 1.0);
    }
    assert_eq!(
        life["event_to_delivered"]["count"].as_u64().unwrap(),
        3 * count("life")
    );
    overload_is_measured();
    router_is_measured();
}

/// Each part is a line of its own.
fn router_is_measured() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["router", "plain", "memory", "--rounds", "1"])
        .args(["--seconds", "1", "--connections", "4", "--json"])
        .arg(file.path())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let text = std::fs::read_to_string(file.path()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let parts: Vec<Value> = lines.map(|line: Value| line["measured"].clone()).collect();
    assert_eq!(parts[0]["part"], "plain");
    for (load, connections) in [(0, 1), (1, 4)] {
        let load = &parts[0]["loads"][load];
        assert_eq!(load["connections"], connections);
        for figure in ["ratio", "p50_ratio", "runtime_cpu_us"] {
            assert!(load[figure].as_f64() > Some(0.0), "{figure}: {load}");
        }
    }
    assert_eq!(parts[1]["part"], "memory");
    assert!(parts[1]["idle_mib"].as_u64() > Some(0), "{}", parts[1]);
    assert!(parts[1]["connections"].as_u64() >= Some(9_000));
}

/// How well it is borne is the machine's matter; what is told is not.
fn overload_is_measured() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["overload", "--seconds", "1", "--connections", "256"])
        .args(["--idle", "200", "--slow", "20", "--json"])
        .arg(file.path())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(file.as_file().metadata().unwrap().len() > 0, "{told}");
    let line: Value = serde_json::from_reader(file).unwrap();
    let measured = &line["measured"];
    assert_eq!(measured["unexpected"], 0, "{measured}");
    assert!(measured["idle_open"].as_u64() >= Some(180), "{measured}");
    for ratio in ["goodput_ratio", "p99_ratio"] {
        assert!(measured[ratio].as_f64() > Some(0.0), "{measured}");
    }
    for step in ["authorize", "capture", "refund"] {
        assert!(measured["served"][step].is_f64(), "{measured}");
    }
    let checks = measured["books"]["checks"].as_array().unwrap();
    assert!(
        checks.iter().all(|check| check["violations"] == 0),
        "{checks:?}"
    );
}

/// Two seconds of load, its figures checked for what every load has.
fn measure(work: &str, options: &[&str]) -> Value {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([work, "--seconds", "2", "--warm-up", "1", "--json"])
        .arg(file.path())
        .args(options)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    let (stdout, stderr) = (output.stdout.as_slice(), output.stderr.as_slice());
    let told = String::from_utf8_lossy(stdout) + String::from_utf8_lossy(stderr);
    assert!(output.status.success(), "{told}");
    let line: Value = serde_json::from_reader(file).unwrap();
    let measured = line["measured"].clone();
    assert_eq!(measured["failed"], serde_json::json!({}));
    let latency = &measured["steps"]["authorize"];
    let ms = |figure: &str| latency[figure].as_f64().unwrap();
    let figures = ["p50_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms"].map(ms);
    assert!(figures[0] > 0.0 && figures.is_sorted(), "{latency}");
    for process in [
        "client",
        "runtime",
        "authorize",
        "outbox-relay",
        "mariadb",
        "redis",
        "kafka",
    ] {
        assert!(
            measured["cpu_ms_per_request"][process].is_f64(),
            "{process}"
        );
        assert!(
            measured["resident_mib"][process].as_u64() > Some(0),
            "{process}"
        );
    }
    measured
}
