//! Requests of the three wires, checked as their providers check them.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{PROVIDER_KEY, answer};

/// The protocol of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// OpenAI's chat completions.
    ChatCompletions,
    /// Anthropic's Messages.
    Messages,
    /// Amazon Bedrock's Converse.
    Converse,
}

impl Wire {
    /// All three.
    pub const ALL: [Self; 3] = [Self::ChatCompletions, Self::Messages, Self::Converse];
}

/// A message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `user` or `assistant`.
    pub role: String,
    /// The text.
    pub text: String,
}

/// A request in terms that all wires share.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The protocol.
    pub wire: Wire,
    /// The requested model.
    pub model: String,
    /// The system prompt. Empty without one.
    pub system: String,
    /// The other messages.
    pub messages: Vec<Message>,
    /// The name of the schema or tool that the reply must follow.
    pub schema_name: Option<String>,
    /// The JSON schema that the reply must follow.
    pub schema: Option<Value>,
    /// Whether the schema is that of a tool, so that the reply is a use of this tool.
    pub is_tool: bool,
    /// The most tokens of the reply.
    pub max_tokens: Option<u64>,
    /// The body as it came.
    pub body: Value,
}

/// A request that the provider does not accept.
#[derive(Debug)]
pub(super) struct Rejection {
    wire: Wire,
    status: StatusCode,
    pub(super) reason: String,
}

impl Rejection {
    pub(super) fn response(&self) -> Response<Bytes> {
        answer::error(self.wire, self.status.as_u16(), &self.reason)
    }
}

impl Prompt {
    pub(super) fn read(request: &Request<Bytes>) -> Result<Self, Rejection> {
        let path = request.uri().path();
        let converse = path.strip_prefix("/model/").and_then(|rest| rest.strip_suffix("/converse"));
        let wire = match path {
            "/v1/chat/completions" => Wire::ChatCompletions,
            "/v1/messages" => Wire::Messages,
            _ if converse.is_some() => Wire::Converse,
            _ => return Err(Rejection::new(Wire::ChatCompletions, StatusCode::NOT_FOUND, "no such path")),
        };
        let bad = |reason: &str| Rejection::new(wire, StatusCode::BAD_REQUEST, reason);
        if request.method() != Method::POST {
            return Err(Rejection::new(wire, StatusCode::METHOD_NOT_ALLOWED, "use POST"));
        }
        check_credentials(wire, request.headers())?;
        if header(request.headers(), "content-type").split(';').next() != Some("application/json") {
            return Err(bad("the content type is not application/json"));
        }
        let body: Value = serde_json::from_slice(request.body()).map_err(|error| bad(&error.to_string()))?;
        let prompt = match wire {
            Wire::ChatCompletions => Self::chat_completions(body),
            Wire::Messages => Self::messages(body, request.headers()),
            Wire::Converse => Self::converse(body, converse.unwrap_or_default()),
        };
        let prompt = prompt.map_err(|reason| bad(&reason))?;
        if prompt.messages.iter().any(|message| message.text.trim().is_empty()) {
            return Err(bad("messages: text content blocks must be non-empty"));
        }
        Ok(prompt)
    }

    /// The text of the last message.
    pub fn last(&self) -> &str {
        self.messages.last().map_or("", |message| &message.text)
    }

    /// The number of objectives that it asks a judge about. Each is a JSON object on a line of its own, before the
    /// transcript.
    pub fn objectives(&self) -> usize {
        self.last().lines().filter(|line| line.starts_with('{') && line.contains("\"criteria\"")).count()
    }

    /// All of its text.
    pub fn text(&self) -> String {
        let texts = self.messages.iter().map(|message| message.text.as_str());
        std::iter::once(self.system.as_str()).chain(texts).collect::<Vec<_>>().join("\n")
    }

    fn chat_completions(body: Value) -> Result<Self, String> {
        let mut system = Vec::new();
        let mut messages = Vec::new();
        for message in list(&body, "messages")? {
            let (role, text) = (text(message, "role")?, openai_text(message)?);
            match role.as_str() {
                "system" | "developer" => system.push(text),
                "user" | "assistant" => messages.push(Message { role, text }),
                other => return Err(format!("messages: unknown role {other}")),
            }
        }
        if messages.is_empty() {
            return Err("messages: at least one is required".to_owned());
        }
        let format = &body["response_format"];
        let (schema_name, schema) = match format["type"].as_str() {
            None | Some("text" | "json_object") => (None, None),
            Some("json_schema") => {
                let schema = format["json_schema"]["schema"].clone();
                check_strict(&schema)?;
                (Some(text(&format["json_schema"], "name")?), Some(schema))
            }
            Some(other) => return Err(format!("response_format: unknown type {other}")),
        };
        let max_tokens = body["max_completion_tokens"].as_u64().or_else(|| body["max_tokens"].as_u64());
        Ok(Self {
            wire: Wire::ChatCompletions,
            model: text(&body, "model")?,
            system: system.join("\n"),
            messages,
            schema_name,
            schema,
            is_tool: false,
            max_tokens,
            body,
        })
    }

    fn messages(body: Value, headers: &HeaderMap) -> Result<Self, String> {
        if header(headers, "anthropic-version") != "2023-06-01" {
            return Err("anthropic-version: header is required".to_owned());
        }
        let mut messages = Vec::new();
        for message in list(&body, "messages")? {
            messages
                .push(Message { role: text(message, "role")?, text: anthropic_text(&message["content"])? });
        }
        check_roles(&messages)?;
        let tool = body["tools"]
            .get(0)
            .filter(|_| matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool")));
        let format = &body["output_config"]["format"];
        let (schema_name, schema) = match (tool, format["type"].as_str()) {
            (Some(tool), _) => (Some(text(tool, "name")?), Some(tool["input_schema"].clone())),
            (None, Some("json_schema")) => {
                check_strict(&format["schema"])?;
                (None, Some(format["schema"].clone()))
            }
            (None, None) => (None, None),
            (None, Some(other)) => return Err(format!("output_config.format.type: unknown {other}")),
        };
        Ok(Self {
            wire: Wire::Messages,
            model: text(&body, "model")?,
            system: if body["system"].is_null() { String::new() } else { anthropic_text(&body["system"])? },
            messages,
            schema_name,
            schema,
            is_tool: tool.is_some(),
            max_tokens: Some(body["max_tokens"].as_u64().ok_or("max_tokens: field required")?),
            body,
        })
    }

    fn converse(body: Value, model: &str) -> Result<Self, String> {
        if model.contains(['/', ':']) {
            return Err(format!("the model id in the path is not encoded: {model}"));
        }
        let model = percent_decode_str(model).decode_utf8().map_err(|error| error.to_string())?.into_owned();
        let blocks = |value: &Value| -> Result<String, String> {
            let blocks = value.as_array().ok_or("content must be a list of blocks")?;
            blocks
                .iter()
                .map(|block| text(block, "text"))
                .collect::<Result<Vec<_>, _>>()
                .map(|texts| texts.join("\n"))
        };
        let mut messages = Vec::new();
        for message in list(&body, "messages")? {
            messages.push(Message { role: text(message, "role")?, text: blocks(&message["content"])? });
        }
        check_roles(&messages)?;
        if messages.windows(2).any(|pair| pair[0].role == pair[1].role) {
            return Err("A conversation must alternate between user and assistant roles.".to_owned());
        }
        let choice = &body["toolConfig"]["toolChoice"];
        let tool = body["toolConfig"]["tools"]
            .get(0)
            .filter(|_| choice.get("any").is_some() || choice.get("tool").is_some())
            .map(|tool| &tool["toolSpec"]);
        let format = &body["outputConfig"]["textFormat"];
        let (schema_name, schema) = if let Some(tool) = tool {
            (Some(text(tool, "name")?), Some(tool["inputSchema"]["json"].clone()))
        } else if format["type"] == "json_schema" {
            let wanted = &format["structure"]["jsonSchema"];
            let schema = serde_json::from_str(&text(wanted, "schema")?).map_err(|error| error.to_string())?;
            check_strict(&schema)?;
            (wanted["name"].as_str().map(str::to_owned), Some(schema))
        } else {
            (None, None)
        };
        Ok(Self {
            wire: Wire::Converse,
            model,
            system: if body["system"].is_null() { String::new() } else { blocks(&body["system"])? },
            messages,
            schema_name,
            schema,
            is_tool: tool.is_some(),
            max_tokens: body["inferenceConfig"]["maxTokens"].as_u64(),
            body,
        })
    }
}

impl Rejection {
    fn new(wire: Wire, status: StatusCode, reason: &str) -> Self {
        Self { wire, status, reason: reason.to_owned() }
    }
}

/// Chat completions take a bearer token or Azure's `api-key`, Messages `x-api-key`, Converse a signature for Bedrock or
/// a bearer token. The signature itself is not checked.
fn check_credentials(wire: Wire, headers: &HeaderMap) -> Result<(), Rejection> {
    let authorization = header(headers, "authorization");
    let bearer = authorization.strip_prefix("Bearer ").unwrap_or_default();
    let is_right = match wire {
        Wire::ChatCompletions => bearer == PROVIDER_KEY || header(headers, "api-key") == PROVIDER_KEY,
        Wire::Messages => header(headers, "x-api-key") == PROVIDER_KEY,
        Wire::Converse => {
            bearer == PROVIDER_KEY
                || authorization.starts_with("AWS4-HMAC-SHA256 ")
                    && authorization.contains("/bedrock/aws4_request")
                    && authorization.contains("Signature=")
                    && headers.contains_key("x-amz-date")
        }
    };
    if is_right { Ok(()) } else { Err(Rejection::new(wire, StatusCode::UNAUTHORIZED, "the key is wrong")) }
}

/// Strict structured output takes objects only, which list each property as required and allow no others.
fn check_strict(schema: &Value) -> Result<(), String> {
    match schema {
        Value::Object(fields) => {
            if schema["type"] == "object" {
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                let properties =
                    schema["properties"].as_object().ok_or("schema: an object needs `properties`")?;
                if let Some(name) =
                    properties.keys().find(|name| !required.iter().any(|known| known == *name))
                {
                    return Err(format!("schema: `required` must name {name}"));
                }
                if schema["additionalProperties"] != false {
                    return Err("schema: `additionalProperties` must be false".to_owned());
                }
            }
            fields.values().try_for_each(check_strict)
        }
        Value::Array(items) => items.iter().try_for_each(check_strict),
        _ => Ok(()),
    }
}

/// The first message is the user's, and no other roles exist.
fn check_roles(messages: &[Message]) -> Result<(), String> {
    if messages.first().is_none_or(|first| first.role != "user") {
        return Err("messages: the first message must use the \"user\" role".to_owned());
    }
    match messages.iter().find(|message| !matches!(message.role.as_str(), "user" | "assistant")) {
        Some(message) => Err(format!("messages: unexpected role {}", message.role)),
        None => Ok(()),
    }
}

fn openai_text(message: &Value) -> Result<String, String> {
    match &message["content"] {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => parts
            .iter()
            .map(|part| text(part, "text"))
            .collect::<Result<Vec<_>, _>>()
            .map(|texts| texts.concat()),
        other => Err(format!("messages: content is {other}")),
    }
}

fn anthropic_text(content: &Value) -> Result<String, String> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(blocks) => blocks
            .iter()
            .map(|block| text(block, "text"))
            .collect::<Result<Vec<_>, _>>()
            .map(|texts| texts.join("\n")),
        other => Err(format!("messages: content is {other}")),
    }
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>, String> {
    value[name].as_array().ok_or_else(|| format!("{name}: a list is required"))
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| format!("{name}: text is required"))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
