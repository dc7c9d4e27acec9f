//! Files that were made to do harm: each is refused with a reason, or read with a reason for every row
//! that is not; none makes the process grow.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;

use std::{collections::BTreeSet, fs};

use bytes::Bytes;
use recon::csv::Csv;

use hostile::{File, Verdict, encodings, fields, shapes};

/// The least that the requirement asks for.
const FILES_MIN: usize = 120;
/// What a function may use, of which the largest file itself is a part.
const PEAK_BYTES_MAX: u64 = 128 * 1024 * 1024;

fn corpus() -> Vec<File> {
    [encodings::files(), shapes::files(), fields::files()].concat()
}

/// What was read, and what became of the rows that were not.
fn read(bytes: Bytes) -> Verdict {
    let csv = match Csv::of(bytes) {
        Ok(csv) => csv,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    let (mut rows, mut faults) = (0, Vec::new());
    for row in csv.rows().unwrap() {
        match row.unwrap() {
            (_, Ok(_)) => rows += 1,
            (record, Err(fault)) => faults.push((record, fault.0)),
        }
    }
    assert_eq!(rows + faults.len(), csv.rows as usize);
    Verdict::Read { rows, faults }
}

fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

#[test]
fn every_hostile_file_is_refused_or_read_for_a_reason_in_bounded_memory() {
    let corpus = corpus();
    assert!(corpus.len() >= FILES_MIN, "{} files", corpus.len());
    let names: BTreeSet<&str> = corpus.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names.len(), corpus.len(), "each has a name of its own");
    let wrong: Vec<String> = corpus
        .into_iter()
        .filter_map(|file| {
            let (name, expected, found) = (file.name, file.verdict, read(file.bytes));
            (!expected.covers(&found)).then(|| format!("{name}: {found:?}, not {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(peak_bytes() < PEAK_BYTES_MAX, "{} bytes", peak_bytes());
}
