use std::{collections::HashMap, fs};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use tempfile::TempDir;

use super::*;
use crate::testing::FixedClock;
use onerun_transport::TransportError;

/// Reads a configuration; the error has every problem.
fn read(set: &[(&str, &str)]) -> Result<ModelConfig, String> {
    let set: HashMap<String, String> =
        set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut variables = Variables::new(|name| set.get(name).cloned());
    let config = ModelConfig::read(&mut variables);
    variables.finish(config).map_err(|errors| errors.to_string())
}

fn error(set: &[(&str, &str)]) -> String {
    read(set).unwrap_err()
}

fn file(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

struct NoTransport;

#[async_trait]
impl Transport for NoTransport {
    async fn send(
        &self,
        _: Request<Bytes>,
        _: std::time::Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        Err(TransportError::Connect("no network".into()))
    }
}

fn opened(config: ModelConfig) -> ChatModels {
    let clock: Arc<dyn Clock> = Arc::new(FixedClock);
    config.open(&(Arc::new(NoTransport) as Arc<dyn Transport>), &clock)
}

const OPENAI: (&str, &str) = ("ONERUN_MODEL", "openai:gpt-5-mini");
const ANTHROPIC: (&str, &str) = ("ONERUN_MODEL", "anthropic:claude-sonnet-4-5");
const BEDROCK: (&str, &str) = ("ONERUN_MODEL", "bedrock:eu.anthropic.claude-sonnet-4-5-20250929-v1:0");

#[test]
fn offline_default_asks_for_nothing() {
    for set in [
        &[][..],
        &[("ONERUN_MODEL", "")],
        &[("ONERUN_MODEL", "offline")],
        &[("ONERUN_MODEL", " offline "), ("ONERUN_JUDGE_MODEL", " "), ("ONERUN_ALLOWED_MODELS", " , ")],
        // Other programs set these, and may do so wrongly.
        &[("OPENAI_BASE_URL", "nonsense"), ("OPENAI_API_KEY_FILE", "/does/not/exist"), ("AWS_REGION", "?")],
    ] {
        let config = read(set).unwrap();
        assert_eq!(config.defaults(), &SimulationModels::default());
        assert_eq!(config.allowed(), [ModelName::offline()]);
        assert!(opened(config).open(&ModelName::offline()).is_ok());
    }
}

#[test]
fn each_purpose_may_have_its_own_model() {
    let config = read(&[
        OPENAI,
        ("ONERUN_JUDGE_MODEL", "anthropic:claude-sonnet-4-5"),
        ("ONERUN_PERSONA_MODEL", "offline"),
        ("ONERUN_ALLOWED_MODELS", "openai:gpt-5, openai:gpt-5-mini,"),
        ("OPENAI_API_KEY", "sk-1"),
        ("ANTHROPIC_API_KEY", "sk-2"),
    ])
    .unwrap();
    let names: Vec<_> = config.allowed().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["offline", "openai:gpt-5-mini", "anthropic:claude-sonnet-4-5", "openai:gpt-5"]);
    assert_eq!(config.defaults().persona, ModelName::offline());
    assert_eq!(config.defaults().judge.to_string(), "anthropic:claude-sonnet-4-5");
    let names = config.allowed().to_vec();
    let models = opened(config);
    assert!(names.iter().all(|name| models.open(name).is_ok()));
}

#[test]
fn wrong_names_are_all_reported() {
    let error = error(&[
        ("ONERUN_MODEL", "gpt-5"),
        ("ONERUN_PERSONA_MODEL", "google:gemini"),
        ("ONERUN_REPLY_MODEL", "openai:"),
        ("ONERUN_JUDGE_MODEL", "openai"),
        ("ONERUN_ALLOWED_MODELS", "offline,nonsense"),
    ]);
    for variable in ["ONERUN_MODEL:", "ONERUN_PERSONA_MODEL:", "ONERUN_REPLY_MODEL:", "ONERUN_JUDGE_MODEL:"] {
        assert!(error.contains(variable), "{error}");
    }
    assert!(error.contains("ONERUN_ALLOWED_MODELS: `nonsense` "), "{error}");
}

#[test]
fn too_many_models_are_refused() {
    let names: Vec<_> = (0..=MAX_ALLOWED).map(|number| format!("openai:m{number}")).collect();
    let error = error(&[("ONERUN_ALLOWED_MODELS", &names.join(",")), ("OPENAI_API_KEY", "sk-1")]);
    assert_eq!(error, "ONERUN_ALLOWED_MODELS: must name at most 100 models");
}

#[test]
fn missing_credentials_are_named_with_the_fix() {
    for (set, expected) in [
        (
            &[OPENAI][..],
            "OPENAI_API_KEY: must be set, or OPENAI_BASE_URL for a server that needs no key: `openai:gpt-5-mini`",
        ),
        (&[OPENAI, ("OPENAI_API_KEY", " ")], "OPENAI_API_KEY: must be set"),
        (&[ANTHROPIC], "ANTHROPIC_API_KEY: must be set, or ANTHROPIC_BASE_URL"),
        (&[BEDROCK], "AWS_REGION: must be set to Bedrock's region"),
        (
            &[BEDROCK, ("AWS_REGION", "eu-central-1")],
            "AWS_ACCESS_KEY_ID: must be set with AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK",
        ),
        (
            &[BEDROCK, ("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "AKIA1")],
            "`aws configure export-credentials --format env`",
        ),
        (&[("ONERUN_ALLOWED_MODELS", "openai:gpt-5")], "`openai:gpt-5` is configured"),
    ] {
        let error = error(set);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn servers_without_a_key_need_only_their_address() {
    for set in [
        &[OPENAI, ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")][..],
        &[ANTHROPIC, ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8080")],
        &[BEDROCK, ("AWS_DEFAULT_REGION", "eu-central-1"), ("AWS_BEARER_TOKEN_BEDROCK", "abc")],
        &[
            BEDROCK,
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "AKIA1"),
            ("AWS_SECRET_ACCESS_KEY", "abc"),
            ("AWS_SESSION_TOKEN", "abc"),
            ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:4566"),
        ],
    ] {
        assert_eq!(read(set).unwrap().wires.len(), 1);
    }
}

#[test]
fn invalid_values_are_refused_with_their_variable() {
    let key = ("OPENAI_API_KEY", "sk-1");
    let region = ("AWS_REGION", "eu-central-1");
    let token = ("AWS_BEARER_TOKEN_BEDROCK", "abc");
    for (set, expected) in [
        (&[OPENAI, ("OPENAI_API_KEY", "two words")][..], "OPENAI_API_KEY: must be one word"),
        (
            &[OPENAI, key, ("OPENAI_BASE_URL", "localhost:1")],
            "OPENAI_BASE_URL: must be an `http` or `https` URL",
        ),
        (&[OPENAI, ("OPENAI_BASE_URL", "http://a:b@host/")], "OPENAI_BASE_URL: must not contain credentials"),
        (&[ANTHROPIC, ("ANTHROPIC_BASE_URL", "ftp://host/")], "ANTHROPIC_BASE_URL: must be an `http`"),
        (&[BEDROCK, ("AWS_REGION", "Frankfurt!"), token], "AWS_REGION: must be an AWS region"),
        (
            &[BEDROCK, region, token, ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "x")],
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME: must be",
        ),
        (&[("ONERUN_MODEL_CONCURRENCY", "0")], "ONERUN_MODEL_CONCURRENCY: must be an integer from 1 to 1000"),
        (&[("ONERUN_MODEL_CONCURRENCY", "1001")], "ONERUN_MODEL_CONCURRENCY"),
        (
            &[("ONERUN_MODEL_CALLS_PER_MINUTE", "many")],
            "ONERUN_MODEL_CALLS_PER_MINUTE: must be an integer from 1 to 1000000",
        ),
        (&[("ONERUN_PRICES_FILE", "/does/not/exist")], "ONERUN_PRICES_FILE: cannot be read"),
    ] {
        let error = error(set);
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains("sk-1") && !error.contains("two words"), "{error}");
    }
}

#[test]
fn limits_are_read() {
    let config =
        read(&[("ONERUN_MODEL_CONCURRENCY", "3"), ("ONERUN_MODEL_CALLS_PER_MINUTE", " 90 ")]).unwrap();
    assert_eq!(config.limits, Limits { concurrency: 3, per_minute: NonZeroU32::new(90) });
    assert_eq!(read(&[("ONERUN_MODEL_CONCURRENCY", "")]).unwrap().limits, Limits::default());
}

#[test]
fn key_may_be_in_a_file() {
    let directory = TempDir::new().unwrap();
    let key = file(&directory, "key", "sk-1\n");
    let path = ("OPENAI_API_KEY_FILE", key.as_str());
    assert_eq!(read(&[OPENAI, path]).unwrap().wires.len(), 1);
    let both = error(&[OPENAI, path, ("OPENAI_API_KEY", "sk-1")]);
    assert!(both.starts_with("OPENAI_API_KEY_FILE: must not be set together with OPENAI_API_KEY"), "{both}");
    for (name, text, expected) in [
        ("empty", "", "OPENAI_API_KEY_FILE: must be one word"),
        ("words", "two words", "OPENAI_API_KEY_FILE: must be one word"),
        (
            "large",
            &"k".repeat(64 * 1024 + 1),
            "OPENAI_API_KEY_FILE: cannot be read: the file has more than 65536 bytes",
        ),
    ] {
        let path = file(&directory, name, text);
        let error = error(&[OPENAI, ("OPENAI_API_KEY_FILE", &path)]);
        assert!(error.starts_with(expected), "{error}");
    }
    let endless = error(&[OPENAI, ("OPENAI_API_KEY_FILE", "/dev/zero")]);
    assert!(endless.contains("more than 65536 bytes"), "{endless}");
}

#[test]
fn replay_needs_no_key() {
    let replay = ("ONERUN_MODEL_REPLAY", "traffic.jsonl");
    for set in [
        &[OPENAI, replay][..],
        &[ANTHROPIC, replay],
        &[BEDROCK, replay, ("AWS_REGION", "eu-central-1")],
        &[OPENAI, replay, ("OPENAI_API_KEY_FILE", "/does/not/exist")],
    ] {
        let config = read(set).unwrap();
        let name = config.defaults().reply.clone();
        assert!(opened(config).open(&name).is_ok());
    }
    assert!(error(&[OPENAI, ("ONERUN_MODEL_REPLAY", " ")]).starts_with("OPENAI_API_KEY"));
}

#[test]
fn prices_are_extended_by_a_file() {
    let directory = TempDir::new().unwrap();
    let name = ModelName::parse("openai:own").unwrap();
    assert!(read(&[]).unwrap().prices().price(&name, None).is_none());
    let prices =
        file(&directory, "prices", r#"{"models": [{"model": "openai:own", "input": 1, "output": 2}]}"#);
    let config = read(&[("ONERUN_PRICES_FILE", &prices)]).unwrap();
    assert!(config.prices().price(&name, None).is_some());
    let inline = r#"{"models": [{"model": "openai:own", "input": 1, "output": 2}]}"#;
    assert!(read(&[("ONERUN_PRICES", inline)]).unwrap().prices().price(&name, None).is_some());
    assert!(error(&[("ONERUN_PRICES", "{}")]).starts_with("ONERUN_PRICES: "));
    let wrong = file(&directory, "wrong", r#"{"models": [{"model": "openai:own"}]}"#);
    assert!(error(&[("ONERUN_PRICES_FILE", &wrong)]).starts_with("ONERUN_PRICES_FILE: "));
}

#[test]
fn judge_looks_for_faults_of_personas_if_configured() {
    let key = ("OPENAI_API_KEY", "sk-1");
    let set = |value| [OPENAI, key, ("ONERUN_JUDGE_PERSONA_FAULTS", value)];
    assert!(!read(&[OPENAI, key]).unwrap().judges_personas && !read(&set("false")).unwrap().judges_personas);
    assert!(read(&set("true")).unwrap().judges_personas);
    let error = error(&set("yes"));
    assert!(error.starts_with("ONERUN_JUDGE_PERSONA_FAULTS: must be `true` or `false`"), "{error}");
}

#[test]
fn patterns_to_redact_come_from_a_variable_or_a_file() {
    let directory = TempDir::new().unwrap();
    let patterns = file(&directory, "patterns", "# cards\n\\d{16}\n");
    // Messages are stored without them, also where no provider is configured.
    for set in [("ONERUN_REDACT_FILE", patterns.as_str()), ("ONERUN_REDACT", "# cards\n\\d{16}\n")] {
        let config = read(&[set]).unwrap();
        assert_eq!(config.redaction().redact("4111111111111111"), "[redacted]");
    }
    let both = error(&[("ONERUN_REDACT", "a"), ("ONERUN_REDACT_FILE", &patterns)]);
    assert!(both.starts_with("ONERUN_REDACT_FILE: must not be set together with ONERUN_REDACT"), "{both}");
    assert!(error(&[("ONERUN_REDACT", "(")]).starts_with("ONERUN_REDACT: line 1 "));
    for (name, text, expected) in [
        ("wrong", "a\n(b", "ONERUN_REDACT_FILE: line 2 is not a regular expression"),
        ("empty", "# nothing\n", "ONERUN_REDACT_FILE: has no pattern"),
        ("wide", "[a-z]{300}", "ONERUN_REDACT_FILE: line 1 would take too much work"),
    ] {
        let path = file(&directory, name, text);
        let error = error(&[("ONERUN_REDACT_FILE", &path)]);
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(error(&[("ONERUN_REDACT_FILE", "/does/not/exist")]).contains("cannot be read"));
}

#[test]
fn model_without_credentials_is_a_configuration_error() {
    let models = read(&[]).unwrap().names_only();
    let error = models.open(&ModelName::parse("openai:gpt-5").unwrap()).err().unwrap();
    assert!(
        matches!(&error, ModelError::Misconfigured(text) if text.contains("ONERUN_ALLOWED_MODELS")),
        "{error}"
    );
    let config = read(&[OPENAI, ("OPENAI_API_KEY", "sk-1")]).unwrap();
    let name = config.defaults().reply.clone();
    let error = config.names_only().open(&name).err().unwrap();
    assert!(matches!(error, ModelError::Misconfigured(_)), "{error}");
}
