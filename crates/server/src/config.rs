//! The configuration of a server, read once.

use std::time::Duration;

use jiff::SignedDuration;
use onerun_auth::{KEY_CACHE_TTL, RootKey};
use onerun_domain::{ModelName, SimulationModels};
use onerun_engine::Settings;
use onerun_host::{ConfigErrors, Variables};
use onerun_model_chat::ModelConfig;
use onerun_transport::OutboundPolicy;

use crate::models::Traffic;

/// The published SDK waits 30 s for each byte.
const LATE_AFTER: SignedDuration = SignedDuration::from_secs(15);
const MAX_LATE_AFTER: i64 = 3_600;

/// The configuration of a server.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `AUTH_API_KEY` | the key in the data directory | the root key: base64 of 32 or more random bytes |
/// | `AUTH_KEY_CACHE_SECONDS` | 5 | how long a managed key is cached, so how long a revocation may take; 0 turns the cache off |
/// | `ONERUN_LEASE_SECONDS` | 300 | how long a worker may be silent before its conversation is queued again |
/// | `ONERUN_TURN_SECONDS` | 30 | how long a call waits for the persona's reply |
/// | `ONERUN_STREAM_SECONDS` | 15 | if less than `ONERUN_TURN_SECONDS`: after how long a waiting call gets the head of its response and then white space until the reply is there |
/// | `ONERUN_REPLY_SECONDS` | 120 | how long the persona's reply may take |
/// | `ONERUN_RETENTION_DAYS` | 0 | how many days after a simulation's end its transcripts are deleted; 0 for never |
/// | `ONERUN_OUTBOUND_ALLOW` | | hosts, IP addresses and CIDR blocks, separated by commas, that webhooks and agents may be at although they are private; also over http, and at every port |
/// | `ONERUN_AUDIT_ARCHIVE_DAYS` | 0 | how many days after its end a month of the audit trail is moved to files in `audit/` of the data directory, at least 90; 0 for never |
///
/// and the variables of [`ModelConfig`], `ONERUN_MODEL_RECORD` and `ONERUN_MODEL_REPLAY`.
pub struct Config {
    pub(crate) key: Option<RootKey>,
    pub(crate) key_cache: SignedDuration,
    pub(crate) late_after: Duration,
    pub(crate) engine: Settings,
    pub(crate) audit_archive: Option<SignedDuration>,
    pub(crate) outbound: OutboundPolicy,
    pub(crate) models: ModelConfig,
    pub(crate) traffic: Traffic,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            key: None,
            key_cache: KEY_CACHE_TTL,
            late_after: LATE_AFTER.unsigned_abs(),
            engine: Settings::default(),
            audit_archive: None,
            outbound: OutboundPolicy::default(),
            models: ModelConfig::default(),
            traffic: Traffic::default(),
        }
    }
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    ///
    /// All invalid variables at once.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        Self::read(Variables::from_env())
    }

    fn read(mut variables: Variables<'_>) -> Result<Self, ConfigErrors> {
        let key = variables.root_key("AUTH_API_KEY");
        let key_cache = variables.key_cache();
        let late_after =
            variables.seconds("ONERUN_STREAM_SECONDS", 1..=MAX_LATE_AFTER, LATE_AFTER).unsigned_abs();
        let engine = variables.settings(Settings::default());
        let audit_archive = variables.audit_archive();
        let outbound = variables.outbound();
        let models = ModelConfig::read(&mut variables);
        let traffic = Traffic::read(&mut variables);
        variables.finish(Self {
            key,
            key_cache,
            late_after,
            engine,
            audit_archive,
            outbound,
            models,
            traffic,
        })
    }

    /// Reads the models from the environment and leaves everything else at its default. `model` replaces the
    /// environment's model for everything.
    ///
    /// # Errors
    ///
    /// All invalid variables at once.
    pub fn with_models_of_env(model: Option<&ModelName>) -> Result<Self, ConfigErrors> {
        Self::with_some_models_of_env([model; 3])
    }

    /// Like [`with_models_of_env`](Self::with_models_of_env), with one model for personas, one for their replies and
    /// one for judging, each of the environment if it is `None`.
    ///
    /// # Errors
    ///
    /// All invalid variables at once.
    pub fn with_some_models_of_env(models: [Option<&ModelName>; 3]) -> Result<Self, ConfigErrors> {
        let environment = Variables::from_env();
        let [persona, reply, judge] = models;
        let mut variables = Variables::new(|name| {
            let model = match name {
                // No purpose is left to it.
                "ONERUN_MODEL" if models.iter().all(Option::is_some) => persona,
                "ONERUN_PERSONA_MODEL" => persona,
                "ONERUN_REPLY_MODEL" => reply,
                "ONERUN_JUDGE_MODEL" => judge,
                _ => None,
            };
            model.map(ModelName::to_string).or_else(|| environment.text(name))
        });
        let models = ModelConfig::read(&mut variables);
        let traffic = Traffic::read(&mut variables);
        variables.finish(Self { models, traffic, ..Self::default() })
    }

    /// The models that simulations use if they name none.
    pub fn models(&self) -> &SimulationModels {
        self.models.defaults()
    }

    /// Replaces the root key.
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
        Config::read(Variables::new(found)).map_err(|errors| errors.to_string())
    }

    #[test]
    fn empty_environment_gives_the_defaults() {
        let config = read(&[]).unwrap();
        assert!(config.key.is_none());
        assert_eq!(config.engine.lease, SignedDuration::from_secs(300));
    }

    #[test]
    fn invalid_variables_are_reported_at_once_without_the_key() {
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
    fn lease_is_read_in_seconds() {
        let config = read(&[("ONERUN_LEASE_SECONDS", "2")]).unwrap();
        assert_eq!(config.engine.lease, SignedDuration::from_secs(2));
    }
}
