//! Replies of the three wires.

use std::{
    ops::Add,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, header};
use serde_json::{Value, json};

use super::{Prompt, Wire};

/// The reason why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// It is complete.
    #[default]
    Complete,
    /// The limit of tokens was reached.
    Length,
    /// The model does not want to answer.
    Refused,
}

/// Tokens of calls. The sum of `input`, `cached_input` and `cache_write` is the prompt; `output` includes `reasoning`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens of the prompt that no cache had or got.
    pub input: u64,
    /// Tokens of the prompt that were read from a cache.
    pub cached_input: u64,
    /// Tokens of the prompt that were written to a cache.
    pub cache_write: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Tokens of the answer that only the model saw.
    pub reasoning: u64,
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            cached_input: self.cached_input + other.cached_input,
            cache_write: self.cache_write + other.cache_write,
            output: self.output + other.output,
            reasoning: self.reasoning + other.reasoning,
        }
    }
}

impl Tokens {
    /// The tokens of a scripted answer, one for each four bytes begun. The system prompt is read from the cache, or
    /// written to it on the wires that report this. Chat completions report reasoning.
    pub(super) fn of(prompt: &Prompt, text: &str, is_cached: bool) -> Self {
        let count = |bytes: usize| bytes.div_ceil(4) as u64;
        let system = count(prompt.system.len());
        let messages: u64 = prompt.messages.iter().map(|message| count(message.text.len())).sum();
        let reasoning = if prompt.wire == Wire::ChatCompletions { 3 } else { 0 };
        let (input, cached_input, cache_write) = match prompt.wire {
            _ if is_cached => (messages, system, 0),
            Wire::ChatCompletions => (messages + system, 0, 0),
            Wire::Messages | Wire::Converse => (messages, 0, system),
        };
        Self { input, cached_input, cache_write, output: count(text.len()) + reasoning, reasoning }
    }

    /// The tokens that a reply of a wire reports, or none if it reports none.
    pub(super) fn reported(wire: Wire, reply: &Value) -> Self {
        let usage = &reply["usage"];
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        match wire {
            Wire::ChatCompletions => {
                let cached_input = count(&usage["prompt_tokens_details"]["cached_tokens"]);
                Self {
                    input: count(&usage["prompt_tokens"]).saturating_sub(cached_input),
                    cached_input,
                    cache_write: 0,
                    output: count(&usage["completion_tokens"]),
                    reasoning: count(&usage["completion_tokens_details"]["reasoning_tokens"]),
                }
            }
            Wire::Messages => Self {
                input: count(&usage["input_tokens"]),
                cached_input: count(&usage["cache_read_input_tokens"]),
                cache_write: count(&usage["cache_creation_input_tokens"]),
                output: count(&usage["output_tokens"]),
                reasoning: 0,
            },
            Wire::Converse => Self {
                input: count(&usage["inputTokens"]),
                cached_input: count(&usage["cacheReadInputTokens"]),
                cache_write: count(&usage["cacheWriteInputTokens"]),
                output: count(&usage["outputTokens"]),
                reasoning: 0,
            },
        }
    }
}

/// A scripted answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The text. If the model must use a tool, the tool's input as JSON.
    pub text: String,
    /// The reason why it ended.
    pub finish: Finish,
    /// Its tokens. By default they are counted.
    pub tokens: Option<Tokens>,
}

/// The result that a script wants.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer.
    Answer(Answer),
    /// An error, in the wire's own form.
    Error {
        /// The status.
        status: u16,
        /// The message.
        message: String,
    },
    /// Any response. It counts as refused.
    Raw(Response<Bytes>),
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self::Answer(Answer { text, ..Answer::default() })
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        value.to_string().into()
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl Answer {
    /// The response, in the wire of the prompt.
    pub(super) fn response(&self, prompt: &Prompt, tokens: Tokens) -> Response<Bytes> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let body = match prompt.wire {
            Wire::ChatCompletions => self.chat_completion(prompt, tokens, number),
            Wire::Messages => self.message(prompt, tokens, number),
            Wire::Converse => self.converse(prompt, tokens, number),
        };
        json_response(200, &body)
    }

    fn chat_completion(&self, prompt: &Prompt, tokens: Tokens, number: u64) -> Value {
        let is_refused = self.finish == Finish::Refused;
        let text = json!(self.text);
        let (content, refusal) = if is_refused { (Value::Null, text) } else { (text, Value::Null) };
        let input = tokens.input + tokens.cached_input + tokens.cache_write;
        json!({
            "id": format!("chatcmpl-{number}"),
            "object": "chat.completion",
            "created": 1_767_603_600,
            "model": format!("{}-2026-01-05", prompt.model),
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": content, "refusal": refusal, "annotations": [] },
                "logprobs": null,
                "finish_reason": if self.finish == Finish::Length { "length" } else { "stop" },
            }],
            "usage": {
                "prompt_tokens": input,
                "completion_tokens": tokens.output,
                "total_tokens": input + tokens.output,
                "prompt_tokens_details": { "cached_tokens": tokens.cached_input, "audio_tokens": 0 },
                "completion_tokens_details": { "reasoning_tokens": tokens.reasoning, "audio_tokens": 0 },
            },
            "service_tier": "default",
        })
    }

    fn message(&self, prompt: &Prompt, tokens: Tokens, number: u64) -> Value {
        let (block, complete) = match self.tool_input(prompt) {
            Some(input) => {
                let id = format!("toolu_{number}");
                (
                    json!({ "type": "tool_use", "id": id, "name": prompt.schema_name, "input": input }),
                    "tool_use",
                )
            }
            None => (json!({ "type": "text", "text": self.text }), "end_turn"),
        };
        json!({
            "id": format!("msg_{number}"),
            "type": "message",
            "role": "assistant",
            "model": format!("{}-20260105", prompt.model),
            "content": [block],
            "stop_reason": match self.finish {
                Finish::Complete => complete,
                Finish::Length => "max_tokens",
                Finish::Refused => "refusal",
            },
            "stop_sequence": null,
            "usage": {
                "input_tokens": tokens.input,
                "cache_creation_input_tokens": tokens.cache_write,
                "cache_read_input_tokens": tokens.cached_input,
                "output_tokens": tokens.output,
                "service_tier": "standard",
            },
        })
    }

    fn converse(&self, prompt: &Prompt, tokens: Tokens, number: u64) -> Value {
        let (block, complete) = match self.tool_input(prompt) {
            Some(input) => {
                let id = format!("tooluse_{number}");
                let block =
                    json!({ "toolUse": { "toolUseId": id, "name": prompt.schema_name, "input": input } });
                (block, "tool_use")
            }
            None => (json!({ "text": self.text }), "end_turn"),
        };
        json!({
            "output": { "message": { "role": "assistant", "content": [block] } },
            "stopReason": match self.finish {
                Finish::Complete => complete,
                Finish::Length => "max_tokens",
                Finish::Refused => "content_filtered",
            },
            "usage": {
                "inputTokens": tokens.input,
                "outputTokens": tokens.output,
                "totalTokens": tokens.input + tokens.output,
                "cacheReadInputTokens": tokens.cached_input,
                "cacheWriteInputTokens": tokens.cache_write,
            },
            "metrics": { "latencyMs": 1 },
        })
    }

    /// The text as the input of the tool that the model must use. A text that is not JSON stays a
    /// text.
    fn tool_input(&self, prompt: &Prompt) -> Option<Value> {
        if prompt.is_tool { serde_json::from_str(&self.text).ok() } else { None }
    }
}

/// The reply to a call over a rate limit.
pub(super) fn limited(wire: Wire, retry_after: Duration) -> Response<Bytes> {
    let mut response = error(wire, 429, "too many requests");
    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

/// An error, as the wire's provider writes it.
pub(super) fn error(wire: Wire, status: u16, message: &str) -> Response<Bytes> {
    match wire {
        Wire::ChatCompletions => {
            let kind = match status {
                401 => "authentication_error",
                429 => "rate_limit_error",
                500.. => "server_error",
                _ => "invalid_request_error",
            };
            let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": null } });
            json_response(status, &body)
        }
        Wire::Messages => {
            let kind = match status {
                401 => "authentication_error",
                404 => "not_found_error",
                429 => "rate_limit_error",
                529 => "overloaded_error",
                500.. => "api_error",
                _ => "invalid_request_error",
            };
            json_response(status, &json!({ "type": "error", "error": { "type": kind, "message": message } }))
        }
        Wire::Converse => {
            let kind = match status {
                401 | 403 => "AccessDeniedException",
                404 => "ResourceNotFoundException",
                429 => "ThrottlingException",
                503 => "ServiceUnavailableException",
                500.. => "InternalServerException",
                _ => "ValidationException",
            };
            // AWS has no 401.
            let status = if status == 401 { 403 } else { status };
            let mut response = json_response(status, &json!({ "message": message }));
            response.headers_mut().insert("x-amzn-errortype", http::HeaderValue::from_static(kind));
            response
        }
    }
}

fn json_response(status: u16, body: &Value) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body.to_string()))
        .expect("a status of three digits")
}
