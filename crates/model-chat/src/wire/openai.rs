//! OpenAI's chat completions, as OpenAI, Azure, vLLM, Ollama, llama.cpp, TGI, SGLang, LiteLLM, OpenRouter
//! and others speak them.

use bytes::Bytes;
use http::{Request, Response, header};
use jiff::Timestamp;
use onerun_domain::TokenUsage;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    body, bounded,
    endpoint::{Endpoint, EndpointError},
    failure::{Failure, shapeless, success},
    system,
};
use crate::{
    chat::{ChatAnswer, ChatError, ChatRequest, Detail, Finish},
    dialect::{Dialect, Structure},
    json::{count, member, object, text, without_reasoning},
    schema::Schema,
    secret::Secret,
};

/// OpenAI's base URL.
const OPENAI: &str = "https://api.openai.com/v1";

/// The ends of hosts of Azure's resources, which want their key in another header.
const AZURE: [&str; 4] =
    [".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".openai.azure.us"];

/// The path of the operation.
const OPERATION: &str = "/chat/completions";

/// A server that speaks OpenAI's chat completions.
#[derive(Clone, Debug)]
pub struct OpenAi {
    endpoint: Endpoint,
    key: Option<Secret>,
}

impl OpenAi {
    /// A server at a base URL, such as `http://127.0.0.1:11434/v1`; by default OpenAI's own. Local servers
    /// need no key.
    ///
    /// For Azure, the base URL is the resource's, with or without `/openai/v1` or
    /// `/openai/deployments/NAME?api-version=…`.
    pub fn new(base_url: Option<&str>, key: Option<Secret>) -> Result<Self, EndpointError> {
        Ok(Self { endpoint: Endpoint::parse(base_url.unwrap_or(OPENAI))?, key })
    }

    /// Whether this is OpenAI itself.
    pub(super) fn is_openai(&self) -> bool {
        let host = self.endpoint.host();
        host == "api.openai.com" || host.ends_with(".api.openai.com")
    }

    fn is_azure(&self) -> bool {
        AZURE.iter().any(|suffix| self.endpoint.host().ends_with(suffix))
            || self.endpoint.query().is_some_and(|query| query.contains("api-version="))
    }

    pub(super) fn secrets(&self) -> Vec<&str> {
        self.key.iter().map(Secret::expose).collect()
    }

    /// The URL of another operation below the base URL.
    pub(super) fn join(&self, operation: &str) -> String {
        self.endpoint.join(operation)
    }

    fn url(&self, model: &str) -> String {
        let path = self.endpoint.path();
        if path.ends_with(OPERATION) {
            return self.endpoint.with_path(path);
        }
        if self.is_azure() && matches!(path, "" | "/openai") {
            return match self.endpoint.query() {
                Some(_) => {
                    let deployment = utf8_percent_encode(model, NON_ALPHANUMERIC);
                    self.endpoint.with_path(&format!("/openai/deployments/{deployment}{OPERATION}"))
                }
                None => self.endpoint.with_path(&format!("/openai/v1{OPERATION}")),
            };
        }
        self.endpoint.join(OPERATION)
    }

    pub(super) fn request(
        &self,
        model: &str,
        request: &ChatRequest,
        dialect: Dialect,
    ) -> Result<Request<Bytes>, ChatError> {
        self.post(self.url(model), &payload(model, request, dialect))
    }

    /// A request of any operation, with the key.
    pub(super) fn post(&self, url: String, payload: &impl Serialize) -> Result<Request<Bytes>, ChatError> {
        let mut http = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(key) = &self.key {
            http = if self.is_azure() {
                http.header("api-key", key.header(""))
            } else {
                http.header(header::AUTHORIZATION, key.header("Bearer "))
            };
        }
        http.body(body(payload))
            .map_err(|error| ChatError::Configuration(Detail::new(&error.to_string(), self.secrets())))
    }

    pub(super) fn answer(&self, response: &Response<Bytes>, now: Timestamp) -> Result<ChatAnswer, ChatError> {
        let secrets = self.secrets();
        let json = success(response, None, &secrets, now)?;
        let failure = |json| Failure::from_response(response, Some(json), None, &secrets, now).into_error();
        let Some(choice) = json.get("choices").and_then(|choices| choices.get(0)) else {
            let is_error = ["error", "detail", "message"].iter().any(|name| member(&json, name).is_some());
            let error =
                if is_error { failure(&json) } else { shapeless(&json, "choices", usage(&json), &secrets) };
            return Err(error);
        };
        if member(choice, "error").is_some() {
            return Err(failure(choice));
        }
        Ok(answer(&json, choice))
    }
}

/// The body of a request.
#[derive(Serialize)]
struct Payload {
    #[serde(flatten)]
    parameters: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat {
    JsonObject,
    JsonSchema { json_schema: JsonSchema },
}

#[derive(Serialize)]
struct JsonSchema {
    name: &'static str,
    strict: bool,
    schema: &'static Schema,
}

fn payload(model: &str, request: &ChatRequest, dialect: Dialect) -> Payload {
    let system = json!({"role": "system", "content": system(request, dialect)});
    let turns = request
        .messages
        .iter()
        .map(|message| json!({"role": message.role.as_str(), "content": message.text}));
    let messages: Vec<Value> = std::iter::once(system).chain(turns).collect();
    let limit = if dialect.completion_limit { "max_completion_tokens" } else { "max_tokens" };
    let mut parameters = object([
        ("model", model.into()),
        ("messages", messages.into()),
        (limit, request.max_tokens.into()),
        ("stream", false.into()),
    ]);
    if let Some(temperature) = request.temperature.filter(|_| dialect.temperature) {
        parameters.insert("temperature".into(), temperature.into());
    }
    if let Some(seed) = request.seed.filter(|_| dialect.seed) {
        // Servers read it as a signed integer.
        parameters.insert("seed".into(), (seed & i64::MAX.cast_unsigned()).into());
    }
    let response_format = request.schema.and_then(|schema| match dialect.structure {
        Structure::Schema => Some(ResponseFormat::JsonSchema {
            json_schema: JsonSchema { name: schema.name, strict: true, schema },
        }),
        Structure::Object => Some(ResponseFormat::JsonObject),
        Structure::Tool | Structure::Prompt => None,
    });
    Payload { parameters, response_format }
}

/// Reads the first choice.
fn answer(json: &Value, choice: &Value) -> ChatAnswer {
    let nothing = Value::Null;
    let message = choice.get("message").unwrap_or(&nothing);
    let refusal = text(message, "refusal").is_some();
    let (content, part_refuses) = content(message.get("content").unwrap_or(&nothing));
    let written = content
        .or_else(|| tool_input(message))
        // The older API for completions.
        .or_else(|| text(choice, "text").map(str::to_owned));
    let text = written.as_deref().and_then(without_reasoning).filter(|text| !text.trim().is_empty());
    let finish = match choice.get("finish_reason").and_then(Value::as_str) {
        _ if refusal || part_refuses => Finish::Refused,
        Some(reason) => finish(reason),
        None if text.is_some() => Finish::Complete,
        None => Finish::Other("none".into()),
    };
    ChatAnswer {
        text: text.map(str::to_owned),
        finish,
        version: json.get("model").and_then(Value::as_str).and_then(bounded),
        tokens: usage(json),
    }
}

/// The text of a message's content, and whether a part of it is a refusal. The content may be a string or a
/// list of parts.
fn content(content: &Value) -> (Option<String>, bool) {
    match content {
        Value::String(text) => (Some(text.clone()), false),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter(|part| !matches!(text(part, "type"), Some("thinking" | "reasoning")))
                .filter_map(|part| part.as_str().or_else(|| part.get("text").and_then(Value::as_str)))
                .collect();
            let refuses = parts.iter().any(|part| text(part, "refusal").is_some());
            ((!texts.is_empty()).then(|| texts.concat()), refuses)
        }
        _ => (None, false),
    }
}

/// The input of a tool. Some gateways translate a schema into one.
fn tool_input(message: &Value) -> Option<String> {
    let call = message.get("tool_calls")?.get(0)?;
    match call.get("function")?.get("arguments")? {
        Value::String(text) => Some(text.clone()),
        input @ Value::Object(_) => Some(input.to_string()),
        _ => None,
    }
}

/// The values of several servers. Servers that report none send an empty one.
fn finish(reason: &str) -> Finish {
    match reason.to_ascii_lowercase().as_str() {
        "" | "stop" | "eos" | "eos_token" | "end" | "end_turn" | "stop_sequence" | "complete"
        | "completed" | "tool_calls" | "function_call" => Finish::Complete,
        "length" | "max_tokens" | "model_length" | "max_length" => Finish::Length,
        "content_filter" | "refusal" | "safety" | "sensitive" | "blocked" => Finish::Refused,
        _ => Finish::Other(bounded(reason).unwrap_or_default()),
    }
}

/// The usage. `prompt_tokens` includes cached ones, `completion_tokens` those of reasoning.
fn usage(json: &Value) -> Option<TokenUsage> {
    let usage = member(json, "usage")?;
    let detail = |group: &str, name: &str| usage.get(group).and_then(|group| count(group, name));
    let prompt = count(usage, "prompt_tokens");
    let completion = count(usage, "completion_tokens");
    if prompt.is_none() && completion.is_none() {
        return None;
    }
    let prompt = prompt.unwrap_or(0);
    let cached = detail("prompt_tokens_details", "cached_tokens")
        .or_else(|| count(usage, "prompt_cache_hit_tokens"))
        .unwrap_or(0)
        .min(prompt);
    let cache_write = detail("prompt_tokens_details", "cache_write_tokens")
        .or_else(|| detail("prompt_tokens_details", "cache_creation_tokens"))
        .unwrap_or(0)
        .min(prompt - cached);
    let reasoning = detail("completion_tokens_details", "reasoning_tokens")
        .or_else(|| count(usage, "reasoning_tokens"))
        .unwrap_or(0);
    let mut output = completion.unwrap_or(0);
    // xAI counts reasoning beside the completion; only the total shows it.
    let beside = prompt.saturating_add(output).saturating_add(reasoning);
    if reasoning > 0 && count(usage, "total_tokens") == Some(beside) {
        output = output.saturating_add(reasoning);
    }
    Some(TokenUsage {
        input: prompt - cached - cache_write,
        cached_input: cached,
        cache_write,
        output,
        reasoning: reasoning.min(output),
    })
}
