use std::env;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use signature::{KeyFileError, RateLimit};

/// Requests per second and at once of a merchant whose key says nothing else.
const RATE_DEFAULT: &str = "20000";

/// How long a request waits for Redis, connecting included.
const REDIS_TIMEOUT: Duration = Duration::from_millis(30);

/// What a guard needs to know.
#[derive(Clone)]
pub struct Config {
    /// The key file.
    pub keys_file: PathBuf,
    /// Where Redis is; may hold a password.
    pub redis_url: String,
    /// How long a request waits for Redis, connecting included, before it goes on without.
    pub redis_timeout: Duration,
    /// The rate of merchants whose keys name none.
    pub rate_limit: RateLimit,
}

/// Why a guard cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A variable is no whole number above zero.
    #[error("{0} must be a whole number above zero")]
    Number(&'static str),
    /// The key file cannot be used.
    #[error("KEYS_FILE: {0}")]
    Keys(#[from] KeyFileError),
    /// Not a Redis address. The value is not shown: it may hold a password.
    #[error("REDIS_URL is not a redis:// or unix:// address")]
    Redis,
}

impl Config {
    /// Reads `KEYS_FILE`, `REDIS_URL`, and `RATE_LIMIT_PER_S` and `RATE_LIMIT_BURST` (20000 each).
    ///
    /// # Errors
    /// [`ConfigError`] names the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let required = |name| get(name).ok_or(ConfigError::Missing(name));
        let number = |name| {
            let text = get(name).unwrap_or_else(|| RATE_DEFAULT.to_owned());
            text.parse::<NonZeroU32>()
                .map_err(|_| ConfigError::Number(name))
        };
        Ok(Self {
            keys_file: required("KEYS_FILE")?.into(),
            redis_url: required("REDIS_URL")?,
            redis_timeout: REDIS_TIMEOUT,
            rate_limit: RateLimit {
                per_second: number("RATE_LIMIT_PER_S")?,
                burst: number("RATE_LIMIT_BURST")?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_variables(|name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn rates_have_defaults_and_addresses_do_not() {
        let config = read(&[
            ("KEYS_FILE", "k"),
            ("REDIS_URL", "r"),
            ("RATE_LIMIT_BURST", "7"),
        ]);
        let rate = config.unwrap().rate_limit;
        assert_eq!((rate.per_second.get(), rate.burst.get()), (20_000, 7));
        assert!(matches!(
            read(&[("KEYS_FILE", "k")]),
            Err(ConfigError::Missing("REDIS_URL"))
        ));
        assert!(matches!(
            read(&[("REDIS_URL", "r")]),
            Err(ConfigError::Missing("KEYS_FILE"))
        ));
    }

    #[test]
    fn a_wrong_rate_is_named() {
        for wrong in ["0", "-1", "1.5", "many", ""] {
            let result = read(&[
                ("KEYS_FILE", "k"),
                ("REDIS_URL", "r"),
                ("RATE_LIMIT_PER_S", wrong),
            ]);
            assert!(
                matches!(result, Err(ConfigError::Number("RATE_LIMIT_PER_S"))),
                "{wrong}"
            );
        }
    }
}
