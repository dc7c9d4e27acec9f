//! `endpoints.env`: the addresses of a running stack, as lines that a shell can read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context;

/// Where the state of a running stack is unless `PAYFN_STATE` says otherwise.
const STATE_DEFAULT: &str = "local/.state";

/// Where the service is and the keys are.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Base address of the service.
    pub url: String,
    /// The key file.
    pub keys_file: PathBuf,
}

impl Endpoints {
    /// Takes `PAYFN_URL` and `KEYS_FILE` from the environment, else from `endpoints.env`.
    ///
    /// # Errors
    /// When neither has one of them.
    pub fn find() -> anyhow::Result<Self> {
        let state = env::var("PAYFN_STATE").unwrap_or_else(|_| STATE_DEFAULT.to_owned());
        let path = Path::new(&state).join("endpoints.env");
        let get = |name: &str| match env::var(name) {
            Ok(value) => Ok(value),
            Err(_) => fs::read_to_string(&path)
                .with_context(|| {
                    format!(
                        "{name} is not set and {} cannot be read; is it up?",
                        path.display()
                    )
                })
                .and_then(|text| {
                    parse(&text)
                        .remove(name)
                        .with_context(|| format!("{} does not name {name}", path.display()))
                }),
        };
        Ok(Self {
            url: get("PAYFN_URL")?,
            keys_file: get("KEYS_FILE")?.into(),
        })
    }
}

/// The values by name of lines that [`assignment`] has written.
#[must_use]
pub fn parse(text: &str) -> HashMap<String, String> {
    let assignments = text.lines().filter_map(|line| line.split_once('='));
    assignments
        .map(|(name, value)| (name.to_owned(), unquoted(value)))
        .collect()
}

/// A line from which the shell, and [`parse`], take `value`; plain where it can be, so that other
/// readers of `NAME=value` lines understand it too.
#[must_use]
pub fn assignment(name: &str, value: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/:@._-,".contains(character);
    if value.chars().all(plain) {
        format!("{name}={value}\n")
    } else {
        format!("{name}='{}'\n", value.replace('\'', r"'\''"))
    }
}

fn unquoted(word: &str) -> String {
    let inner = word
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    inner.map_or_else(|| word.to_owned(), |inner| inner.replace(r"'\''", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_were_written() {
        let values = ["http://h:1", "", "it's $HOME; `true` \"x\"", "'", "a=b"];
        for value in values {
            let text = format!("A=1\n{}", assignment("PAYFN_URL", value));
            assert_eq!(parse(&text)["PAYFN_URL"], value);
        }
    }
}
