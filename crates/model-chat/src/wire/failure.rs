//! The meaning of a provider's errors.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use onerun_domain::TokenUsage;
use serde_json::Value;

use super::retry_after::retry_after;
use crate::{
    chat::{ChatError, Detail},
    dialect::Parameter,
    json::{count, member, text},
};

/// Phrases of errors about a request that is longer than the context, in lower case.
const CONTEXT: [&str; 17] = [
    "context_length_exceeded",
    "context length",
    "context window",
    "context limit",
    "context size",
    "exceed_context_size",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "too many input tokens",
    "reduce the length",
    "`inputs` tokens + `max_new_tokens`",
    "`inputs` must have less than",
    "string_above_max_length",
    "request_too_large",
    "max_seq_len",
    "maximum input length",
];

/// Phrases of errors from content filters.
const FILTER: [&str; 9] = [
    "content_filter",
    "content_policy",
    "content filter",
    "content management policy",
    "responsibleaipolicy",
    "requires moderation",
    "data_inspection_failed",
    "safety system",
    "input was flagged",
];

/// Phrases of errors about an account without credit.
const QUOTA: [&str; 8] = [
    "insufficient_quota",
    "exceeded your current quota",
    "credit balance",
    "insufficient balance",
    "insufficient credits",
    "billing_hard_limit",
    "billing_not_active",
    "payment required",
];

/// Phrases of errors about credentials that do not come with the status for them.
const CREDENTIALS: [&str; 5] =
    ["api key not valid", "api_key_invalid", "invalid api key", "incorrect api key", "invalid_api_key"];

/// Phrases of errors about structured output.
const STRUCTURE: [&str; 13] = [
    "response_format",
    "json_schema",
    "json_object",
    "output_config",
    "outputconfig",
    "output_format",
    "textformat",
    "structured output",
    "toolconfig",
    "toolchoice",
    "tool_choice",
    "tool use",
    "grammar",
];

/// Reads a response as JSON, or as the error that it is. `code` is an error code outside of the body.
pub(super) fn success(
    response: &Response<Bytes>,
    code: Option<&str>,
    secrets: &[&str],
    now: Timestamp,
) -> Result<Value, ChatError> {
    let json = serde_json::from_slice::<Value>(response.body());
    if !response.status().is_success() {
        let failure = Failure::from_response(response, json.as_ref().ok(), code, secrets, now);
        return Err(failure.into_error());
    }
    json.map_err(|error| {
        let body = String::from_utf8_lossy(response.body());
        let start = body.trim_start();
        let beginning = Detail::new(&start[..start.floor_char_boundary(4096)], secrets.iter().copied());
        if start.starts_with('<') {
            // A web page: the base URL is not that of an API.
            ChatError::Configuration(beginning)
        } else if start.starts_with(['{', '[']) {
            // The text may be a part of an answer, which is private.
            ChatError::broken(&format!("{} bytes are not JSON: {error}", body.len()), [])
        } else {
            ChatError::Broken { detail: beginning, tokens: None }
        }
    })
}

/// The error of a body of JSON in which the answer is missing. Only its names are reported, because its
/// values may be private.
pub(super) fn shapeless(
    json: &Value,
    missing: &str,
    tokens: Option<TokenUsage>,
    secrets: &[&str],
) -> ChatError {
    let names: Vec<&str> = json.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let text = format!("the body has no {missing}, but: {}", names.join(", "));
    ChatError::Broken { detail: Detail::new(&text, secrets.iter().copied()), tokens }
}

/// An error as a provider reported it.
pub(super) struct Failure<'a> {
    /// The HTTP status, or the status that an error within a successful response names.
    status: u16,
    /// Codes, types and the message, in lower case.
    words: String,
    /// The parameter that the error is about.
    parameter: Option<&'a str>,
    detail: Detail,
    retry_after: Option<Duration>,
}

impl<'a> Failure<'a> {
    /// Reads an error response. `code` is an error code outside of the body.
    pub(super) fn from_response(
        response: &Response<Bytes>,
        json: Option<&'a Value>,
        code: Option<&str>,
        secrets: &[&str],
        now: Timestamp,
    ) -> Self {
        let mut failure = match json {
            Some(json) => Self::from_json(json, secrets),
            None => Self::from_text(&String::from_utf8_lossy(response.body()), secrets),
        };
        if !response.status().is_success() {
            failure.status = response.status().as_u16();
        }
        if let Some(code) = code {
            failure.words = format!("{} {}", code.to_lowercase(), failure.words);
        }
        failure.retry_after = retry_after(response.headers(), now);
        failure
    }

    fn from_text(message: &str, secrets: &[&str]) -> Self {
        // Only the beginning, because an HTML page may be long.
        let message = &message[..message.floor_char_boundary(4096)];
        Self {
            status: 500,
            words: message.to_lowercase(),
            parameter: None,
            detail: Detail::new(message, secrets.iter().copied()),
            retry_after: None,
        }
    }

    fn from_json(json: &'a Value, secrets: &[&str]) -> Self {
        // Google's endpoint wraps the error in an array.
        let json = json.get(0).unwrap_or(json);
        let error = member(json, "error").unwrap_or(json);
        let message = match error {
            Value::String(message) => message.clone(),
            error => message(error).or_else(|| message(json)).unwrap_or_else(|| error.to_string()),
        };
        let message = &message[..message.floor_char_boundary(4096)];
        // OpenRouter hides the cause in `metadata.raw`.
        let raw = member(error, "metadata").and_then(|metadata| text(metadata, "raw"));
        let inner = member(error, "innererror").and_then(|inner| text(inner, "code"));
        let codes = ["code", "type", "error_type", "__type", "status"]
            .iter()
            .flat_map(|name| [text(error, name), text(json, name)])
            .chain([raw, inner])
            .flatten();
        let mut words = String::new();
        for word in codes.chain([message]) {
            words.push_str(&word[..word.floor_char_boundary(4096)].to_lowercase());
            words.push(' ');
        }
        let shown = raw.map_or_else(|| message.to_owned(), |raw| format!("{message}: {raw}"));
        Self {
            status: status(error, &words),
            words,
            parameter: text(error, "param"),
            detail: Detail::new(&shown, secrets.iter().copied()),
            retry_after: None,
        }
    }

    /// The error that this failure means.
    pub(super) fn into_error(self) -> ChatError {
        let Self { status, detail, retry_after, .. } = self;
        let has = |phrases: &[&str]| phrases.iter().any(|phrase| self.words.contains(phrase));
        match status {
            // The model wrote invalid JSON, and the server checked it.
            400 if has(&["json_validate_failed"]) => ChatError::Broken { detail, tokens: None },
            401 | 402 | 403 | 400 | 404 | 405 | 413 | 422 if has(&FILTER) => ChatError::Refused(detail),
            400 | 402 | 403 | 429 if status == 402 || has(&QUOTA) => ChatError::Quota(detail),
            429 => ChatError::RateLimited { retry_after, detail },
            400 if has(&["throttl", "servicequotaexceeded"]) => {
                ChatError::RateLimited { retry_after, detail }
            }
            503 | 529 => ChatError::Overloaded { retry_after, detail },
            401 | 403 => ChatError::Credentials(detail),
            400 | 413 | 422 if status == 413 || has(&CONTEXT) => ChatError::ContextTooLong(detail),
            400 if has(&CREDENTIALS) => ChatError::Credentials(detail),
            400 | 422 => match parameter(self.parameter, &self.words) {
                Some(parameter) => ChatError::Unsupported { parameter, detail },
                None => ChatError::Configuration(detail),
            },
            300..=399 | 404 | 405 | 410 | 415 => ChatError::Configuration(detail),
            status => ChatError::Failed { status, detail },
        }
    }
}

/// The message of an error object. FastAPI's `detail` may be a list of objects.
fn message(error: &Value) -> Option<String> {
    let names = ["message", "Message", "detail", "msg", "error_description"];
    names.iter().find_map(|name| match error.get(name)? {
        Value::String(message) if !message.trim().is_empty() => Some(message.clone()),
        Value::Object(inner) => inner.get("message").and_then(Value::as_str).map(str::to_owned),
        list @ Value::Array(_) => Some(list.to_string()),
        _ => None,
    })
}

/// The status of an error that came without an HTTP status.
fn status(error: &Value, words: &str) -> u16 {
    let code = ["code", "status", "status_code"].iter().find_map(|name| count(error, name));
    let code = code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let by_type = [
        ("overloaded", 529),
        ("rate_limit", 429),
        ("throttl", 429),
        ("authentication_error", 401),
        ("permission_error", 403),
        ("not_found", 404),
        ("invalid_request", 400),
        ("badrequest", 400),
        ("validation", 400),
    ];
    code.unwrap_or_else(|| {
        by_type.iter().find(|(name, _)| words.contains(name)).map_or(500, |(_, status)| *status)
    })
}

/// The parameter that a provider refused.
fn parameter(named: Option<&str>, words: &str) -> Option<Parameter> {
    if let Some(named) = named {
        let root = named.split(['.', '[']).next().unwrap_or(named);
        match root {
            "response_format" | "tools" | "tool_choice" | "output_config" => {
                return Some(Parameter::Structure);
            }
            "temperature" => return Some(Parameter::Temperature),
            "seed" => return Some(Parameter::Seed),
            "max_tokens" | "max_completion_tokens" if is_unsupported(words) => return Some(Parameter::Limit),
            _ => {}
        }
    }
    if STRUCTURE.iter().any(|phrase| words.contains(phrase)) {
        Some(Parameter::Structure)
    } else if words.contains("temperature") {
        Some(Parameter::Temperature)
    } else if words.contains("max_tokens") || words.contains("max_completion_tokens") {
        is_unsupported(words).then_some(Parameter::Limit)
    } else if words.contains("seed") && is_unsupported(words) {
        Some(Parameter::Seed)
    } else {
        None
    }
}

/// Whether an error is about the parameter as such rather than about its value.
fn is_unsupported(words: &str) -> bool {
    ["unsupported", "not support", "unrecognized", "unknown", "unexpected", "not permitted", "extra"]
        .iter()
        .any(|phrase| words.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_parameter_is_recognised() {
        for (named, words, expected) in [
            (Some("temperature"), "unsupported_value", Some(Parameter::Temperature)),
            (Some("response_format.json_schema"), "invalid", Some(Parameter::Structure)),
            (None, "output_config.format: extra inputs are not permitted", Some(Parameter::Structure)),
            (None, "`temperature` is deprecated for this model.", Some(Parameter::Temperature)),
            (
                Some("max_tokens"),
                "unsupported parameter: use 'max_completion_tokens'",
                Some(Parameter::Limit),
            ),
            (None, "max_tokens is too large: 9000", None),
            (None, "unknown field `seed`", Some(Parameter::Seed)),
            (None, "the model does not exist", None),
        ] {
            assert_eq!(parameter(named, words), expected, "{words}");
        }
    }
}
