//! Bedrock's Converse, signed with AWS's credentials or with a bearer token.

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::{Request, Response, header};
use jiff::Timestamp;
use onerun_domain::TokenUsage;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    TOOL, alternating, body, bounded,
    endpoint::{Endpoint, EndpointError},
    failure::{shapeless, success},
    system, tool_description,
};
use crate::{
    chat::{ChatAnswer, ChatError, ChatRequest, Detail, Finish},
    dialect::{Dialect, Structure},
    json::{count, member, object, text, without_reasoning},
    schema::Schema,
    secret::Secret,
};

/// The characters of a model's id that stay as they are in a path. AWS's SDKs encode the same ones.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The credentials of requests to Bedrock.
#[derive(Clone, Debug)]
pub enum AwsCredentials {
    /// A Bedrock API key (`AWS_BEARER_TOKEN_BEDROCK`).
    Bearer(Secret),
    /// An access key, which signs each request. Lambda provides that of the function's role in its
    /// environment.
    AccessKey {
        /// `AWS_ACCESS_KEY_ID`.
        id: Secret,
        /// `AWS_SECRET_ACCESS_KEY`.
        secret: Secret,
        /// `AWS_SESSION_TOKEN`, for temporary credentials.
        session_token: Option<Secret>,
    },
}

/// Bedrock in one region.
#[derive(Clone, Debug)]
pub struct Converse {
    endpoint: Endpoint,
    region: String,
    credentials: AwsCredentials,
}

impl Converse {
    /// Bedrock in a region; `endpoint` replaces its URL (`AWS_ENDPOINT_URL_BEDROCK_RUNTIME`).
    pub fn new(
        region: &str,
        endpoint: Option<&str>,
        credentials: AwsCredentials,
    ) -> Result<Self, EndpointError> {
        let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || region.len() > 32 || !region.bytes().all(is_region) {
            return Err(EndpointError::Region);
        }
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let regional = format!("https://bedrock-runtime.{region}.{suffix}");
        Ok(Self {
            endpoint: Endpoint::parse(endpoint.unwrap_or(&regional))?,
            region: region.to_owned(),
            credentials,
        })
    }

    pub(super) fn secrets(&self) -> Vec<&str> {
        match &self.credentials {
            AwsCredentials::Bearer(token) => vec![token.expose()],
            AwsCredentials::AccessKey { id, secret, session_token } => {
                let token = session_token.iter().map(Secret::expose);
                [id.expose(), secret.expose()].into_iter().chain(token).collect()
            }
        }
    }

    pub(super) fn request(
        &self,
        model: &str,
        request: &ChatRequest,
        dialect: Dialect,
        now: Timestamp,
    ) -> Result<Request<Bytes>, ChatError> {
        let refused =
            |text: &str| ChatError::Configuration(Detail::new(text, self.secrets().iter().copied()));
        let model = utf8_percent_encode(model, PATH_SEGMENT);
        let mut http = Request::post(self.endpoint.join(&format!("/model/{model}/converse")))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body(&payload(request, dialect)))
            .map_err(|error| refused(&error.to_string()))?;
        match &self.credentials {
            AwsCredentials::Bearer(token) => {
                http.headers_mut().insert(header::AUTHORIZATION, token.header("Bearer "));
            }
            AwsCredentials::AccessKey { id, secret, session_token } => {
                let token = session_token.as_ref().map(|token| token.expose().to_owned());
                let credentials = Credentials::new(id.expose(), secret.expose(), token, None, "onerun");
                self.sign(&mut http, credentials, now).map_err(|error| refused(&error))?;
            }
        }
        Ok(http)
    }

    /// Signs with Signature Version 4.
    fn sign(
        &self,
        http: &mut Request<Bytes>,
        credentials: Credentials,
        now: Timestamp,
    ) -> Result<(), String> {
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("bedrock")
            .time(now.into())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?;
        let uri = http.uri().to_string();
        let headers =
            http.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new("POST", uri, headers, SignableBody::Bytes(http.body()))
            .map_err(|error| error.to_string())?;
        let output = sign(signable, &params.into()).map_err(|error| error.to_string())?;
        output.into_parts().0.apply_to_request_http1x(http);
        Ok(())
    }

    pub(super) fn answer(&self, response: &Response<Bytes>, now: Timestamp) -> Result<ChatAnswer, ChatError> {
        let code = response.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        let secrets = self.secrets();
        let json = success(response, code, &secrets, now)?;
        match json.pointer("/output/message/content") {
            Some(Value::Array(blocks)) => Ok(answer(&json, blocks)),
            _ => Err(shapeless(&json, "message", usage(&json), &secrets)),
        }
    }
}

/// The body of a request.
#[derive(Serialize)]
struct Payload {
    #[serde(flatten)]
    parameters: Map<String, Value>,
    #[serde(rename = "toolConfig", skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig {
    tools: [Tool; 1],
    tool_choice: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    tool_spec: ToolSpec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolSpec {
    name: &'static str,
    description: String,
    input_schema: InputSchema,
}

#[derive(Serialize)]
struct InputSchema {
    json: &'static Schema,
}

fn payload(request: &ChatRequest, dialect: Dialect) -> Payload {
    let messages: Vec<Value> = alternating(&request.messages)
        .into_iter()
        .map(|(role, text)| json!({"role": role.as_str(), "content": [{"text": text}]}))
        .collect();
    let mut config = object([("maxTokens", request.max_tokens.into())]);
    if let Some(temperature) = request.temperature.filter(|_| dialect.temperature) {
        config.insert("temperature".into(), temperature.into());
    }
    let mut parameters = object([("messages", messages.into()), ("inferenceConfig", config.into())]);
    let system = system(request, dialect);
    if !system.trim().is_empty() {
        parameters.insert("system".into(), json!([{"text": system}]));
    }
    let mut tool_config = None;
    match (request.schema, dialect.structure) {
        (Some(schema), Structure::Schema) => {
            // Bedrock wants the schema as a string.
            let schema = json!({"name": schema.name, "schema": schema.json()});
            let format = json!({"type": "json_schema", "structure": {"jsonSchema": schema}});
            parameters.insert("outputConfig".into(), json!({"textFormat": format}));
        }
        (Some(schema), Structure::Tool) => {
            let tool_spec = ToolSpec {
                name: TOOL,
                description: tool_description(schema),
                input_schema: InputSchema { json: schema },
            };
            // There is one tool, so `any` means this one. More models know `any`.
            tool_config = Some(ToolConfig { tools: [Tool { tool_spec }], tool_choice: json!({"any": {}}) });
        }
        _ => {}
    }
    Payload { parameters, tool_config }
}

/// Reads a message. The input of a tool is the answer, if the model used one.
fn answer(json: &Value, blocks: &[Value]) -> ChatAnswer {
    let input = blocks.iter().find_map(|block| member(block, "toolUse"));
    let input = input.and_then(|tool| member(tool, "input")).map(Value::to_string);
    let prose = || {
        let texts: Vec<&str> =
            blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect();
        texts.concat()
    };
    let written = input.unwrap_or_else(prose);
    let content = without_reasoning(&written).filter(|text| !text.trim().is_empty());
    let finish = match text(json, "stopReason") {
        Some("end_turn" | "stop_sequence" | "tool_use") => Finish::Complete,
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("content_filtered" | "guardrail_intervened" | "refusal") => Finish::Refused,
        Some(reason) => Finish::Other(bounded(reason).unwrap_or_default()),
        None if content.is_some() => Finish::Complete,
        None => Finish::Other("none".into()),
    };
    // Converse names no version, except of the model that a prompt router chose.
    let routed = json.pointer("/trace/promptRouter/invokedModelId").and_then(Value::as_str);
    ChatAnswer {
        text: content.map(str::to_owned),
        finish,
        version: routed.and_then(bounded),
        tokens: usage(json),
    }
}

/// The usage. `inputTokens` excludes cached ones.
fn usage(json: &Value) -> Option<TokenUsage> {
    let usage = member(json, "usage")?;
    let input = count(usage, "inputTokens");
    let output = count(usage, "outputTokens");
    if input.is_none() && output.is_none() {
        return None;
    }
    Some(TokenUsage {
        input: input.unwrap_or(0),
        cached_input: count(usage, "cacheReadInputTokens").unwrap_or(0),
        cache_write: count(usage, "cacheWriteInputTokens").unwrap_or(0),
        output: output.unwrap_or(0),
        reasoning: 0,
    })
}
