//! `endpoints.env`: the addresses in use, as lines that a shell can read.

use std::{collections::HashMap, fs, io, path::Path};

use anyhow::Context as _;

use crate::{
    Component, Port, Stack, State,
    mariadb::{ADMIN, SERVICES},
    secrets::{KEYS_FILE, Secrets},
    state,
};

/// Names and values, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(Vec<(String, String)>);

impl Endpoints {
    /// Those of a stack.
    #[must_use]
    pub fn of(stack: &Stack, secrets: &Secrets) -> Self {
        let http = |port| format!("http://127.0.0.1:{}", stack.ports.get(port));
        let file = |name: &str| stack.state.secret(name).display().to_string();
        let state = stack.state.directory().display().to_string();
        let mut all = vec![
            ("PAYFN_STATE".into(), state),
            ("PAYFN_URL".into(), http(Port::Http)),
            ("INVOKE_URL".into(), http(Port::Invoke)),
            ("ADMIN_URL".into(), http(Port::Admin)),
            (
                "METRICS_URL".into(),
                format!("{}/metrics", http(Port::Admin)),
            ),
            (
                "REDIS_URL".into(),
                format!("redis://{}", stack.address(Component::Redis)),
            ),
            ("KAFKA_BROKERS".into(), stack.address(Component::Kafka)),
            ("KEYS_FILE".into(), file(KEYS_FILE)),
            (
                "DATABASE_URL_ADMIN".into(),
                secrets.url(stack, ADMIN, "payment"),
            ),
        ];
        for service in SERVICES {
            let variable = format!("DATABASE_URL_{}", service.to_uppercase());
            let name = format!("database-url-{service}");
            all.push((
                variable.clone(),
                secrets.url(stack, &format!("{service}_fn"), service),
            ));
            all.push((format!("{variable}_FILE"), file(&name)));
            all.push((
                format!("{variable}_MIGRATE_FILE"),
                file(&format!("{name}-migrate")),
            ));
        }
        let ports = stack.ports.variables();
        all.extend(ports.map(|(variable, number)| (variable.into(), number.to_string())));
        Self(all)
    }

    /// Reads a written file; nothing when it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<HashMap<String, String>> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Ok(client::endpoints::parse(&text))
    }

    /// Writes the file, readable by its owner alone because the URLs hold passwords.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, state: &State) -> anyhow::Result<()> {
        let lines = self.0.iter();
        let text: String = lines
            .map(|(name, value)| client::endpoints::assignment(name, value))
            .collect();
        state::write_private(&state.endpoints(), &text)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, process::Command};

    use super::*;
    use crate::Ports;

    fn stack(directory: &Path) -> Stack {
        Stack {
            root: directory.to_owned(),
            programs: directory.to_owned(),
            state: State::open(directory).unwrap(),
            ports: Ports::resolve(|_| None, &HashMap::new()).unwrap(),
            detours: HashMap::new(),
        }
    }

    #[test]
    fn every_address_of_the_contract_is_there_with_its_default_port() {
        let directory = tempfile::tempdir().unwrap();
        let stack = stack(directory.path());
        stack.prepare().unwrap();
        let read = Endpoints::read(&stack.state.endpoints()).unwrap();
        for (name, value) in [
            ("PAYFN_URL", "http://127.0.0.1:9000"),
            ("INVOKE_URL", "http://127.0.0.1:9001"),
            ("METRICS_URL", "http://127.0.0.1:9002/metrics"),
            ("REDIS_URL", "redis://127.0.0.1:16379"),
            ("KAFKA_BROKERS", "127.0.0.1:19092"),
            ("PAYFN_MARIADB_PORT", "13306"),
        ] {
            assert_eq!(read[name], value, "{name}");
        }
        let url = &read["DATABASE_URL_PAYMENT"];
        assert!(url.starts_with("mysql://payment_fn:"), "{url}");
        assert!(url.ends_with("@127.0.0.1:13306/payment"), "{url}");
        assert_eq!(
            *url,
            fs::read_to_string(&read["DATABASE_URL_PAYMENT_FILE"])
                .unwrap()
                .trim()
        );
        let migrate = fs::read_to_string(&read["DATABASE_URL_PAYMENT_MIGRATE_FILE"]).unwrap();
        assert!(migrate.starts_with("mysql://payment_migrate:"), "{migrate}");
        assert!(Path::new(&read["KEYS_FILE"]).is_file());
    }

    #[test]
    fn a_shell_reads_the_values_that_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let awkward = directory.path().join("it's $HOME; `true` \"x\"");
        let stack = stack(&awkward);
        stack.prepare().unwrap();
        let script = r#". "$0" && printf %s "$PAYFN_STATE""#;
        let path = stack.state.endpoints();
        let shell = Command::new("sh")
            .args(["-c", script])
            .arg(&path)
            .output()
            .unwrap();
        let expected = awkward.canonicalize().unwrap().display().to_string();
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), expected);
        assert_eq!(Endpoints::read(&path).unwrap()["PAYFN_STATE"], expected);
    }

    #[test]
    fn names_are_unique() {
        let directory = tempfile::tempdir().unwrap();
        let stack = stack(directory.path());
        let endpoints = Endpoints::of(&stack, &stack.prepare().unwrap());
        let names: BTreeSet<&String> = endpoints.0.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), endpoints.0.len());
    }
}
