//! Anthropic's Messages.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use jiff::Timestamp;
use onerun_domain::TokenUsage;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    TOOL, alternating, body, bounded,
    endpoint::{Endpoint, EndpointError},
    failure::{Failure, shapeless, success},
    system, tool_description,
};
use crate::{
    chat::{ChatAnswer, ChatError, ChatRequest, Detail, Finish},
    dialect::{Dialect, Structure},
    json::{count, member, object, text, without_reasoning},
    schema::Schema,
    secret::Secret,
};

/// Anthropic's base URL. As in Anthropic's own SDKs, it has no version.
const ANTHROPIC: &str = "https://api.anthropic.com";

/// The version of the API, which is not the version of a model.
const API_VERSION: &str = "2023-06-01";

/// A server that speaks Anthropic's Messages.
#[derive(Clone, Debug)]
pub struct Anthropic {
    endpoint: Endpoint,
    key: Option<Secret>,
}

impl Anthropic {
    /// A server at a base URL without `/v1`; by default Anthropic's own. Local servers need no key.
    pub fn new(base_url: Option<&str>, key: Option<Secret>) -> Result<Self, EndpointError> {
        Ok(Self { endpoint: Endpoint::parse(base_url.unwrap_or(ANTHROPIC))?, key })
    }

    pub(super) fn secrets(&self) -> Vec<&str> {
        self.key.iter().map(Secret::expose).collect()
    }

    fn url(&self) -> String {
        let path = self.endpoint.path();
        if path.ends_with("/messages") {
            self.endpoint.with_path(path)
        } else if path.ends_with("/v1") {
            self.endpoint.join("/messages")
        } else {
            self.endpoint.join("/v1/messages")
        }
    }

    pub(super) fn request(
        &self,
        model: &str,
        request: &ChatRequest,
        dialect: Dialect,
    ) -> Result<Request<Bytes>, ChatError> {
        let mut http = Request::post(self.url())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header("anthropic-version", HeaderValue::from_static(API_VERSION));
        if let Some(key) = &self.key {
            http = http.header("x-api-key", key.header(""));
        }
        http.body(body(&payload(model, request, dialect)))
            .map_err(|error| ChatError::Configuration(Detail::new(&error.to_string(), self.secrets())))
    }

    pub(super) fn answer(&self, response: &Response<Bytes>, now: Timestamp) -> Result<ChatAnswer, ChatError> {
        let secrets = self.secrets();
        let json = success(response, None, &secrets, now)?;
        match json.get("content") {
            Some(Value::Array(blocks)) => Ok(answer(&json, blocks)),
            _ if member(&json, "error").is_some() => {
                Err(Failure::from_response(response, Some(&json), None, &secrets, now).into_error())
            }
            _ => Err(shapeless(&json, "content", usage(&json), &secrets)),
        }
    }
}

/// The body of a request.
#[derive(Serialize)]
struct Payload {
    #[serde(flatten)]
    parameters: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tool; 1]>,
}

#[derive(Serialize)]
struct OutputConfig {
    format: Format,
}

#[derive(Serialize)]
struct Format {
    r#type: &'static str,
    schema: &'static Schema,
}

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    description: String,
    input_schema: &'static Schema,
}

fn payload(model: &str, request: &ChatRequest, dialect: Dialect) -> Payload {
    let messages: Vec<Value> = alternating(&request.messages)
        .into_iter()
        .map(|(role, text)| json!({"role": role.as_str(), "content": text}))
        .collect();
    let mut parameters = object([
        ("model", model.into()),
        ("max_tokens", request.max_tokens.into()),
        ("messages", messages.into()),
    ]);
    let system = system(request, dialect);
    if !system.trim().is_empty() {
        parameters.insert("system".into(), system.into());
    }
    if let Some(temperature) = request.temperature.filter(|_| dialect.temperature) {
        parameters.insert("temperature".into(), temperature.into());
    }
    let (mut output_config, mut tools) = (None, None);
    match (request.schema, dialect.structure) {
        (Some(schema), Structure::Schema) => {
            output_config = Some(OutputConfig { format: Format { r#type: "json_schema", schema } });
        }
        (Some(schema), Structure::Tool) => {
            let description = tool_description(schema);
            tools = Some([Tool { name: TOOL, description, input_schema: schema }]);
            // There is one tool, so `any` means this one. More servers know `any`.
            parameters.insert("tool_choice".into(), json!({"type": "any"}));
        }
        _ => {}
    }
    Payload { parameters, output_config, tools }
}

/// Reads a message. The input of a tool is the answer, if the model used one.
fn answer(json: &Value, blocks: &[Value]) -> ChatAnswer {
    let input = blocks.iter().find(|block| text(block, "type") == Some("tool_use"));
    let input = input.and_then(|block| member(block, "input")).map(Value::to_string);
    let prose = || {
        let texts: Vec<&str> = blocks
            .iter()
            .filter(|block| text(block, "type").is_none_or(|kind| kind == "text"))
            .filter_map(|block| block.get("text").and_then(Value::as_str))
            .collect();
        texts.concat()
    };
    let written = input.unwrap_or_else(prose);
    let text = without_reasoning(&written).filter(|text| !text.trim().is_empty());
    let finish = match json.get("stop_reason").and_then(Value::as_str) {
        Some("end_turn" | "stop_sequence" | "tool_use" | "") => Finish::Complete,
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("refusal") => Finish::Refused,
        Some(reason) => Finish::Other(bounded(reason).unwrap_or_default()),
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

/// The usage. `input_tokens` excludes cached ones.
fn usage(json: &Value) -> Option<TokenUsage> {
    let usage = member(json, "usage")?;
    let input = count(usage, "input_tokens");
    let output = count(usage, "output_tokens");
    if input.is_none() && output.is_none() {
        return None;
    }
    let output = output.unwrap_or(0);
    let reasoning = usage.get("output_tokens_details").and_then(|details| count(details, "thinking_tokens"));
    Some(TokenUsage {
        input: input.unwrap_or(0),
        cached_input: count(usage, "cache_read_input_tokens").unwrap_or(0),
        cache_write: count(usage, "cache_creation_input_tokens").unwrap_or(0),
        output,
        reasoning: reasoning.unwrap_or(0).min(output),
    })
}
