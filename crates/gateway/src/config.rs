//! The configuration of a gateway, read once.

use std::fmt;

use jiff::SignedDuration;
use onerun_auth::RootKey;
use onerun_engine::Settings;

/// The longest lease and turn, in seconds.
const MAX_SECONDS: i64 = 24 * 60 * 60;

/// The configuration of a gateway.
///
/// | variable | default | what it is |
/// |---|---|---|
/// | `AUTH_API_KEY` | a key of its own in the data directory | the root key: base64 of 32 or more random bytes |
/// | `ONERUN_LEASE_SECONDS` | 300 | how long a worker may be silent before its conversation is given to another |
/// | `ONERUN_TURN_SECONDS` | 30 | how long the answer to one call may take |
#[derive(Default)]
pub struct Config {
    pub(crate) key: Option<RootKey>,
    pub(crate) engine: Settings,
}

/// Everything that is wrong with a configuration, each with the name of its variable.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("; "))
    }
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once.
    #[expect(clippy::disallowed_methods, reason = "this is the composition root that reads the environment")]
    pub fn from_env() -> Result<Self, ConfigErrors> {
        Self::from_lookup(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Reads the configuration from a function that knows the variables.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at once.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let key = lookup("AUTH_API_KEY").and_then(|text| match RootKey::parse(&text) {
            Ok(key) => Some(key),
            Err(error) => {
                errors.push(format!("AUTH_API_KEY: {error}"));
                None
            }
        });
        let mut seconds = |name: &str, default: SignedDuration| {
            let Some(text) = lookup(name) else { return default };
            match text.trim().parse() {
                Ok(number) if (1..=MAX_SECONDS).contains(&number) => SignedDuration::from_secs(number),
                _ => {
                    errors.push(format!("{name}: must be an integer from 1 to {MAX_SECONDS} (seconds)"));
                    default
                }
            }
        };
        let defaults = Settings::default();
        let engine = Settings {
            lease: seconds("ONERUN_LEASE_SECONDS", defaults.lease),
            turn: seconds("ONERUN_TURN_SECONDS", defaults.turn),
            ..defaults
        };
        if errors.is_empty() { Ok(Self { key, engine }) } else { Err(ConfigErrors(errors)) }
    }

    /// The same configuration with this root key.
    pub fn with_key(self, key: RootKey) -> Self {
        Self { key: Some(key), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        let found = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Config::from_lookup(found).map_err(|errors| errors.to_string())
    }

    #[test]
    fn nothing_need_be_said() {
        let config = read(&[]).unwrap();
        assert!(config.key.is_none());
        assert_eq!(config.engine.lease, SignedDuration::from_secs(300));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_without_the_key() {
        let errors = read(&[
            ("AUTH_API_KEY", "hunter2"),
            ("ONERUN_LEASE_SECONDS", "0"),
            ("ONERUN_TURN_SECONDS", "soon"),
        ])
        .err()
        .unwrap();
        for name in ["AUTH_API_KEY: ", "ONERUN_LEASE_SECONDS: must be an integer", "ONERUN_TURN_SECONDS: "] {
            assert!(errors.contains(name), "{errors}");
        }
        assert!(!errors.contains("hunter2"));
    }

    #[test]
    fn seconds_are_read() {
        let config = read(&[("ONERUN_LEASE_SECONDS", "2")]).unwrap();
        assert_eq!(config.engine.lease, SignedDuration::from_secs(2));
    }
}
