//! The wires: how a request and its answer look in HTTP.

mod anthropic;
mod converse;
mod decisions;
mod endpoint;
mod failure;
mod openai;
mod retry_after;

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde::Serialize;

pub use self::{
    anthropic::Anthropic,
    converse::{AwsCredentials, Converse},
    decisions::Decisions,
    endpoint::EndpointError,
    openai::OpenAi,
};
use crate::{
    chat::{ChatAnswer, ChatError, ChatMessage, ChatRequest, ChatRole},
    dialect::{Dialect, Structure},
    schema::Schema,
};

/// The name of the tool that a model must use to give a structured answer.
const TOOL: &str = "answer";

/// The maximum length of names that a provider chooses, such as a model's version, in bytes.
const MAX_NAME: usize = 256;

/// How one provider is addressed. It holds the endpoint and the credentials.
#[derive(Clone, Debug)]
pub enum Wire {
    /// OpenAI's chat completions.
    OpenAi(OpenAi),
    /// Anthropic's Messages.
    Anthropic(Anthropic),
    /// Bedrock's Converse.
    Converse(Converse),
    /// OpenAI's decisions.
    Decisions(Decisions),
}

impl Wire {
    /// The dialect of a model of which nothing is known yet.
    pub fn dialect(&self) -> Dialect {
        Dialect {
            structure: Structure::Schema,
            temperature: true,
            seed: matches!(self, Self::OpenAi(_)),
            completion_limit: matches!(self, Self::OpenAi(wire) if wire.is_openai()),
        }
    }

    /// The form of structured output between the schema and the prompt.
    pub(crate) fn fallback(&self) -> Structure {
        match self {
            Self::OpenAi(_) => Structure::Object,
            Self::Anthropic(_) | Self::Converse(_) => Structure::Tool,
            Self::Decisions(_) => Structure::Prompt,
        }
    }

    /// Builds the HTTP request. `now` is the time of the signature, if the wire signs.
    pub fn request(
        &self,
        model: &str,
        request: &ChatRequest,
        dialect: Dialect,
        now: Timestamp,
    ) -> Result<Request<Bytes>, ChatError> {
        match self {
            Self::OpenAi(wire) => wire.request(model, request, dialect),
            Self::Anthropic(wire) => wire.request(model, request, dialect),
            Self::Converse(wire) => wire.request(model, request, dialect, now),
            Self::Decisions(wire) => wire.request(model, request),
        }
    }

    /// Reads the HTTP response. `now` is the reference of `Retry-After` as a date.
    pub fn answer(&self, response: &Response<Bytes>, now: Timestamp) -> Result<ChatAnswer, ChatError> {
        match self {
            Self::OpenAi(wire) => wire.answer(response, now),
            Self::Anthropic(wire) => wire.answer(response, now),
            Self::Converse(wire) => wire.answer(response, now),
            Self::Decisions(wire) => wire.answer(response, now),
        }
    }

    /// The secrets that this wire sends, which must not appear in a log.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        match self {
            Self::OpenAi(wire) => wire.secrets(),
            Self::Anthropic(wire) => wire.secrets(),
            Self::Converse(wire) => wire.secrets(),
            Self::Decisions(wire) => wire.secrets(),
        }
    }
}

/// Serialises a body. Its types have no value that can fail to serialise.
fn body(payload: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(payload).unwrap_or_default())
}

/// A tool whose input is the answer.
fn tool_description(schema: &Schema) -> String {
    format!("Gives the answer: {}", schema.name)
}

/// The instructions, with the schema where no parameter conveys it.
fn system(request: &ChatRequest, dialect: Dialect) -> String {
    match (request.schema, dialect.structure) {
        (Some(schema), Structure::Object | Structure::Prompt) => format!(
            "{}\n\nAnswer with one JSON object and nothing else. It must match this JSON Schema:\n{}",
            request.system,
            schema.json()
        ),
        _ => request.system.clone(),
    }
}

/// The messages with adjacent ones of the same role joined, as Anthropic and Bedrock want turns to
/// alternate. Blank messages are left out, because both refuse them.
fn alternating(messages: &[ChatMessage]) -> Vec<(ChatRole, String)> {
    let mut turns: Vec<(ChatRole, String)> = Vec::with_capacity(messages.len());
    for message in messages.iter().filter(|message| !message.text.trim().is_empty()) {
        match turns.last_mut() {
            Some((role, text)) if *role == message.role => {
                text.push_str("\n\n");
                text.push_str(&message.text);
            }
            _ => turns.push((message.role, message.text.clone())),
        }
    }
    turns
}

/// A bounded copy of a name that a provider chose. `None` if it is blank.
fn bounded(name: &str) -> Option<String> {
    let name = name.trim();
    let end = name.floor_char_boundary(MAX_NAME);
    (!name.is_empty()).then(|| name[..end].to_owned())
}

#[cfg(test)]
mod tests;
