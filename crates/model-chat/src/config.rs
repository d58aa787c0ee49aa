//! The models of a deployment, from its variables.

use std::{
    fs::File,
    io::{self, Read as _},
    num::NonZeroU32,
    sync::Arc,
};

use jiff::civil::Date;
use onerun_domain::{
    Clock, ModelName, NanoDollars, Provider as ProviderName, Redaction, SimulationModels, TokenUsage,
};
use onerun_engine::{Model, ModelError, Models};
use onerun_host::Variables;
use onerun_model_offline::Offline;
use onerun_transport::Transport;

use crate::{
    Anthropic, AwsCredentials, CircuitConfig, Converse, Decisions, Limits, OpenAi, Prices, Provider, Secret,
    Wire, chat_model::ChatModel, decisions::DecisionModel,
};

/// The longest file that holds a key or patterns, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The longest file that holds prices, in bytes.
const MAX_PRICES_FILE: u64 = 4 * 1024 * 1024;

/// Set to replay a recording, which needs no credentials. The host reads its value.
const REPLAY: &str = "ONERUN_MODEL_REPLAY";

/// Stands for credentials that are never sent.
const PLACEHOLDER: &str = "replayed";

/// The most models that a deployment may allow.
const MAX_ALLOWED: usize = 100;

/// The models of a deployment.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `ONERUN_MODEL` | `offline` | the model for everything: `offline` or `provider:model` |
/// | `ONERUN_PERSONA_MODEL`, `ONERUN_REPLY_MODEL`, `ONERUN_JUDGE_MODEL` | `ONERUN_MODEL` | the model for one purpose |
/// | `ONERUN_ALLOWED_MODELS` | | further models that a simulation may name, separated by commas |
/// | `OPENAI_API_KEY` | | the key |
/// | `OPENAI_BASE_URL` | OpenAI's | a server that speaks chat completions, or decisions |
/// | `ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL` | Anthropic's | the same for Messages |
/// | `AWS_REGION` | | the region of Bedrock |
/// | `AWS_BEARER_TOKEN_BEDROCK`, or `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | | the credentials for Bedrock |
/// | `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` | AWS's | another endpoint of Bedrock |
/// | `ONERUN_PRICES` | | JSON of prices that replace or extend the built-in ones |
/// | `ONERUN_REDACT` | | patterns, one a line, of what is removed from messages before they are stored, and from all text before it is sent to a provider |
/// | `ONERUN_JUDGE_PERSONA_FAULTS` | `false` | whether the judge also looks for faults of personas, in the same call |
/// | `ONERUN_MODEL_CONCURRENCY` | 16 | how many calls to one provider this process makes at once |
/// | `ONERUN_MODEL_CALLS_PER_MINUTE` | no limit | how many calls to one provider this process makes in a minute |
///
/// Each secret, `ONERUN_PRICES` and `ONERUN_REDACT` may also be in a file, which a variable with `_FILE` at the end of
/// its name names. If `ONERUN_MODEL_REPLAY` is set, no secret is needed.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    defaults: SimulationModels,
    allowed: Vec<ModelName>,
    prices: Arc<Prices>,
    redaction: Arc<Redaction>,
    limits: Limits,
    /// Whether the judge also looks for faults of personas.
    judges_personas: bool,
    /// The wires of all providers that a model names and that have credentials.
    wires: Vec<(ProviderName, Wire)>,
}

impl Default for ModelConfig {
    /// The offline model alone.
    fn default() -> Self {
        Self {
            defaults: SimulationModels::default(),
            allowed: vec![ModelName::offline()],
            prices: Arc::default(),
            redaction: Arc::default(),
            limits: Limits::default(),
            judges_personas: false,
            wires: Vec::new(),
        }
    }
}

impl ModelConfig {
    /// Reads the names and prices of models, and what is needed to call them.
    pub fn read(variables: &mut Variables<'_>) -> Self {
        let mut config = Self::read_names(variables).with_redaction(variables);
        config.judges_personas = flag(variables, "ONERUN_JUDGE_PERSONA_FAULTS");
        for provider in ProviderName::ALL {
            let Some(name) = config.allowed.iter().find(|name| name.provider() == provider) else { continue };
            let wire = match provider {
                ProviderName::Offline => None,
                ProviderName::OpenAi => open_ai(variables, name).map(Wire::OpenAi),
                ProviderName::Anthropic => anthropic(variables, name),
                ProviderName::Bedrock => bedrock(variables, name),
                ProviderName::OpenAiDecisions => {
                    open_ai(variables, name).map(|server| Wire::Decisions(Decisions::new(server)))
                }
            };
            config.wires.extend(wire.map(|wire| (provider, wire)));
        }
        config
    }

    /// Adds the patterns to redact.
    #[must_use]
    pub fn with_redaction(self, variables: &mut Variables<'_>) -> Self {
        Self { redaction: Arc::new(redaction(variables)), ..self }
    }

    /// Reads the names and prices of models alone, for a process that calls none and stores no messages.
    pub fn read_names(variables: &mut Variables<'_>) -> Self {
        let default = name(variables, "ONERUN_MODEL").unwrap_or_else(ModelName::offline);
        let mut purpose = |variable| name(variables, variable).unwrap_or_else(|| default.clone());
        let defaults = SimulationModels {
            persona: purpose("ONERUN_PERSONA_MODEL"),
            reply: purpose("ONERUN_REPLY_MODEL"),
            judge: purpose("ONERUN_JUDGE_MODEL"),
        };
        for (variable, name) in
            [("ONERUN_PERSONA_MODEL", &defaults.persona), ("ONERUN_REPLY_MODEL", &defaults.reply)]
        {
            if !name.provider().writes_text() {
                let problem = format!(
                    "must name a model that writes text: `{name}` only judges, so set ONERUN_JUDGE_MODEL to it"
                );
                variables.refuse(variable, &problem);
            }
        }
        let mut allowed = vec![ModelName::offline()];
        let listed = variables.text("ONERUN_ALLOWED_MODELS").unwrap_or_default();
        let mut further = Vec::new();
        for text in listed.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            match ModelName::parse(text) {
                Ok(name) => further.push(name),
                Err(error) => variables.refuse("ONERUN_ALLOWED_MODELS", &format!("`{text}` {error}")),
            }
        }
        for name in defaults.names().into_iter().cloned().chain(further) {
            if !allowed.contains(&name) {
                allowed.push(name);
            }
        }
        if allowed.len() > MAX_ALLOWED {
            variables.refuse("ONERUN_ALLOWED_MODELS", &format!("must name at most {MAX_ALLOWED} models"));
        }
        let prices = Arc::new(prices(variables));
        let limits = limits(variables);
        Self {
            defaults,
            allowed,
            prices,
            redaction: Arc::default(),
            limits,
            judges_personas: false,
            wires: Vec::new(),
        }
    }

    /// The models in use by default.
    pub fn defaults(&self) -> &SimulationModels {
        &self.defaults
    }

    /// All models that a simulation may name.
    pub fn allowed(&self) -> &[ModelName] {
        &self.allowed
    }

    /// The prices.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// The patterns of what is neither stored in messages nor sent to a provider.
    pub fn redaction(&self) -> &Arc<Redaction> {
        &self.redaction
    }

    /// The cost of tokens; `None` without a known price. The offline model costs nothing.
    pub fn cost(&self, name: &ModelName, tokens: TokenUsage) -> Option<NanoDollars> {
        if name.is_offline() {
            return Some(NanoDollars::default());
        }
        self.prices.price(name, None).map(|price| price.cost(tokens))
    }

    /// The models, called through a transport.
    pub fn open(self, transport: &Arc<dyn Transport>, clock: &Arc<dyn Clock>) -> ChatModels {
        let providers = self
            .wires
            .iter()
            .map(|(name, wire)| {
                let (transport, clock) = (Arc::clone(transport), Arc::clone(clock));
                let provider =
                    Provider::new(wire.clone(), transport, clock, self.limits, CircuitConfig::default());
                (*name, Arc::new(provider))
            })
            .collect();
        ChatModels { config: self, providers }
    }

    /// The models, of which only the offline model can be called.
    pub fn names_only(self) -> ChatModels {
        ChatModels { config: self, providers: Vec::new() }
    }
}

/// The models of a deployment.
pub struct ChatModels {
    config: ModelConfig,
    providers: Vec<(ProviderName, Arc<Provider>)>,
}

impl Models for ChatModels {
    fn defaults(&self) -> &SimulationModels {
        &self.config.defaults
    }

    fn allowed(&self) -> &[ModelName] {
        &self.config.allowed
    }

    fn cost(&self, name: &ModelName, tokens: TokenUsage) -> Option<NanoDollars> {
        self.config.cost(name, tokens)
    }

    fn retires(&self, name: &ModelName, today: Date, days: u16) -> Option<Date> {
        self.config.prices.retires_within(name, today, days)
    }

    fn open(&self, name: &ModelName) -> Result<Arc<dyn Model>, ModelError> {
        if name.is_offline() {
            return Ok(Arc::new(Offline));
        }
        // A simulation keeps its models, and the deployment may have changed since.
        if !self.config.allowed.contains(name) {
            return Err(ModelError::Misconfigured(format!(
                "`{name}` is not allowed any more; add it to ONERUN_ALLOWED_MODELS"
            )));
        }
        let found = self.providers.iter().find(|(provider, _)| *provider == name.provider());
        let Some((_, provider)) = found else {
            return Err(ModelError::Misconfigured(format!("this process has no credentials for `{name}`")));
        };
        let model = ChatModel {
            name: name.clone(),
            provider: Arc::clone(provider),
            prices: Arc::clone(&self.config.prices),
            redaction: Arc::clone(&self.config.redaction),
            judges_personas: self.config.judges_personas,
        };
        Ok(match name.provider() {
            ProviderName::OpenAiDecisions => Arc::new(DecisionModel(model)),
            _ => Arc::new(model),
        })
    }
}

fn name(variables: &mut Variables<'_>, variable: &str) -> Option<ModelName> {
    let text = variables.text(variable)?;
    ModelName::parse(&text).map_err(|error| variables.refuse(variable, &error.to_string())).ok()
}

fn open_ai(variables: &mut Variables<'_>, name: &ModelName) -> Option<OpenAi> {
    let (key, base_url) = key_and_url(variables, name, "OPENAI_API_KEY", "OPENAI_BASE_URL")?;
    let server = OpenAi::new(base_url.as_deref(), key);
    server.map_err(|error| variables.refuse("OPENAI_BASE_URL", &error.to_string())).ok()
}

fn anthropic(variables: &mut Variables<'_>, name: &ModelName) -> Option<Wire> {
    let (key, base_url) = key_and_url(variables, name, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")?;
    let wire = Anthropic::new(base_url.as_deref(), key);
    wire.map(Wire::Anthropic).map_err(|error| variables.refuse("ANTHROPIC_BASE_URL", &error.to_string())).ok()
}

/// A provider's key and base URL, of which one is needed.
fn key_and_url(
    variables: &mut Variables<'_>,
    name: &ModelName,
    key_variable: &str,
    url_variable: &str,
) -> Option<(Option<Secret>, Option<String>)> {
    let key = secret(variables, key_variable);
    let base_url = variables.text(url_variable);
    if key.is_none() && base_url.is_none() {
        let problem =
            format!("must be set, or {url_variable} for a server that needs no key: `{name}` is configured");
        variables.refuse(key_variable, &problem);
        return None;
    }
    Some((key, base_url))
}

fn bedrock(variables: &mut Variables<'_>, name: &ModelName) -> Option<Wire> {
    let region = variables.text("AWS_REGION").or_else(|| variables.text("AWS_DEFAULT_REGION"));
    let Some(region) = region else {
        variables.refuse("AWS_REGION", &format!("must be set to Bedrock's region: `{name}` is configured"));
        return None;
    };
    let credentials = if let Some(token) = secret(variables, "AWS_BEARER_TOKEN_BEDROCK") {
        AwsCredentials::Bearer(token)
    } else {
        let (id, key) = (secret(variables, "AWS_ACCESS_KEY_ID"), secret(variables, "AWS_SECRET_ACCESS_KEY"));
        let (Some(id), Some(secret_key)) = (id, key) else {
            let problem = format!(
                "must be set with AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK: `{name}` is configured. \
                 `aws configure export-credentials --format env` prints those of a profile"
            );
            variables.refuse("AWS_ACCESS_KEY_ID", &problem);
            return None;
        };
        let session_token = secret(variables, "AWS_SESSION_TOKEN");
        AwsCredentials::AccessKey { id, secret: secret_key, session_token }
    };
    let endpoint = variables.text("AWS_ENDPOINT_URL_BEDROCK_RUNTIME");
    let wire = Converse::new(&region, endpoint.as_deref(), credentials);
    let wire = wire.map_err(|error| {
        let variable = if endpoint.is_some() { "AWS_ENDPOINT_URL_BEDROCK_RUNTIME" } else { "AWS_REGION" };
        variables.refuse(variable, &error.to_string());
    });
    wire.map(Wire::Converse).ok()
}

/// A secret from a variable, or from the file that another variable names.
fn secret(variables: &mut Variables<'_>, variable: &str) -> Option<Secret> {
    if variables.text(REPLAY).is_some() {
        return Secret::parse(PLACEHOLDER);
    }
    let (source, text) = text_or_file(variables, variable, MAX_FILE)?;
    let secret = Secret::parse(&text);
    if secret.is_none() {
        variables.refuse(&source, "must be one word of visible ASCII characters");
    }
    secret
}

/// The text of a variable, or of the file of at most `max` bytes that another variable names, and the variable that is
/// set.
fn text_or_file(variables: &mut Variables<'_>, variable: &str, max: u64) -> Option<(String, String)> {
    let file_variable = format!("{variable}_FILE");
    match (variables.text(variable), variables.text(&file_variable)) {
        (Some(_), Some(_)) => {
            variables.refuse(&file_variable, &format!("must not be set together with {variable}"));
            None
        }
        (Some(text), None) => Some((variable.to_owned(), text)),
        (None, Some(path)) => {
            let text = read_file(variables, &file_variable, &path, max)?;
            Some((file_variable, text))
        }
        (None, None) => None,
    }
}

/// Reads a file of at most `max` bytes, whatever its size claims to be.
fn read_file(variables: &mut Variables<'_>, variable: &str, path: &str, max: u64) -> Option<String> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(max + 1).read_to_string(&mut text)?;
        if text.len() as u64 > max {
            return Err(io::Error::other(format!("the file has more than {max} bytes")));
        }
        Ok(text)
    };
    read().map_err(|error| variables.refuse(variable, &format!("cannot be read: {error}"))).ok()
}

fn prices(variables: &mut Variables<'_>) -> Prices {
    let built_in = Prices::built_in().unwrap_or_default();
    let Some((source, text)) = text_or_file(variables, "ONERUN_PRICES", MAX_PRICES_FILE) else {
        return built_in;
    };
    built_in.clone().with(&text).unwrap_or_else(|error| {
        variables.refuse(&source, &error.to_string());
        built_in
    })
}

fn redaction(variables: &mut Variables<'_>) -> Redaction {
    let Some((source, text)) = text_or_file(variables, "ONERUN_REDACT", MAX_FILE) else {
        return Redaction::default();
    };
    Redaction::parse(&text).unwrap_or_else(|error| {
        variables.refuse(&source, &error.to_string());
        Redaction::default()
    })
}

/// A variable that is `true` or `false`, the default.
fn flag(variables: &mut Variables<'_>, variable: &str) -> bool {
    match variables.text(variable).as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            variables.refuse(variable, "must be `true` or `false`");
            false
        }
    }
}

fn limits(variables: &mut Variables<'_>) -> Limits {
    let mut number = |variable: &str, max: u32| {
        let text = variables.text(variable)?;
        let number = text.parse::<u32>().ok().filter(|number| *number <= max).and_then(NonZeroU32::new);
        if number.is_none() {
            variables.refuse(variable, &format!("must be an integer from 1 to {max}"));
        }
        number
    };
    let concurrency = number("ONERUN_MODEL_CONCURRENCY", 1_000);
    let per_minute = number("ONERUN_MODEL_CALLS_PER_MINUTE", 1_000_000);
    let concurrency = concurrency.and_then(|number| usize::try_from(number.get()).ok());
    Limits { concurrency: concurrency.unwrap_or(Limits::default().concurrency), per_minute }
}

#[cfg(test)]
mod tests;
