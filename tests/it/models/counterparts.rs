//! The local models themselves answer, over each wire.

use onerun_tests::{
    http_client,
    provider::{
        Converse, Faults, LanguageModel, PROVIDER_KEY, Provider, Tokens, Upstream, Wire, similarities,
    },
};
use serde_json::{Value, json};

const AWS: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260105/eu-central-1/bedrock/aws4_request, \
                   SignedHeaders=host;x-amz-date, Signature=0";

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "message": { "type": "string", "maxLength": 80 },
            "mood": { "type": "string", "enum": ["calm", "annoyed"] },
        },
        "required": ["message", "mood"],
        "additionalProperties": false,
    })
}

/// Sends a request with a schema, and returns the body and the text in it.
async fn ask(provider: &Provider, wire: Wire) -> (Value, String) {
    let url = provider.url();
    let (system, question) = ("You are a customer whose kettle leaks.", "Hello, how can I help you?");
    let request = match wire {
        Wire::ChatCompletions => http_client()
            .post(format!("{url}/v1/chat/completions"))
            .bearer_auth(PROVIDER_KEY)
            .json(&json!({
                "model": "smollm2",
                "messages": [{ "role": "system", "content": system }, { "role": "user", "content": question }],
                "max_tokens": 80,
                "temperature": 0,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": { "name": "reply", "strict": true, "schema": schema() },
                },
            })),
        Wire::Messages => http_client()
            .post(format!("{url}/v1/messages"))
            .header("x-api-key", PROVIDER_KEY)
            .header("anthropic-version", "2023-06-01")
            .json(&json!({
                "model": "smollm2",
                "system": system,
                "messages": [{ "role": "user", "content": question }],
                "max_tokens": 80,
                "temperature": 0,
                "output_config": { "format": { "type": "json_schema", "schema": schema() } },
            })),
        Wire::Converse => http_client()
            .post(format!("{url}/model/smollm2/converse"))
            .header("authorization", AWS)
            .header("x-amz-date", "20260105T090000Z")
            .json(&json!({
                "system": [{ "text": system }],
                "messages": [{ "role": "user", "content": [{ "text": question }] }],
                "inferenceConfig": { "maxTokens": 80, "temperature": 0 },
                "outputConfig": { "textFormat": {
                    "type": "json_schema",
                    "structure": { "jsonSchema": { "name": "reply", "schema": schema().to_string() } },
                } },
            })),
    };
    let response = request.send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    let path = match wire {
        Wire::ChatCompletions => "/choices/0/message/content",
        Wire::Messages => "/content/0/text",
        Wire::Converse => "/output/message/content/0/text",
    };
    let text =
        body.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no text: {body}")).to_owned();
    (body, text)
}

#[tokio::test]
async fn model_follows_a_schema_over_each_wire() {
    let model = LanguageModel::start().await;
    // Converse asks through a provider of its own, which shows that the model was asked.
    let behind_converse = Provider::before(Faults::none(), Upstream::new(&model)).await;
    let converse = Converse::start(&behind_converse.url()).await;
    let provider = Provider::before(Faults::none(), Upstream::new(&model).with_converse(&converse)).await;

    let mut texts = Vec::new();
    for wire in Wire::ALL {
        let (body, text) = ask(&provider, wire).await;
        let reply: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert!(reply["message"].is_string(), "{reply}");
        assert!(["calm", "annoyed"].contains(&reply["mood"].as_str().unwrap()), "{reply}");
        texts.push(text);
    }

    let [_, _, converse_text] = &texts[..] else { panic!("{texts:?}") };
    let asked = behind_converse.calls();
    assert_eq!(asked.len(), 1, "Converse asked the model once");
    assert_eq!(asked[0].text.as_ref(), Some(converse_text), "{}", converse.log());
    let counted: Vec<Tokens> = provider.calls().iter().map(|call| call.tokens).collect();
    for tokens in &counted {
        assert!(tokens.input + tokens.cached_input > 20 && tokens.output > 10, "{counted:?}");
    }
}

#[tokio::test]
async fn model_speaks_messages_without_a_schema() {
    let model = LanguageModel::start().await;
    let provider = Provider::before(Faults::none(), Upstream::new(&model)).await;
    let request =
        http_client().post(format!("{}/v1/messages", provider.url())).header("x-api-key", PROVIDER_KEY);
    let response = request
        .header("anthropic-version", "2023-06-01")
        .json(&json!({
            "model": "smollm2",
            "messages": [{ "role": "user", "content": "Say hello." }],
            "max_tokens": 12,
        }))
        .send()
        .await
        .unwrap();
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body["type"], "message", "{body}");
    assert_eq!(provider.tokens().output, body["usage"]["output_tokens"]);
}

#[tokio::test]
async fn converse_fails_if_the_model_does_not_answer() {
    let provider = Provider::start(|_| "unused".into()).await;
    let converse = Converse::start(&provider.url()).await;
    provider.down();
    let request = http_client().post(format!("{}/model/smollm2/converse", converse.url()));
    let request = request.header("authorization", AWS).header("x-amz-date", "20260105T090000Z");
    let messages = json!({ "messages": [{ "role": "user", "content": [{ "text": "Hello" }] }] });
    let response = request.json(&messages).send().await.unwrap();
    assert_eq!(response.status(), 503, "{}", converse.log());
}

#[tokio::test]
async fn paraphrases_are_more_similar_than_other_subjects() {
    let texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];
    let similar = similarities(&texts.map(str::to_owned)).await;
    // The figures that the model's authors publish.
    for (pair, expected) in [((0, 1), 0.6660), ((0, 2), 0.1046), ((1, 2), 0.1411), ((0, 0), 1.0)] {
        let found: f64 = similar[pair.0][pair.1];
        assert!((found - expected).abs() < 0.001, "{pair:?}: {found}");
    }
}
