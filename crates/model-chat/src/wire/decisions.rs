//! OpenAI's decisions: questions about a text, each answered with the probability of each of its choices.
//!
//! Source: <https://developers.openai.com/api/reference/resources/decisions/>. LiteLLM, SGLang and others serve the same.

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use onerun_domain::TokenUsage;
use serde_json::{Value, json};

use super::{
    OpenAi, bounded,
    failure::{shapeless, success},
};
use crate::{
    chat::{ChatAnswer, ChatError, ChatRequest, Finish},
    decisions::CHOICES,
    json::{count, member},
};

/// The path of the operation.
const OPERATION: &str = "/decisions";

/// A server of decision models: OpenAI, or another one with the same API.
#[derive(Clone, Debug)]
pub struct Decisions(OpenAi);

impl Decisions {
    /// Decisions of a server.
    pub fn new(server: OpenAi) -> Self {
        Self(server)
    }

    pub(super) fn secrets(&self) -> Vec<&str> {
        self.0.secrets()
    }

    pub(super) fn request(&self, model: &str, request: &ChatRequest) -> Result<Request<Bytes>, ChatError> {
        self.0.post(self.0.join(OPERATION), &payload(model, request))
    }

    /// Reads the response. The text is the list of answers as JSON.
    pub(super) fn answer(&self, response: &Response<Bytes>, now: Timestamp) -> Result<ChatAnswer, ChatError> {
        let secrets = self.secrets();
        let json = success(response, None, &secrets, now)?;
        let Some(answers) = member(&json, "answers") else {
            return Err(shapeless(&json, "answers", usage(&json), &secrets));
        };
        Ok(ChatAnswer {
            text: Some(json!({ "answers": answers }).to_string()),
            finish: Finish::Complete,
            version: json.get("model").and_then(Value::as_str).and_then(bounded),
            tokens: usage(&json),
        })
    }
}

/// The body of a request. The instructions and the messages are the text that all questions are about.
fn payload(model: &str, request: &ChatRequest) -> Value {
    let messages = request.messages.iter().map(|message| message.text.as_str());
    let input: Vec<&str> = std::iter::once(request.system.as_str()).chain(messages).collect();
    let choices = CHOICES.map(|(value, description)| json!({"value": value, "description": description}));
    let questions = request.questions.iter().zip(1..).map(|(instructions, number)| {
        json!({
            "type": "choice",
            "name": number.to_string(),
            "instructions": instructions,
            "choices": choices,
        })
    });
    json!({
        "model": model,
        "input": input.join("\n\n"),
        "questions": questions.collect::<Vec<_>>(),
    })
}

/// The usage. `input_tokens` includes cached ones.
fn usage(json: &Value) -> Option<TokenUsage> {
    let usage = member(json, "usage")?;
    let input = count(usage, "input_tokens")?;
    let detail =
        |name: &str| usage.get("input_tokens_details").and_then(|details| count(details, name)).unwrap_or(0);
    let cached = detail("cached_tokens").min(input);
    let cache_write = detail("cache_write_tokens").min(input - cached);
    Some(TokenUsage {
        input: input - cached - cache_write,
        cached_input: cached,
        cache_write,
        output: count(usage, "output_tokens").unwrap_or(0),
        reasoning: 0,
    })
}
