//! Requests to chat models and their answers, the same for all wires.

use std::{fmt, time::Duration};

use onerun_domain::TokenUsage;

use onerun_transport::TransportError;

use crate::{dialect::Parameter, schema::Schema, secret::redact};

/// The maximum length of a [`Detail`], in bytes.
const MAX_DETAIL: usize = 500;

/// A request to a chat model, or to a decision model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest {
    /// The instructions.
    pub system: String,
    /// The messages, oldest first. The first one is the user's: some providers refuse requests that start
    /// with the assistant.
    pub messages: Vec<ChatMessage>,
    /// The questions to a decision model about the messages. Chat models get none.
    pub questions: Vec<String>,
    /// The schema of a structured answer; `None` for prose.
    pub schema: Option<&'static Schema>,
    /// The maximum number of tokens to write, including those of reasoning.
    pub max_tokens: u32,
    /// The temperature; `None` for the provider's default.
    pub temperature: Option<f64>,
    /// The seed. Anthropic and Bedrock have none and ignore it.
    pub seed: Option<u64>,
}

/// One message of a [`ChatRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who wrote it, as the model sees it.
    pub role: ChatRole,
    /// The text.
    pub text: String,
}

/// Who wrote a message, as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatRole {
    /// The model's counterpart.
    User,
    /// The model.
    Assistant,
}

impl ChatRole {
    /// The word on all three wires.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatAnswer {
    /// The text without reasoning. `None` if the model wrote none. A structured answer may still be
    /// surrounded by prose or a fence: see [`crate::json_text`].
    pub text: Option<String>,
    /// Why the model stopped.
    pub finish: Finish,
    /// The provider's own name for the model that answered.
    pub version: Option<String>,
    /// The tokens that the call consumed; `None` if the provider did not report it.
    pub tokens: Option<TokenUsage>,
}

/// Why a model stopped writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The answer is complete.
    Complete,
    /// The limit of tokens was reached, so the answer may be cut off.
    Length,
    /// The model or a filter refused to answer.
    Refused,
    /// A reason that is not known here. Its text is bounded.
    Other(String),
}

/// A provider's own words about an error, for the log. They are bounded and contain no secret. They must
/// not be shown to callers of the API.
#[derive(Clone, PartialEq, Eq)]
pub struct Detail(Box<str>);

impl Detail {
    /// Bounds a text and removes secrets and control characters from it.
    pub(crate) fn new<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let text = redact(text, secrets);
        let mut short = String::with_capacity(text.len().min(MAX_DETAIL));
        for word in text.split(|character: char| character.is_whitespace() || character.is_control()) {
            if word.is_empty() {
                continue;
            }
            if !short.is_empty() {
                short.push(' ');
            }
            short.push_str(word);
            if short.len() > MAX_DETAIL {
                short.truncate(short.floor_char_boundary(MAX_DETAIL));
                short.push('…');
                break;
            }
        }
        Self(short.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

/// Why a chat model gave no answer. The messages contain nothing that a provider wrote; that is in
/// [`ChatError::detail`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The provider refused the request for its rate.
    #[error("the provider limits the rate of requests")]
    RateLimited {
        /// When the provider wants to be asked again, if it says so.
        retry_after: Option<Duration>,
        /// The provider's words.
        detail: Detail,
    },
    /// The provider has no capacity at present.
    #[error("the provider is overloaded")]
    Overloaded {
        /// When the provider wants to be asked again, if it says so.
        retry_after: Option<Duration>,
        /// The provider's words.
        detail: Detail,
    },
    /// The account has no credit or quota left.
    #[error("the account at the provider has no credit or quota left; check its plan and billing")]
    Quota(Detail),
    /// The provider refused the credentials.
    #[error("the provider refused the credentials; check the API key, and its rights to use the model")]
    Credentials(Detail),
    /// The provider refused the request for another reason. The model may not exist at this address.
    #[error("the provider refused the request; check the model's name and the base URL")]
    Configuration(Detail),
    /// The provider refused a parameter that this crate can leave out. [`crate::Provider`] does so.
    #[error("the provider does not support a parameter of the request")]
    Unsupported {
        /// The parameter.
        parameter: Parameter,
        /// The provider's words.
        detail: Detail,
    },
    /// The request is longer than the model's context.
    #[error("the conversation is longer than the model's context")]
    ContextTooLong(Detail),
    /// A filter of the provider refused the request.
    #[error("the provider's content filter refused the request")]
    Refused(Detail),
    /// The answer did not arrive in time. It may be billed.
    #[error("the provider did not answer in time")]
    Timeout,
    /// The provider could not be reached, so it has received nothing.
    #[error("the provider could not be reached; check the base URL and the network")]
    Connect(Detail),
    /// The answer was cut off, too large, or not what the wire defines. It may be billed.
    #[error("the provider's answer could not be read")]
    Broken {
        /// The defect.
        detail: Detail,
        /// The tokens that the call consumed, if they could be read.
        tokens: Option<TokenUsage>,
    },
    /// The provider reported an internal error.
    #[error("the provider failed with status {status}")]
    Failed {
        /// The HTTP status.
        status: u16,
        /// The provider's words.
        detail: Detail,
    },
    /// Nothing was sent: a recording is replayed and does not contain the request.
    #[error("the request is not in the recording; record it again")]
    NotRecorded(Detail),
    /// Nothing was sent: the provider's limits leave no room before the deadline.
    #[error("too many requests are waiting for the provider")]
    Busy {
        /// When there may be room.
        retry_after: Option<Duration>,
    },
    /// Nothing was sent: the last calls to the provider all failed.
    #[error("the provider is considered down after {failures} failed calls in a row; the last one: {cause}")]
    CircuitOpen {
        /// When the next call will be sent.
        retry_after: Duration,
        /// The number of failures.
        failures: u32,
        /// The message of the last failure.
        cause: Box<str>,
    },
}

impl ChatError {
    /// The provider's own words, for the log.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::RateLimited { detail, .. }
            | Self::Overloaded { detail, .. }
            | Self::Quota(detail)
            | Self::Credentials(detail)
            | Self::Configuration(detail)
            | Self::Unsupported { detail, .. }
            | Self::ContextTooLong(detail)
            | Self::Refused(detail)
            | Self::Connect(detail)
            | Self::NotRecorded(detail)
            | Self::Broken { detail, .. }
            | Self::Failed { detail, .. } => Some(detail.as_str()),
            Self::Timeout | Self::Busy { .. } | Self::CircuitOpen { .. } => None,
        }
    }

    /// Whether a request reached the provider, or may have.
    pub fn was_sent(&self) -> bool {
        !matches!(
            self,
            Self::Connect(_) | Self::NotRecorded(_) | Self::Busy { .. } | Self::CircuitOpen { .. }
        )
    }

    /// Whether the provider may bill the call although it failed.
    pub fn may_be_billed(&self) -> bool {
        matches!(self, Self::Timeout | Self::Broken { .. } | Self::Failed { .. })
    }

    /// The tokens that the failed call consumed, if the provider reported it.
    pub fn tokens(&self) -> Option<TokenUsage> {
        match self {
            Self::Broken { tokens, .. } => *tokens,
            _ => None,
        }
    }

    /// When the same request may succeed, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Overloaded { retry_after, .. }
            | Self::Busy { retry_after } => *retry_after,
            Self::CircuitOpen { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without a change to it or to the configuration.
    pub fn is_temporary(&self) -> bool {
        !matches!(
            self,
            Self::Quota(_)
                | Self::Credentials(_)
                | Self::Configuration(_)
                | Self::Unsupported { .. }
                | Self::ContextTooLong(_)
                | Self::Refused(_)
                | Self::NotRecorded(_)
        )
    }

    /// Wraps an error of a transport.
    pub(crate) fn from_transport<'a>(
        error: TransportError,
        secrets: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        match error {
            TransportError::Timeout => Self::Timeout,
            TransportError::Connect(text) => Self::Connect(Detail::new(&text, secrets)),
            TransportError::Refused(error) => Self::Connect(Detail::new(&error.to_string(), secrets)),
            TransportError::Broken(text) => Self::broken(&text, secrets),
            TransportError::NotRecorded(text) => Self::NotRecorded(Detail::new(&text, secrets)),
            TransportError::TooLarge => Self::broken("the response is too large", []),
        }
    }

    /// An answer that could not be read, with unknown usage.
    pub(crate) fn broken<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Broken { detail: Detail::new(text, secrets), tokens: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_is_bounded_and_on_one_line() {
        let detail = Detail::new(&format!("a\n\tb\u{0} {}", "é".repeat(1000)), []);
        assert!(detail.as_str().starts_with("a b é"), "{detail:?}");
        assert!(detail.as_str().len() <= MAX_DETAIL + '…'.len_utf8());
        assert!(detail.as_str().ends_with('…'));
    }

    #[test]
    fn secret_across_the_bound_is_redacted() {
        let secret = "sk-0123456789";
        let text = format!("{}{secret}", "x".repeat(MAX_DETAIL - 4));
        assert!(!Detail::new(&text, [secret]).as_str().contains("sk-0"));
    }
}
