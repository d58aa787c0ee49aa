//! The models of a function.
//!
//! Most functions call no model: [`ModelNames`] links none, which makes them smaller. The functions that
//! do have [`CallableModels`], whose providers' keys are in a secret of their own.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp, civil::Date};
use onerun_domain::{Clock, ModelName, NanoDollars, Redaction, SimulationModels, TokenUsage};
use onerun_engine::{Model, ModelError, Models};
use onerun_host::{ConfigErrors, Variables};
use onerun_model_chat::{ChatModels, ModelConfig};
use onerun_model_offline::Offline;
use onerun_transport::Transport;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{keys::PAUSE, secret::SecretError};

/// The members of the secret, which are names of variables. Others are ignored.
const KEYS: [&str; 3] = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"];

/// The models of one function.
#[async_trait]
pub(crate) trait FunctionModels: Models {
    /// Reads the providers' keys if that is due. Called before each event.
    async fn refresh(&self) {}

    /// The patterns of what is neither stored in messages nor sent to a provider.
    fn redaction(&self) -> &Arc<Redaction>;
}

/// The names and prices of models, for a function that calls none.
pub(crate) struct ModelNames(pub(crate) ModelConfig);

impl FunctionModels for ModelNames {
    fn redaction(&self) -> &Arc<Redaction> {
        self.0.redaction()
    }
}

impl Models for ModelNames {
    fn defaults(&self) -> &SimulationModels {
        self.0.defaults()
    }

    fn allowed(&self) -> &[ModelName] {
        self.0.allowed()
    }

    fn cost(&self, name: &ModelName, tokens: TokenUsage) -> Option<NanoDollars> {
        self.0.cost(name, tokens)
    }

    fn retires(&self, name: &ModelName, today: Date, days: u16) -> Option<Date> {
        self.0.prices().retires_within(name, today, days)
    }

    fn open(&self, _: &ModelName) -> Result<Arc<dyn Model>, ModelError> {
        Err(ModelError::Misconfigured("this function calls no models".to_owned()))
    }
}

/// A secret's text: of Secrets Manager, or a fake in tests.
#[async_trait]
pub(crate) trait SecretText: Send + Sync {
    /// The text of the secret.
    async fn text(&self) -> Result<Zeroizing<String>, SecretError>;
}

/// A secret with the providers' keys.
pub(crate) struct ModelKeys {
    pub(crate) source: Box<dyn SecretText>,
    /// The age from which the secret is read again.
    pub(crate) ttl: SignedDuration,
}

/// The dependencies of calls to models.
pub(crate) struct ModelParts {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The function's variables, read again with each version of the secret.
    pub(crate) variables: fn() -> Variables<'static>,
}

/// Models that the function can call.
pub(crate) struct CallableModels {
    names: ModelConfig,
    parts: ModelParts,
    /// `None` if all keys are in variables.
    keys: Option<ModelKeys>,
    /// `None` before the keys were read.
    models: RwLock<Option<Arc<ChatModels>>>,
    // Held while the secret is read, so that concurrent events share one read.
    reads: Mutex<Reads>,
}

/// The last reads of the secret. Times are of the wall clock, because a frozen function stops the other.
#[derive(Default)]
struct Reads {
    /// When a read last succeeded.
    read_at: Option<Timestamp>,
    /// When the last read began.
    began_at: Option<Timestamp>,
    /// The text in use.
    text: Option<Zeroizing<String>>,
}

/// Why the providers' keys cannot be used.
#[derive(Debug, thiserror::Error)]
enum ModelKeysError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(
        "the secret is not a JSON object of strings such as {{\"OPENAI_API_KEY\": \"…\"}}; correct its value"
    )]
    Form,
    #[error("with these keys, the configuration of models is invalid: {0}")]
    Config(#[from] ConfigErrors),
}

impl CallableModels {
    /// Models whose providers' keys are in variables.
    pub(crate) fn new(config: ModelConfig, parts: ModelParts) -> Self {
        let models = config.clone().open(&parts.transport, &parts.clock);
        let this = Self::with_keys(config, parts, None);
        this.replace(models);
        this
    }

    /// Models whose providers' keys are in a secret, unless only the offline model is allowed.
    pub(crate) fn with_secret(names: ModelConfig, parts: ModelParts, keys: ModelKeys) -> Self {
        if names.allowed().iter().all(ModelName::is_offline) {
            return Self::new(names, parts);
        }
        Self::with_keys(names, parts, Some(keys))
    }

    fn with_keys(names: ModelConfig, parts: ModelParts, keys: Option<ModelKeys>) -> Self {
        Self { names, parts, keys, models: RwLock::default(), reads: Mutex::default() }
    }

    fn replace(&self, models: ChatModels) {
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(models));
    }

    async fn read(&self, keys: &ModelKeys, reads: &mut Reads) -> Result<(), ModelKeysError> {
        let text = keys.source.text().await?;
        if reads.text.as_ref() != Some(&text) {
            self.replace(self.open_with(&parse(&text)?)?);
            reads.text = Some(text);
        }
        Ok(())
    }

    /// Opens the models with keys that take precedence over variables.
    fn open_with(&self, keys: &BTreeMap<&str, Zeroizing<String>>) -> Result<ChatModels, ConfigErrors> {
        let environment = (self.parts.variables)();
        let lookup =
            |name: &str| keys.get(name).map_or_else(|| environment.text(name), |key| Some(key.to_string()));
        let mut variables = Variables::new(lookup);
        let config = ModelConfig::read(&mut variables);
        Ok(variables.finish(config)?.open(&self.parts.transport, &self.parts.clock))
    }
}

#[async_trait]
impl FunctionModels for CallableModels {
    async fn refresh(&self) {
        let Some(keys) = &self.keys else { return };
        let mut reads = self.reads.lock().await;
        let now = self.parts.clock.now();
        if is_within(reads.read_at, keys.ttl, now) || is_within(reads.began_at, PAUSE, now) {
            return;
        }
        reads.began_at = Some(now);
        match self.read(keys, &mut reads).await {
            Ok(()) => reads.read_at = Some(now),
            Err(error) => tracing::error!(
                %error,
                "the keys of models were not read from the secret; calls to models fail until they are, or use the \
                 keys of the last read"
            ),
        }
    }

    fn redaction(&self) -> &Arc<Redaction> {
        self.names.redaction()
    }
}

impl Models for CallableModels {
    fn defaults(&self) -> &SimulationModels {
        self.names.defaults()
    }

    fn allowed(&self) -> &[ModelName] {
        self.names.allowed()
    }

    fn cost(&self, name: &ModelName, tokens: TokenUsage) -> Option<NanoDollars> {
        self.names.cost(name, tokens)
    }

    fn retires(&self, name: &ModelName, today: Date, days: u16) -> Option<Date> {
        self.names.prices().retires_within(name, today, days)
    }

    fn open(&self, name: &ModelName) -> Result<Arc<dyn Model>, ModelError> {
        if name.is_offline() {
            return Ok(Arc::new(Offline));
        }
        match &*self.models.read().unwrap_or_else(PoisonError::into_inner) {
            Some(models) => models.open(name),
            None => Err(ModelError::unavailable(
                "the keys of models were not read from the secret; an earlier line of the log says why",
            )),
        }
    }
}

/// Whether a time is less than `length` ago. A time in the future is none: the clock was set back.
fn is_within(time: Option<Timestamp>, length: SignedDuration, now: Timestamp) -> bool {
    time.is_some_and(|time| (SignedDuration::ZERO..length).contains(&now.duration_since(time)))
}

/// The keys in the text of a secret. No error repeats any part of it.
fn parse(text: &str) -> Result<BTreeMap<&'static str, Zeroizing<String>>, ModelKeysError> {
    let members: Map<String, Value> = serde_json::from_str(text).map_err(|_| ModelKeysError::Form)?;
    let mut keys = BTreeMap::new();
    for name in KEYS {
        match members.get(name) {
            None => {}
            Some(Value::String(key)) => _ = keys.insert(name, Zeroizing::new(key.clone())),
            Some(_) => return Err(ModelKeysError::Form),
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
