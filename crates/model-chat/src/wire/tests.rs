use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    chat::Finish,
    dialect::Parameter,
    json_text,
    schema::{Kind, Property},
    secret::Secret,
};

/// Its members are in no alphabetical order.
static ANSWER: Schema = Schema {
    name: "reply",
    properties: &[
        Property::new("requirement", Kind::Text),
        Property::new("reasoning", Kind::Text),
        Property::new("verdict", Kind::Boolean),
        Property::new("score", Kind::Integer),
    ],
};

fn key(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}

fn now() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn openai(base_url: Option<&str>) -> Wire {
    Wire::OpenAi(OpenAi::new(base_url, Some(key("sk-test"))).unwrap())
}

fn anthropic(base_url: Option<&str>) -> Wire {
    Wire::Anthropic(Anthropic::new(base_url, Some(key("sk-ant-test"))).unwrap())
}

fn converse(credentials: AwsCredentials) -> Wire {
    Wire::Converse(Converse::new("eu-central-1", None, credentials).unwrap())
}

fn access_key(session_token: Option<&str>) -> AwsCredentials {
    AwsCredentials::AccessKey {
        id: key("AKIDEXAMPLE"),
        secret: key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        session_token: session_token.map(key),
    }
}

fn message(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage { role, text: text.into() }
}

fn request() -> ChatRequest {
    ChatRequest {
        system: "Be Ann.".into(),
        messages: vec![
            message(ChatRole::User, "Begin."),
            message(ChatRole::Assistant, "Hi, my kettle broke."),
            message(ChatRole::User, "I am sorry."),
            message(ChatRole::User, "Which one?"),
        ],
        questions: Vec::new(),
        schema: Some(&ANSWER),
        max_tokens: 300,
        temperature: Some(0.5),
        seed: Some(u64::MAX),
    }
}

fn sent(wire: &Wire, dialect: Dialect) -> (String, HeaderMap, Value) {
    let http = wire.request("some-model", &request(), dialect, now()).unwrap();
    let body = serde_json::from_slice(http.body()).unwrap();
    (http.uri().to_string(), http.headers().clone(), body)
}

fn with(wire: &Wire, structure: Structure) -> Value {
    sent(wire, Dialect { structure, ..wire.dialect() }).2
}

#[test]
fn openai_request_has_the_documented_form() {
    let wire = openai(None);
    let (url, headers, body) = sent(&wire, wire.dialect());
    assert_eq!(url, "https://api.openai.com/v1/chat/completions");
    assert_eq!(headers["authorization"], "Bearer sk-test");
    assert!(headers["authorization"].is_sensitive());
    let schema: Value = serde_json::from_str(&ANSWER.json()).unwrap();
    let expected = json!({
        "model": "some-model",
        "messages": [
            {"role": "system", "content": "Be Ann."},
            {"role": "user", "content": "Begin."},
            {"role": "assistant", "content": "Hi, my kettle broke."},
            {"role": "user", "content": "I am sorry."},
            {"role": "user", "content": "Which one?"},
        ],
        "max_completion_tokens": 300,
        "stream": false,
        "temperature": 0.5,
        "seed": i64::MAX,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": true, "schema": schema},
        },
    });
    assert_eq!(body, expected);
}

#[test]
fn other_server_gets_the_older_limit() {
    let wire = openai(Some("http://127.0.0.1:11434/v1"));
    let (url, _, body) = sent(&wire, wire.dialect());
    assert_eq!(url, "http://127.0.0.1:11434/v1/chat/completions");
    assert_eq!(body["max_tokens"], 300);
    assert!(body.get("max_completion_tokens").is_none());
}

#[test]
fn refused_parameters_are_left_out() {
    let wire = openai(None);
    let all = wire.dialect();
    let bare = all.without(Parameter::Temperature, Structure::Object).unwrap();
    let bare = bare.without(Parameter::Seed, Structure::Object).unwrap();
    let body = sent(&wire, bare).2;
    assert!(body.get("temperature").is_none() && body.get("seed").is_none());

    let object = with(&wire, Structure::Object);
    assert_eq!(object["response_format"], json!({"type": "json_object"}));
    let prompt = with(&wire, Structure::Prompt);
    assert!(prompt.get("response_format").is_none());
    for body in [object, prompt] {
        let system = body["messages"][0]["content"].as_str().unwrap();
        assert!(system.contains("JSON") && system.contains(&ANSWER.json()), "{system}");
    }
}

#[test]
fn each_wire_sends_a_schema_in_its_declared_order() {
    for wire in [openai(None), anthropic(None), converse(access_key(None))] {
        for structure in [Structure::Schema, wire.fallback(), Structure::Prompt] {
            let dialect = Dialect { structure, ..wire.dialect() };
            let http = wire.request("some-model", &request(), dialect, now()).unwrap();
            // Some places hold the schema as a string.
            let body = String::from_utf8(http.body().to_vec()).unwrap().replace('\\', "");
            assert!(body.contains(&ANSWER.json()), "{structure:?}: {body}");
        }
    }
}

#[test]
fn azure_is_addressed_in_all_documented_forms() {
    for (base, url) in [
        (
            "https://a.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "https://a.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://a.openai.azure.com/?api-version=2024-10-21",
            "https://a.openai.azure.com/openai/deployments/some%2Dmodel/chat/completions?api-version=2024-10-21",
        ),
        ("https://a.openai.azure.com", "https://a.openai.azure.com/openai/v1/chat/completions"),
        ("https://a.openai.azure.com/openai/v1/", "https://a.openai.azure.com/openai/v1/chat/completions"),
        (
            "https://gateway.example/azure/chat/completions?api-version=1",
            "https://gateway.example/azure/chat/completions?api-version=1",
        ),
    ] {
        let wire = openai(Some(base));
        let (sent, headers, _) = sent(&wire, wire.dialect());
        assert_eq!(sent, url);
        assert_eq!(headers["api-key"], "sk-test", "{base}");
        assert!(!headers.contains_key("authorization"), "{base}");
    }
}

#[test]
fn server_without_a_key_gets_no_credentials() {
    let wire = Wire::OpenAi(OpenAi::new(Some("http://127.0.0.1:8080/v1"), None).unwrap());
    let headers = sent(&wire, wire.dialect()).1;
    assert!(!headers.contains_key("authorization") && !headers.contains_key("api-key"));
}

#[test]
fn anthropic_request_has_the_documented_form() {
    let wire = anthropic(None);
    let (url, headers, body) = sent(&wire, wire.dialect());
    assert_eq!(url, "https://api.anthropic.com/v1/messages");
    assert_eq!(headers["x-api-key"], "sk-ant-test");
    assert_eq!(headers["anthropic-version"], "2023-06-01");
    let schema: Value = serde_json::from_str(&ANSWER.json()).unwrap();
    let expected = json!({
        "model": "some-model",
        "max_tokens": 300,
        "system": "Be Ann.",
        "messages": [
            {"role": "user", "content": "Begin."},
            {"role": "assistant", "content": "Hi, my kettle broke."},
            {"role": "user", "content": "I am sorry.\n\nWhich one?"},
        ],
        "temperature": 0.5,
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    });
    assert_eq!(body, expected);

    let tool = with(&wire, Structure::Tool);
    assert_eq!(tool["tools"][0]["input_schema"], schema);
    assert_eq!(tool["tool_choice"], json!({"type": "any"}));
    assert!(tool.get("output_config").is_none());
}

#[test]
fn anthropic_base_url_may_have_a_version() {
    for base in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1/messages"] {
        let wire = anthropic(Some(base));
        assert_eq!(sent(&wire, wire.dialect()).0, "http://127.0.0.1:8080/v1/messages");
    }
}

#[test]
fn converse_request_has_the_documented_form() {
    let wire = converse(AwsCredentials::Bearer(key("bedrock-key")));
    let (url, headers, body) = sent(&wire, wire.dialect());
    assert_eq!(url, "https://bedrock-runtime.eu-central-1.amazonaws.com/model/some-model/converse");
    assert_eq!(headers["authorization"], "Bearer bedrock-key");
    let schema: Value = serde_json::from_str(&ANSWER.json()).unwrap();
    let expected = json!({
        "system": [{"text": "Be Ann."}],
        "messages": [
            {"role": "user", "content": [{"text": "Begin."}]},
            {"role": "assistant", "content": [{"text": "Hi, my kettle broke."}]},
            {"role": "user", "content": [{"text": "I am sorry.\n\nWhich one?"}]},
        ],
        "inferenceConfig": {"maxTokens": 300, "temperature": 0.5},
        "outputConfig": {"textFormat": {
            "type": "json_schema",
            "structure": {"jsonSchema": {"name": "reply", "schema": ANSWER.json()}},
        }},
    });
    assert_eq!(body, expected);

    let tool = with(&wire, Structure::Tool);
    assert_eq!(tool["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"], schema);
    assert_eq!(tool["toolConfig"]["toolChoice"], json!({"any": {}}));
    assert!(tool.get("outputConfig").is_none());
}

#[test]
fn converse_encodes_ids_and_arns() {
    let wire = converse(access_key(None));
    for (model, path) in [
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001-v1%3A0"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0",
        ),
    ] {
        let http = wire.request(model, &request(), wire.dialect(), now()).unwrap();
        assert_eq!(http.uri().path(), format!("/model/{path}/converse"));
    }
}

#[test]
fn china_and_other_endpoints_have_other_hosts() {
    let url = |region, endpoint| {
        let wire = Wire::Converse(Converse::new(region, endpoint, access_key(None)).unwrap());
        sent(&wire, wire.dialect()).0
    };
    assert!(
        url("cn-north-1", None).starts_with("https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/")
    );
    let local = url("eu-central-1", Some("http://127.0.0.1:4566"));
    assert_eq!(local, "http://127.0.0.1:4566/model/some-model/converse");
    for region in ["", "eu central", "eu.evil", "EU-CENTRAL-1", "a/b"] {
        let error = Converse::new(region, None, access_key(None)).unwrap_err();
        assert_eq!(error, EndpointError::Region, "{region}");
    }
}

/// Computed by botocore's `SigV4Auth` for the same request.
const BOTOCORE: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261130/eu-central-1/bedrock/aws4_request, \
     SignedHeaders=accept;content-type;host;x-amz-date;x-amz-security-token, \
     Signature=64b982972fb7d790fb76a6129cff09af4d1d29cebf6613f7abd84b7ef9bf855f";

#[test]
fn converse_signature_is_that_of_botocore() {
    let wire = converse(access_key(Some("session-token")));
    let mut chat = request();
    chat.schema = None;
    let http = wire.request("amazon.nova-lite-v1:0", &chat, wire.dialect(), now()).unwrap();
    assert_eq!(http.headers()["x-amz-date"], "20261130T120000Z");
    assert_eq!(http.headers()["x-amz-security-token"], "session-token");
    let authorization = http.headers()["authorization"].to_str().unwrap();
    assert_eq!(authorization, BOTOCORE);
}

#[test]
fn blank_messages_and_adjacent_turns_are_joined() {
    let turns = alternating(&[
        message(ChatRole::User, "a"),
        message(ChatRole::Assistant, "  "),
        message(ChatRole::User, "b"),
        message(ChatRole::Assistant, "c"),
    ]);
    assert_eq!(turns, [(ChatRole::User, "a\n\nb".to_owned()), (ChatRole::Assistant, "c".to_owned())]);
}

#[test]
fn key_in_an_error_is_redacted() {
    for wire in [openai(None), anthropic(None), converse(access_key(Some("session-token")))] {
        for secret in wire.secrets() {
            for body in [
                format!("bad key {secret}"),
                json!({"error": {"message": format!("key={secret}"), "code": secret}}).to_string(),
                json!({"message": format!("{}{secret}", "x".repeat(495))}).to_string(),
                json!([{secret: secret}]).to_string(),
                json!({secret: secret}).to_string(),
            ] {
                for status in [200, 400, 401, 500] {
                    let response = response(status, body.clone().into_bytes());
                    let error = wire.answer(&response, now()).unwrap_err();
                    let shown = format!("{error} {error:?} {}", error.detail().unwrap_or_default());
                    assert!(!shown.contains(secret), "{status}: {shown}");
                }
            }
        }
    }
}

fn response(status: u16, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// JSON that resembles answers, so that its parts are reached.
fn resembling() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "choices",
        "message",
        "content",
        "text",
        "type",
        "refusal",
        "tool_calls",
        "function",
        "arguments",
        "finish_reason",
        "usage",
        "prompt_tokens",
        "completion_tokens",
        "prompt_tokens_details",
        "cached_tokens",
        "error",
        "code",
        "metadata",
        "raw",
        "param",
        "output",
        "stopReason",
        "toolUse",
        "input",
        "inputTokens",
        "input_tokens",
        "stop_reason",
        "detail",
        "trace",
        "model",
        "total_tokens",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        prop::sample::select(vec!["stop", "length", "<think>", "</think>", "```json", "{", "text", "429"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|members| Value::Object(
                members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

/// Reads a body on every wire; the results are bounded.
fn read(status: u16, body: &[u8], header: &str) -> Result<(), TestCaseError> {
    for wire in [openai(None), anthropic(None), converse(access_key(None))] {
        let mut response = response(status, body.to_vec());
        for name in ["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "x-amzn-errortype"] {
            if let Ok(value) = http::HeaderValue::from_str(header) {
                response.headers_mut().insert(name, value);
            }
        }
        match wire.answer(&response, now()) {
            Ok(answer) => {
                prop_assert!(answer.text.as_ref().is_none_or(|text| !text.trim().is_empty()));
                prop_assert!(answer.version.is_none_or(|version| version.len() <= MAX_NAME));
                prop_assert!(answer.tokens.is_none_or(|tokens| tokens.reasoning <= tokens.output));
                if let Finish::Other(reason) = answer.finish {
                    prop_assert!(reason.len() <= MAX_NAME);
                }
                json_text(&answer.text.unwrap_or_default());
            }
            Err(error) => {
                prop_assert!(error.detail().is_none_or(|detail| detail.len() < 520));
                prop_assert!(error.retry_after().is_none_or(|wait| wait.as_secs() <= 24 * 60 * 60));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_read_without_panic(
        status in 200u16..600,
        body in prop::collection::vec(any::<u8>(), 0..200),
        header in "\\PC{0,20}",
    ) {
        read(status, &body, &header)?;
    }

    #[test]
    fn arbitrary_json_is_read_without_panic(
        status in prop::sample::select(vec![200u16, 200, 200, 400, 404, 422, 429, 503]),
        body in resembling(),
        header in "[0-9a-z.:]{0,12}",
    ) {
        read(status, body.to_string().as_bytes(), &header)?;
    }

    #[test]
    fn arbitrary_answer_on_openai_keeps_its_text(text in "\\PC{1,60}") {
        prop_assume!(!text.trim().is_empty() && !text.contains("think>"));
        let body = json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]});
        let answer = openai(None).answer(&response(200, body.to_string().into_bytes()), now()).unwrap();
        prop_assert_eq!(answer.text, Some(text));
    }
}
