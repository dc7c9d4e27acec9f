//! The command line, as far as it needs no stack.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn faults(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_faults"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_seed_prints_the_same_schedule_each_time() {
    let plan = |seed| {
        faults(&[
            "plan",
            "--seed",
            seed,
            "--operations",
            "500",
            "--faults",
            "9",
        ])
    };
    let (first, second, other) = (plan("5"), plan("5"), plan("6"));
    assert!(first.status.success());
    assert_eq!(first.stdout, second.stdout);
    assert_ne!(first.stdout, other.stdout);
    let lines = String::from_utf8(first.stdout).unwrap();
    assert_eq!(
        lines
            .lines()
            .filter(|line| line.contains("\"fault\":"))
            .count(),
        9
    );
    assert!(lines.lines().count() >= 1 + 500 + 9);
}

#[test]
fn a_run_needs_a_seed_and_seeds_are_a_range() {
    for (arguments, named) in [
        (vec!["run"], "--seed"),
        (vec!["run", "--seeds", "7"], "FIRST..LAST"),
        (
            vec!["run", "--seed", "1", "--seeds", "1..2"],
            "cannot be used with",
        ),
    ] {
        let output = faults(&arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && message.contains(named),
            "{arguments:?}: {message}"
        );
    }
}
