//! Which ports a stack uses. Each can be set by an environment variable.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
};

/// Where [`Ports::free`] looks: above the well-known ports, below the range from which Linux
/// gives out ports to outgoing connections.
const FREE_RANGE: RangeInclusive<u16> = 10_000..=32_000;
/// How many times [`Ports::free`] draws.
const FREE_DRAWS_MAX: usize = 1_000;
/// How many ports a stack has.
const COUNT: usize = Port::ALL.len();

/// What listens on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The runtime's HTTP routes.
    Http,
    /// The runtime's Invoke API.
    Invoke,
    /// The runtime's metrics and registry.
    Admin,
    /// `MariaDB`.
    Mariadb,
    /// Redis.
    Redis,
    /// Kafka, for clients.
    Kafka,
    /// Kafka, for its own controller.
    KafkaController,
}

impl Port {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Http,
        Self::Invoke,
        Self::Admin,
        Self::Mariadb,
        Self::Redis,
        Self::Kafka,
        Self::KafkaController,
    ];

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Http => "PAYFN_HTTP_PORT",
            Self::Invoke => "PAYFN_INVOKE_PORT",
            Self::Admin => "PAYFN_ADMIN_PORT",
            Self::Mariadb => "PAYFN_MARIADB_PORT",
            Self::Redis => "PAYFN_REDIS_PORT",
            Self::Kafka => "PAYFN_KAFKA_PORT",
            Self::KafkaController => "PAYFN_KAFKA_CONTROLLER_PORT",
        }
    }

    fn default(self) -> u16 {
        match self {
            Self::Http => 9000,
            Self::Invoke => 9001,
            Self::Admin => 9002,
            Self::Mariadb => 13306,
            Self::Redis => 16379,
            Self::Kafka => 19092,
            Self::KafkaController => 19093,
        }
    }
}

/// Why ports cannot be used. The text names the variable to set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a number from 1 to 65535.
    #[error("{variable}={value} is not a port: set it to a number from 1 to 65535")]
    Invalid {
        /// The environment variable.
        variable: &'static str,
        /// What it holds.
        value: String,
    },
    /// Two variables hold one port.
    #[error("{first} and {second} are both {number}: set one of them to another port")]
    Twice {
        /// A variable.
        first: &'static str,
        /// The other one.
        second: &'static str,
        /// The port they share.
        number: u16,
    },
    /// Another program listens there.
    #[error("port {number} is taken: set {variable} to a free port")]
    Taken {
        /// The port.
        number: u16,
        /// The environment variable.
        variable: &'static str,
    },
    /// This user may not listen there.
    #[error("cannot listen on port {number} ({kind}): set {variable} to another port")]
    Refused {
        /// The port.
        number: u16,
        /// The environment variable.
        variable: &'static str,
        /// The cause.
        kind: io::ErrorKind,
    },
    /// No seven free ports were found.
    #[error("found no free ports between {} and {}", FREE_RANGE.start(), FREE_RANGE.end())]
    NoneFree,
}

/// The ports of one stack, all different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports([u16; COUNT]);

impl Ports {
    /// Each port from the environment, else as recorded while the stack runs, else its default.
    ///
    /// # Errors
    /// [`PortError::Invalid`] or [`PortError::Twice`].
    pub fn resolve(
        environment: impl Fn(&str) -> Option<String>,
        recorded: &HashMap<String, String>,
    ) -> Result<Self, PortError> {
        let mut numbers = [0; COUNT];
        for (number, port) in numbers.iter_mut().zip(Port::ALL) {
            let variable = port.variable();
            *number = match environment(variable).or_else(|| recorded.get(variable).cloned()) {
                None => port.default(),
                Some(value) => match value.parse() {
                    Ok(number @ 1..) => number,
                    _ => return Err(PortError::Invalid { variable, value }),
                },
            };
        }
        Self(numbers).all_different()
    }

    /// Ports on which nothing listens now, drawn at random.
    ///
    /// # Errors
    /// [`PortError::NoneFree`].
    pub fn free() -> Result<Self, PortError> {
        let mut free = Vec::with_capacity(COUNT);
        for _ in 0..FREE_DRAWS_MAX {
            let number = fastrand::u16(FREE_RANGE);
            if !free.contains(&number) && listen(number).is_ok() {
                free.push(number);
            }
            if let Ok(numbers) = <[u16; COUNT]>::try_from(free.as_slice()) {
                return Ok(Self(numbers));
            }
        }
        Err(PortError::NoneFree)
    }

    /// The number of a port.
    #[must_use]
    pub fn get(&self, port: Port) -> u16 {
        self.0[port as usize]
    }

    /// Each port's variable and number.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, u16)> {
        Port::ALL
            .iter()
            .map(|port| (port.variable(), self.get(*port)))
    }

    /// Checks that nothing listens on a port.
    ///
    /// # Errors
    /// [`PortError::Taken`] or [`PortError::Refused`].
    pub fn check_free(&self, port: Port) -> Result<(), PortError> {
        let (number, variable) = (self.get(port), port.variable());
        listen(number).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => PortError::Taken { number, variable },
            kind => PortError::Refused {
                number,
                variable,
                kind,
            },
        })
    }

    fn all_different(self) -> Result<Self, PortError> {
        let mut seen = HashMap::new();
        for (variable, number) in self.variables() {
            if let Some(first) = seen.insert(number, variable) {
                return Err(PortError::Twice {
                    first,
                    second: variable,
                    number,
                });
            }
        }
        Ok(self)
    }
}

fn listen(number: u16) -> io::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let variables: HashMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        move |name| variables.get(name).cloned()
    }

    #[test]
    fn environment_wins_over_the_record_which_wins_over_the_default() {
        let recorded = HashMap::from([
            ("PAYFN_HTTP_PORT".to_owned(), "7000".to_owned()),
            ("PAYFN_REDIS_PORT".to_owned(), "7001".to_owned()),
        ]);
        let ports = Ports::resolve(environment(&[("PAYFN_HTTP_PORT", "8000")]), &recorded).unwrap();
        assert_eq!(ports.get(Port::Http), 8000);
        assert_eq!(ports.get(Port::Redis), 7001);
        assert_eq!(ports.get(Port::Kafka), 19092);
    }

    #[test]
    fn what_is_no_port_is_refused_by_variable() {
        for value in ["0", "65536", "-1", "http", ""] {
            let ports =
                Ports::resolve(environment(&[("PAYFN_KAFKA_PORT", value)]), &HashMap::new());
            let variable = "PAYFN_KAFKA_PORT";
            assert_eq!(
                ports,
                Err(PortError::Invalid {
                    variable,
                    value: value.to_owned()
                })
            );
        }
    }

    #[test]
    fn one_port_for_two_listeners_names_both_variables() {
        let ports = Ports::resolve(
            environment(&[("PAYFN_REDIS_PORT", "9000")]),
            &HashMap::new(),
        );
        let message = ports.unwrap_err().to_string();
        assert!(
            message.contains("PAYFN_HTTP_PORT and PAYFN_REDIS_PORT"),
            "{message}"
        );
    }

    #[test]
    fn a_taken_port_names_the_variable_to_set() {
        let ports = Ports::free().unwrap();
        ports.check_free(Port::Redis).unwrap();
        let _listener = TcpListener::bind(("127.0.0.1", ports.get(Port::Redis))).unwrap();
        let message = ports.check_free(Port::Redis).unwrap_err().to_string();
        let number = ports.get(Port::Redis);
        assert_eq!(
            message,
            format!("port {number} is taken: set PAYFN_REDIS_PORT to a free port")
        );
    }

    #[test]
    fn free_ports_are_different_and_outside_the_ephemeral_range() {
        let ports = Ports::free().unwrap().all_different().unwrap();
        for (variable, number) in ports.variables() {
            assert!(FREE_RANGE.contains(&number), "{variable}={number}");
        }
    }
}
