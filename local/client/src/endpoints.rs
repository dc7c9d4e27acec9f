use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context;

/// Where the state of a running stack is unless `PAYFN_STATE` says otherwise.
const STATE_DEFAULT: &str = "local/.state";

/// Where the service is and the keys are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// Base address of the service.
    pub(crate) url: String,
    /// The key file.
    pub(crate) keys_file: PathBuf,
}

impl Endpoints {
    /// Takes `PAYFN_URL` and `KEYS_FILE` from the environment, else from `endpoints.env`.
    pub(crate) fn find() -> anyhow::Result<Self> {
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
                    lookup(&text, name)
                        .with_context(|| format!("{} does not name {name}", path.display()))
                }),
        };
        Ok(Self {
            url: get("PAYFN_URL")?,
            keys_file: get("KEYS_FILE")?.into(),
        })
    }
}

/// The value of a variable in a file of `NAME=value` lines.
fn lookup(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim();
        let value = line
            .strip_prefix("export ")
            .unwrap_or(line)
            .strip_prefix(name)?;
        let value = value.strip_prefix('=')?;
        let unquoted = ['"', '\''].into_iter().find_map(|quote| {
            value
                .strip_prefix(quote)
                .and_then(|value| value.strip_suffix(quote))
        });
        Some(unquoted.unwrap_or(value).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_with_and_without_quotes() {
        let text = "# addresses\nexport A=1\nPAYFN_URL_2=no\nPAYFN_URL='http://h:1'\nKEYS_FILE=\"k\"\nE=\n";
        assert_eq!(lookup(text, "PAYFN_URL").as_deref(), Some("http://h:1"));
        assert_eq!(lookup(text, "KEYS_FILE").as_deref(), Some("k"));
        assert_eq!(lookup(text, "A").as_deref(), Some("1"));
        assert_eq!(lookup(text, "E").as_deref(), Some(""));
        assert_eq!(lookup(text, "B"), None);
    }
}
