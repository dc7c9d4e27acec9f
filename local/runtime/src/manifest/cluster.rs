//! `[cluster]`: this host among those that run the same manifest.

use std::path::PathBuf;

use toml::Spanned;

use super::members::{Faults, Members};

/// Longest name of a host.
const HOST_LENGTH_MAX: usize = 64;
/// Largest weight.
const WEIGHT_MAX: u32 = 1000;

/// The `[cluster]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// This host's name, which no other host has.
    pub(crate) host: String,
    /// How much it takes, compared with the others.
    pub(crate) weight: u32,
    /// The file with the URL of the database by which the hosts know of each other.
    pub(crate) database_url_file: PathBuf,
}

impl Cluster {
    /// Reads the table, if it is there.
    pub(super) fn read(members: &mut Members<'_>, faults: &mut Faults<'_>) -> Option<Self> {
        if !members.has("cluster") {
            return None;
        }
        let mut table = members.take_table("cluster", faults);
        let host = read_host(&mut table, faults);
        let weight = table.take_number("weight", 1..=WEIGHT_MAX, faults);
        let file = read_file(&mut table, faults);
        table.refuse_rest(faults);
        Some(Self {
            host: host?,
            weight: weight.unwrap_or(1),
            database_url_file: file?,
        })
    }
}

fn read_host(table: &mut Members<'_>, faults: &mut Faults<'_>) -> Option<String> {
    let text: Spanned<String> = table.require("host", faults)?;
    let host = faults.expand(&text)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if host.is_empty() || host.len() > HOST_LENGTH_MAX || !host.bytes().all(plain) {
        let message = format!(
            "host \"{host}\" must be 1 to {HOST_LENGTH_MAX} letters, digits, \".\", \"-\" or \"_\""
        );
        faults.add(text.span(), message);
    }
    Some(host)
}

fn read_file(table: &mut Members<'_>, faults: &mut Faults<'_>) -> Option<PathBuf> {
    let text: Spanned<String> = table.require("database_url_file", faults)?;
    let path = PathBuf::from(faults.expand(&text)?);
    if !path.is_file() {
        let message = format!("database_url_file: file {} does not exist", path.display());
        faults.add(text.span(), message);
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use crate::manifest::{Fault, Manifest};

    fn parse(table: &str) -> Result<Manifest, Vec<Fault>> {
        Manifest::parse(table, &|name| {
            (name == "HOSTNAME").then(|| "vm-1".to_owned())
        })
    }

    #[test]
    fn host_may_come_from_the_environment_and_weighs_one() {
        assert_eq!(parse("").expect("valid").cluster, None);
        let table = "[cluster]\nhost = '${HOSTNAME}'\ndatabase_url_file = '/proc/version'\n";
        let cluster = parse(table).expect("valid").cluster.expect("a cluster");
        assert_eq!((cluster.host.as_str(), cluster.weight), ("vm-1", 1));
    }

    #[test]
    fn every_fault_is_reported_with_its_line() {
        let table =
            "[cluster]\nhost = 'a b'\nweight = 0\ndatabase_url_file = '/no/file'\nrole = 1\n";
        let faults = parse(table).expect_err("faults");
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 3, 4, 5], "{faults:?}");
        let faults = parse("[cluster]\n").expect_err("faults");
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
