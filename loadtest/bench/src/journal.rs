//! Telling what was measured: to people at once, to programs in a file.

use std::{
    env,
    fmt::Display,
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    process::Command,
    thread,
};

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use serde::Serialize;

/// Where measurements are told.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    /// One line of JSON is appended for each; `None` leaves them on standard output alone.
    pub(crate) file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Entry<'a, M> {
    date: String,
    machine: Machine,
    /// Of the checkout, as git describes it.
    revision: String,
    command: String,
    measured: &'a M,
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    model: String,
}

impl Journal {
    /// Prints a measurement and keeps it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn tell(&self, measured: &(impl Display + Serialize)) -> anyhow::Result<()> {
        print!("{measured}");
        let Some(path) = &self.file else {
            return Ok(());
        };
        let line = serde_json::to_string(&entry(measured))?;
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn entry<M>(measured: &M) -> Entry<'_, M> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    Entry {
        date: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        machine: Machine {
            cores: thread::available_parallelism().map_or(0, usize::from),
            model: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| model(&text))
                .unwrap_or_else(unknown),
        },
        revision: revision().unwrap_or_else(unknown),
        command: format!("bench {}", arguments.join(" ")),
        measured,
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn revision() -> Option<String> {
    let git = ["describe", "--always", "--dirty", "--abbrev=12"];
    let output = Command::new("git").args(git).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_measurement_is_a_line_of_its_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = Some(file.path().to_owned());
        let journal = Journal { file: path };
        journal.tell(&1).unwrap();
        journal.tell(&"two").unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!((lines.len(), &lines[0]["measured"]), (2, &1.into()));
        assert!(lines[1]["machine"]["cores"].as_u64().unwrap() > 0);
        for member in ["date", "revision", "command"] {
            assert!(lines[1][member].is_string(), "{member}");
        }
    }

    #[test]
    fn the_processor_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fpu\n";
        assert_eq!(model(text).unwrap(), "Some CPU @ 2 GHz");
        assert!(model("processor\t: 0\n").is_none());
    }
}
