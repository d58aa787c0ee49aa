//! Every recorded answer of a provider is read as the file expects. `source` in each file names the
//! origin of the answer's form.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use http::Response;
use onerun_domain::TokenUsage;
use onerun_model_chat::{
    Anthropic, AwsCredentials, ChatAnswer, ChatError, Converse, Decisions, Finish, OpenAi, Parameter, Secret,
    Wire,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The key that each wire sends. No error may repeat it.
const KEY: &str = "session-token-0123456789";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    #[serde(rename = "source")]
    _source: String,
    wire: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// JSON, or a string with the whole body.
    body: Value,
    expected: Value,
}

fn wire(name: &str) -> Wire {
    let key = || Secret::parse(KEY).unwrap();
    match name {
        "openai" => Wire::OpenAi(OpenAi::new(None, Some(key())).unwrap()),
        "anthropic" => Wire::Anthropic(Anthropic::new(None, Some(key())).unwrap()),
        "converse" => {
            let credentials =
                AwsCredentials::AccessKey { id: key(), secret: key(), session_token: Some(key()) };
            Wire::Converse(Converse::new("eu-central-1", None, credentials).unwrap())
        }
        "decisions" => Wire::Decisions(Decisions::new(OpenAi::new(None, Some(key())).unwrap())),
        other => panic!("unknown wire {other}"),
    }
}

fn read(recorded: &Recorded) -> Result<ChatAnswer, ChatError> {
    let body = match &recorded.body {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let mut response = Response::builder().status(recorded.status);
    for (name, value) in &recorded.headers {
        response = response.header(name, value);
    }
    let now = "2026-11-30T12:00:00Z".parse().unwrap();
    wire(&recorded.wire).answer(&response.body(Bytes::from(body)).unwrap(), now)
}

fn finish(finish: &Finish) -> Value {
    match finish {
        Finish::Complete => "complete".into(),
        Finish::Length => "length".into(),
        Finish::Refused => "refused".into(),
        Finish::Other(reason) => json!({"other": reason}),
    }
}

fn kind(error: &ChatError) -> &'static str {
    match error {
        ChatError::RateLimited { .. } => "rate_limited",
        ChatError::Overloaded { .. } => "overloaded",
        ChatError::Quota(_) => "quota",
        ChatError::Credentials(_) => "credentials",
        ChatError::Configuration(_) => "configuration",
        ChatError::Unsupported { parameter: Parameter::Structure, .. } => "unsupported_structure",
        ChatError::Unsupported { parameter: Parameter::Temperature, .. } => "unsupported_temperature",
        ChatError::Unsupported { parameter: Parameter::Seed, .. } => "unsupported_seed",
        ChatError::Unsupported { parameter: Parameter::Limit, .. } => "unsupported_limit",
        ChatError::ContextTooLong(_) => "context_too_long",
        ChatError::Refused(_) => "refused",
        ChatError::Broken { .. } => "broken",
        ChatError::Failed { .. } => "failed",
        ChatError::Timeout
        | ChatError::Connect(_)
        | ChatError::NotRecorded(_)
        | ChatError::Busy { .. }
        | ChatError::CircuitOpen { .. } => "not from a response",
    }
}

/// The result in the form that the files use.
fn shown(result: &Result<ChatAnswer, ChatError>) -> Value {
    let tokens = |tokens: Option<TokenUsage>| serde_json::to_value(tokens).unwrap();
    match result {
        Ok(answer) => json!({
            "text": answer.text,
            "finish": finish(&answer.finish),
            "version": answer.version,
            "tokens": tokens(answer.tokens),
        }),
        Err(error) => {
            let mut shown = json!({"error": kind(error)});
            if let Some(wait) = error.retry_after() {
                shown["retry_after_ms"] = u64::try_from(wait.as_millis()).unwrap().into();
            }
            if error.tokens().is_some() {
                shown["tokens"] = tokens(error.tokens());
            }
            shown
        }
    }
}

#[test]
fn each_recorded_answer_is_read_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/answers");
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let mut recorded: Recorded =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let part = recorded.expected.as_object_mut().unwrap().remove("detail_contains");
        let result = read(&recorded);
        if shown(&result) != recorded.expected {
            failures.push(format!("{name}: expected {}, got {result:?}", recorded.expected));
        }
        if let (Some(part), Err(error)) = (part, &result) {
            let part = part.as_str().unwrap();
            if !error.detail().unwrap_or_default().contains(part) {
                failures.push(format!("{name}: `{part}` is not in {:?}", error.detail()));
            }
        }
        if let Err(error) = &result {
            assert!(!format!("{error} {error:?}").contains(KEY), "{name}: the error repeats the key");
        }
        count += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 100, "only {count} answers were found");
}
