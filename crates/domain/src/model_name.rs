//! The names of models: which model plays personas, replies and judges.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The maximum length of a model's name, in bytes. Names of inference profiles are long.
const MAX_LENGTH: usize = 256;

/// Who serves a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// The scripted model, which needs no network.
    Offline,
    /// Any server that speaks OpenAI's chat completions.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
    /// Amazon Bedrock's Converse API.
    Bedrock,
    /// Any server that speaks OpenAI's decisions.
    OpenAiDecisions,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 5] =
        [Self::Offline, Self::OpenAi, Self::Anthropic, Self::Bedrock, Self::OpenAiDecisions];

    /// The word before the colon in a model's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::OpenAiDecisions => "openai-decisions",
        }
    }

    /// Whether its models can play personas. A decision model only judges.
    pub fn writes_text(self) -> bool {
        self != Self::OpenAiDecisions
    }

    /// Parses the word before the colon.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == word)
    }
}

/// Why a model's name was refused. The message completes a sentence that starts with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelNameError {
    /// The name has no known provider.
    #[error(
        "must be `offline` or `provider:model` with the provider `openai`, `anthropic`, `bedrock` or `openai-decisions`, such as `openai:gpt-5.4-mini`"
    )]
    Provider,
    /// The part after the colon is missing, too long, or has other than visible ASCII characters.
    #[error(
        "must name a model after the colon, in visible ASCII characters, at most {MAX_LENGTH} bytes in all"
    )]
    Model,
}

/// A model's name: `offline`, or `provider:model` such as `openai:gpt-5.4-mini`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName {
    provider: Provider,
    /// Empty for the offline model.
    model: Box<str>,
}

impl ModelName {
    /// The scripted model.
    pub fn offline() -> Self {
        Self { provider: Provider::Offline, model: Box::default() }
    }

    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, ModelNameError> {
        if text == Provider::Offline.as_str() {
            return Ok(Self::offline());
        }
        let (provider, model) = text.split_once(':').ok_or(ModelNameError::Provider)?;
        let provider = Provider::parse(provider).ok_or(ModelNameError::Provider)?;
        if provider == Provider::Offline {
            return Err(ModelNameError::Provider);
        }
        let is_model = !model.is_empty() && model.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_model || text.len() > MAX_LENGTH {
            return Err(ModelNameError::Model);
        }
        Ok(Self { provider, model: model.into() })
    }

    /// Who serves it.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The provider's own name for it; empty for the offline model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether it is the scripted model.
    pub fn is_offline(&self) -> bool {
        self.provider == Provider::Offline
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.provider.as_str())?;
        if self.is_offline() { Ok(()) } else { write!(formatter, ":{}", self.model) }
    }
}

impl FromStr for ModelName {
    type Err = ModelNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ModelName {
    type Error = ModelNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.to_string()
    }
}

/// Which model does what in a simulation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulationModels {
    /// Generates the personas.
    pub persona: ModelName,
    /// Writes the personas' messages.
    pub reply: ModelName,
    /// Judges conversations against prose criteria.
    pub judge: ModelName,
}

impl SimulationModels {
    /// One model for everything.
    pub fn all(name: &ModelName) -> Self {
        Self { persona: name.clone(), reply: name.clone(), judge: name.clone() }
    }

    /// The three names.
    pub fn names(&self) -> [&ModelName; 3] {
        [&self.persona, &self.reply, &self.judge]
    }

    /// The model that serves a purpose.
    pub fn name(&self, purpose: Purpose) -> &ModelName {
        match purpose {
            Purpose::Persona => &self.persona,
            Purpose::Reply => &self.reply,
            Purpose::Judge => &self.judge,
        }
    }
}

impl Default for SimulationModels {
    fn default() -> Self {
        Self::all(&ModelName::offline())
    }
}

/// The purpose of a call to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A persona.
    Persona,
    /// A persona's message.
    Reply,
    /// Verdicts on a conversation.
    Judge,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Persona, Self::Reply, Self::Judge];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Persona => "persona",
            Self::Reply => "reply",
            Self::Judge => "judge",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_offline_or_provider_and_model() {
        for text in [
            "offline",
            "openai:gpt-5.4-mini",
            "bedrock:eu.anthropic.claude-sonnet-5-5-v1:0",
            "openai-decisions:gpt-6-luna",
        ] {
            assert_eq!(ModelName::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "gpt-5", "offline:x", "mistral:large", ":x"] {
            assert_eq!(ModelName::parse(text), Err(ModelNameError::Provider), "{text}");
        }
        for text in ["openai:", "openai:a b", "openai:é", &format!("openai:{}", "a".repeat(MAX_LENGTH))] {
            assert_eq!(ModelName::parse(text), Err(ModelNameError::Model), "{text}");
        }
    }
}
