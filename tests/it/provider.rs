//! The scripted provider of models: its wires, its account and its faults.

use std::time::Duration;

use onerun_tests::{
    eventually, http_client,
    provider::{Answer, Fault, Faults, Finish, Outcome, PROVIDER_KEY, Prompt, Provider, Reply, Tokens, Wire},
};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

const AWS: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260105/eu-central-1/bedrock/aws4_request, \
                   SignedHeaders=host;x-amz-date, Signature=0";

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "message": { "type": "string" } },
        "required": ["message"],
        "additionalProperties": false,
    })
}

/// A request of a wire with a system prompt, one message and a schema.
fn request(provider: &Provider, wire: Wire, key: &str) -> reqwest::RequestBuilder {
    let http = http_client();
    let url = provider.url();
    let (system, question) = ("You are a customer.", "How can I help?");
    match wire {
        Wire::ChatCompletions => {
            http.post(format!("{url}/v1/chat/completions")).bearer_auth(key).json(&json!({
                "model": "small",
                "messages": [{ "role": "system", "content": system }, { "role": "user", "content": question }],
                "max_completion_tokens": 50,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": { "name": "reply", "strict": true, "schema": schema() },
                },
            }))
        }
        Wire::Messages => {
            let request = http.post(format!("{url}/v1/messages")).header("x-api-key", key);
            request.header("anthropic-version", "2023-06-01").json(&json!({
                "model": "small",
                "system": system,
                "messages": [{ "role": "user", "content": question }],
                "max_tokens": 50,
                "output_config": { "format": { "type": "json_schema", "schema": schema() } },
            }))
        }
        Wire::Converse => {
            let authorization = if key == PROVIDER_KEY { AWS.to_owned() } else { format!("Bearer {key}") };
            let request = http.post(format!("{url}/model/eu.small-v1%3A0/converse"));
            request.header("authorization", authorization).header("x-amz-date", "20260105T090000Z").json(&json!({
                "system": [{ "text": system }],
                "messages": [{ "role": "user", "content": [{ "text": question }] }],
                "inferenceConfig": { "maxTokens": 50 },
                "outputConfig": { "textFormat": {
                    "type": "json_schema",
                    "structure": { "jsonSchema": { "name": "reply", "schema": schema().to_string() } },
                } },
            }))
        }
    }
}

async fn send(provider: &Provider, wire: Wire) -> Response {
    request(provider, wire, PROVIDER_KEY).send().await.unwrap()
}

async fn body(response: Response) -> Value {
    assert_eq!(response.status(), StatusCode::OK);
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

fn kettle(prompt: &Prompt) -> Reply {
    assert_eq!(prompt.system, "You are a customer.");
    assert_eq!(prompt.last(), "How can I help?");
    assert_eq!(prompt.schema, Some(schema()));
    assert_eq!(prompt.max_tokens, Some(50));
    json!({ "message": "My kettle leaks." }).into()
}

fn outcomes(provider: &Provider) -> Vec<Outcome> {
    provider.calls().iter().map(|call| call.outcome).collect()
}

#[tokio::test]
async fn answer_has_the_form_of_its_wire() {
    let provider = Provider::start(kettle).await;
    let text = json!({ "message": "My kettle leaks." }).to_string();

    let completion = body(send(&provider, Wire::ChatCompletions).await).await;
    assert_eq!(completion["choices"][0]["message"]["content"], text);
    assert_eq!(completion["choices"][0]["finish_reason"], "stop");

    let message = body(send(&provider, Wire::Messages).await).await;
    assert_eq!(message["content"], json!([{ "type": "text", "text": text }]));
    assert_eq!(message["stop_reason"], "end_turn");

    let converse = body(send(&provider, Wire::Converse).await).await;
    assert_eq!(converse["output"]["message"]["content"], json!([{ "text": text }]));
    assert_eq!(converse["stopReason"], "end_turn");

    let models: Vec<String> = provider.calls().into_iter().map(|call| call.prompt.model).collect();
    assert_eq!(models, ["small", "small", "eu.small-v1:0"]);
}

#[tokio::test]
async fn each_wire_reports_tokens_in_its_own_terms() {
    // 19 and 15 bytes in, 30 bytes out: 5, 4 and 8 tokens.
    let provider = Provider::start(kettle).await;
    let completion = body(send(&provider, Wire::ChatCompletions).await).await;
    assert_eq!(completion["usage"]["prompt_tokens"], 9);
    assert_eq!(completion["usage"]["completion_tokens"], 11);
    assert_eq!(completion["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);

    // The system prompt is in the cache from now on.
    let completion = body(send(&provider, Wire::ChatCompletions).await).await;
    assert_eq!(completion["usage"]["prompt_tokens"], 9);
    assert_eq!(completion["usage"]["prompt_tokens_details"]["cached_tokens"], 5);
    let message = body(send(&provider, Wire::Messages).await).await;
    assert_eq!(message["usage"]["input_tokens"], 4);
    assert_eq!(message["usage"]["cache_read_input_tokens"], 5);
    let converse = body(send(&provider, Wire::Converse).await).await;
    assert_eq!(converse["usage"]["inputTokens"], 4);
    assert_eq!(converse["usage"]["cacheReadInputTokens"], 5);

    let sum = Tokens {
        input: 9 + 4 + 4 + 4,
        cached_input: 15,
        cache_write: 0,
        output: 11 + 11 + 8 + 8,
        reasoning: 6,
    };
    assert_eq!(provider.tokens(), sum);
}

#[tokio::test]
async fn first_use_of_a_system_prompt_is_written_to_the_cache() {
    let provider = Provider::start(kettle).await;
    let message = body(send(&provider, Wire::Messages).await).await;
    assert_eq!(message["usage"]["cache_creation_input_tokens"], 5);
    assert_eq!(message["usage"]["cache_read_input_tokens"], 0);
}

#[tokio::test]
async fn refusal_and_length_are_reported_on_each_wire() {
    let finishes = [
        (Finish::Refused, ["stop", "refusal", "content_filtered"]),
        (Finish::Length, ["length", "max_tokens", "max_tokens"]),
    ];
    for (finish, reasons) in finishes {
        let provider =
            Provider::start(move |_| Answer { text: "No.".to_owned(), finish, tokens: None }.into()).await;
        let reason = |body: &Value, path: &str| body.pointer(path).cloned().unwrap_or_default();
        let completion = body(send(&provider, Wire::ChatCompletions).await).await;
        assert_eq!(reason(&completion, "/choices/0/finish_reason"), reasons[0]);
        let is_refused = finish == Finish::Refused;
        assert_eq!(reason(&completion, "/choices/0/message/content").is_null(), is_refused);
        assert_eq!(reason(&completion, "/choices/0/message/refusal") == "No.", is_refused);
        let message = body(send(&provider, Wire::Messages).await).await;
        assert_eq!(reason(&message, "/stop_reason"), reasons[1]);
        let converse = body(send(&provider, Wire::Converse).await).await;
        assert_eq!(reason(&converse, "/stopReason"), reasons[2]);
    }
}

#[tokio::test]
async fn wrong_key_is_refused_on_each_wire() {
    let provider = Provider::start(kettle).await;
    for (wire, status) in Wire::ALL.into_iter().zip([401, 401, 403]) {
        let response = request(&provider, wire, "wrong").send().await.unwrap();
        assert_eq!(response.status(), status, "{wire:?}");
    }
    assert!(provider.calls().is_empty());
    assert_eq!(provider.rejected().len(), 3);
}

#[tokio::test]
async fn requests_that_no_provider_accepts_are_rejected() {
    let provider = Provider::start(kettle).await;
    let user = json!({ "role": "user", "content": "Hello" });
    let assistant = json!({ "role": "assistant", "content": "Hello" });
    let loose = json!({ "type": "json_schema", "schema": { "type": "object", "properties": {} } });
    for (body, reason) in [
        (json!({ "model": "small", "messages": [user] }), "max_tokens"),
        (json!({ "model": "small", "max_tokens": 9, "messages": [assistant, user] }), "first message"),
        (json!({ "model": "small", "max_tokens": 9, "messages": [] }), "first message"),
        (json!({ "max_tokens": 9, "messages": [user] }), "model"),
        (
            json!({ "model": "small", "max_tokens": 9, "messages": [{ "role": "user", "content": " " }] }),
            "non-empty",
        ),
        (
            json!({ "model": "small", "max_tokens": 9, "messages": [user], "output_config": { "format": loose } }),
            "additionalProperties",
        ),
    ] {
        let request =
            http_client().post(format!("{}/v1/messages", provider.url())).header("x-api-key", PROVIDER_KEY);
        let response = request.header("anthropic-version", "2023-06-01").json(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        let text = response.text().await.unwrap();
        assert!(text.contains(reason), "{text}");
    }
    let converse = json!({ "messages": [
        { "role": "user", "content": [{ "text": "Hello" }] },
        { "role": "user", "content": [{ "text": "Hello?" }] },
    ] });
    for (path, reason) in [("small", "alternate"), ("arn:aws:small", "encoded")] {
        let request = http_client().post(format!("{}/model/{path}/converse", provider.url()));
        let request = request.header("authorization", AWS).header("x-amz-date", "20260105T090000Z");
        let response = request.json(&converse).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let text = response.text().await.unwrap();
        assert!(text.contains(reason), "{text}");
    }
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn call_over_the_rate_limit_says_when_to_retry() {
    let retry_after = Duration::from_millis(1500);
    let faults = Faults::seeded(1).with(100, Fault::Limited { retry_after });
    let provider = Provider::start_with(faults, kettle).await;
    for wire in Wire::ALL {
        let response = send(&provider, wire).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()["retry-after"], "2");
    }
    assert_eq!(outcomes(&provider), [Outcome::Refused; 3]);
    assert_eq!(provider.tokens(), Tokens::default());
}

#[tokio::test]
async fn damaged_answers_cost_tokens_that_no_caller_sees() {
    for (fault, is_cut) in [(Fault::BrokenJson, false), (Fault::Cut, true)] {
        let provider = Provider::start_with(Faults::seeded(1).with(100, fault), kettle).await;
        for wire in Wire::ALL {
            let response = send(&provider, wire).await;
            assert_eq!(response.status(), StatusCode::OK);
            match response.bytes().await {
                Ok(bytes) => {
                    assert!(!is_cut && serde_json::from_slice::<Value>(&bytes).is_err(), "{bytes:?}");
                }
                Err(error) => assert!(is_cut, "{error:?}"),
            }
        }
        assert_eq!(outcomes(&provider), [Outcome::Damaged; 3]);
        assert_eq!(provider.tokens(), Tokens::default());
        assert!(provider.calls().iter().all(|call| call.tokens.output > 0));
    }
}

#[tokio::test]
async fn caller_that_disconnects_is_recorded() {
    for fault in [Fault::Silent, Fault::Slow { delay: Duration::from_hours(1) }] {
        let provider = Provider::start_with(Faults::seeded(1).with(100, fault), kettle).await;
        let call = tokio::spawn(request(&provider, Wire::Messages, PROVIDER_KEY).send());
        let reach = async |wanted: Outcome| {
            eventually("call with this outcome", || async {
                let seen = outcomes(&provider);
                if seen == [wanted] { Ok(()) } else { Err(format!("{seen:?}")) }
            })
            .await;
        };
        reach(Outcome::Pending).await;
        call.abort();
        reach(Outcome::Abandoned).await;
    }
}

#[tokio::test]
async fn slow_answer_is_a_whole_answer() {
    let delay = Duration::from_millis(20);
    let provider = Provider::start_with(Faults::seeded(1).with(100, Fault::Slow { delay }), kettle).await;
    body(send(&provider, Wire::Converse).await).await;
    assert_eq!(outcomes(&provider), [Outcome::Answered]);
}

#[tokio::test]
async fn provider_that_is_down_refuses_connections_until_it_is_up() {
    let provider = Provider::start(kettle).await;
    provider.down();
    assert!(request(&provider, Wire::Messages, PROVIDER_KEY).send().await.is_err());
    provider.up().await;
    body(send(&provider, Wire::Messages).await).await;
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn faults_can_be_switched_off() {
    let provider = Provider::start_with(Faults::seeded(1).with(100, Fault::Cut), kettle).await;
    provider.inject(false);
    body(send(&provider, Wire::Messages).await).await;
    provider.inject(true);
    assert!(send(&provider, Wire::Messages).await.bytes().await.is_err());
}
