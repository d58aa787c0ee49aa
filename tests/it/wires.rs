//! The wires of `onerun-model-chat` against a provider that is strict about requests and counts for itself.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use onerun_domain::{Clock, TokenUsage};
use onerun_model_chat::{
    Anthropic, AwsCredentials, ChatAnswer, ChatError, ChatMessage, ChatRequest, ChatRole, CircuitConfig,
    Converse, Finish, Kind, Limits, OpenAi, Property, Provider as ChatProvider, Schema, Secret, Sent,
    Wire as ChatWire,
};
use onerun_tests::provider::{Faults, Outcome, PROVIDER_KEY, Prompt, Provider, Reply, Tokens, Wire};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio::time::Instant;

const REPLY: Schema = Schema { name: "reply", properties: &[Property::new("message", Kind::Text)] };

/// The clock that dates signatures.
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        "2026-01-05T09:00:00Z".parse().unwrap()
    }
}

/// A client of a provider over a wire, in this process.
pub(crate) fn client(provider: &Arc<Provider>, wire: Wire) -> ChatProvider {
    let url = provider.url();
    let secret = |text| Secret::parse(text).unwrap();
    let wire = match wire {
        Wire::ChatCompletions => {
            ChatWire::OpenAi(OpenAi::new(Some(&format!("{url}/v1")), Some(secret(PROVIDER_KEY))).unwrap())
        }
        Wire::Messages => {
            ChatWire::Anthropic(Anthropic::new(Some(&url), Some(secret(PROVIDER_KEY))).unwrap())
        }
        Wire::Converse => {
            let credentials = AwsCredentials::AccessKey {
                id: secret("AKIAIOSFODNN7EXAMPLE"),
                secret: secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
                session_token: None,
            };
            ChatWire::Converse(Converse::new("eu-central-1", Some(&url), credentials).unwrap())
        }
    };
    let transport = Arc::clone(provider);
    ChatProvider::new(wire, transport, Arc::new(Fixed), Limits::default(), CircuitConfig::default())
}

pub(crate) fn request() -> ChatRequest {
    ChatRequest {
        system: "You are a customer.".to_owned(),
        messages: vec![message(ChatRole::User, "How can I help?")],
        questions: Vec::new(),
        schema: Some(&REPLY),
        max_tokens: 60,
        temperature: Some(0.8),
        seed: Some(7),
    }
}

fn message(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage { role, text: text.to_owned() }
}

async fn send(client: &ChatProvider, request: &ChatRequest) -> Result<ChatAnswer, ChatError> {
    client.send("eu.small-v1:0", request, Instant::now() + Duration::from_secs(20), &Sent::default()).await
}

/// The provider's count in OneRun's terms.
pub(crate) fn usage(tokens: Tokens) -> TokenUsage {
    TokenUsage {
        input: tokens.input,
        cached_input: tokens.cached_input,
        cache_write: tokens.cache_write,
        output: tokens.output,
        reasoning: tokens.reasoning,
    }
}

fn kettle(_: &Prompt) -> Reply {
    json!({ "message": "My kettle leaks." }).into()
}

#[tokio::test]
async fn strict_provider_accepts_requests_of_each_wire() {
    for wire in Wire::ALL {
        let provider = Arc::new(Provider::start(kettle).await);
        let client = client(&provider, wire);
        for _ in 0..2 {
            let answer = send(&client, &request()).await.unwrap();
            assert_eq!(answer.text.as_deref(), Some(r#"{"message":"My kettle leaks."}"#));
            assert_eq!(answer.finish, Finish::Complete);
        }
        let prompt = provider.calls().remove(0).prompt;
        assert_eq!(prompt.wire, wire);
        assert_eq!(prompt.model, "eu.small-v1:0");
        assert_eq!(prompt.system, "You are a customer.");
        assert_eq!(prompt.last(), "How can I help?");
        assert_eq!(prompt.schema, Some(serde_json::from_str::<Value>(&REPLY.json()).unwrap()));
        assert_eq!(prompt.max_tokens, Some(60));
        assert_eq!(provider.rejected(), [""; 0]);
    }
}

#[tokio::test]
async fn usage_means_the_same_over_each_wire() {
    for wire in Wire::ALL {
        let provider = Arc::new(Provider::start(kettle).await);
        let client = client(&provider, wire);
        let mut sum = TokenUsage::default();
        for _ in 0..3 {
            sum = sum + send(&client, &request()).await.unwrap().tokens.unwrap();
        }
        assert_eq!(sum, usage(provider.tokens()), "{wire:?}");
        assert!(sum.cached_input > 0 && sum.input > 0, "{sum:?}");
    }
}

#[test]
fn strict_provider_accepts_any_history() {
    let history = proptest::collection::vec((any::<bool>(), "\\PC{1,20}"), 0..8);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let provider = Arc::new(runtime.block_on(Provider::start(kettle)));
    TestRunner::new(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })
        .run(&history, |history| {
            let mut request = request();
            for (is_user, text) in history.into_iter().filter(|(_, text)| !text.trim().is_empty()) {
                request
                    .messages
                    .push(message(if is_user { ChatRole::User } else { ChatRole::Assistant }, &text));
            }
            for wire in Wire::ALL {
                let answer = runtime.block_on(send(&client(&provider, wire), &request));
                prop_assert!(answer.is_ok(), "{:?}: {:?}", answer, provider.rejected());
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn usage_adds_up_despite_faults() {
    for (wire, seed) in Wire::ALL.into_iter().zip(1..) {
        let faults = Faults::unreliable(seed, Duration::from_secs(45), Duration::from_secs(1));
        let provider = Arc::new(Provider::start_with(faults, kettle).await);
        let client = client(&provider, wire);
        let mut sum = TokenUsage::default();
        let (mut answered, mut limited) = (0, 0);
        for _ in 0..300 {
            match send(&client, &request()).await {
                Ok(answer) => {
                    answered += 1;
                    sum = sum + answer.tokens.unwrap();
                }
                // Its only repetition was over the limit, too.
                Err(ChatError::RateLimited { .. }) => limited += 1,
                Err(error) => {
                    assert!(error.may_be_billed(), "{error:?}");
                    sum = sum + error.tokens().unwrap_or_default();
                }
            }
        }
        assert_eq!(sum, usage(provider.tokens()), "{wire:?}");
        let calls = provider.calls();
        let count = |outcome| calls.iter().filter(|call| call.outcome == outcome).count();
        assert_eq!(answered, count(Outcome::Answered));
        // Each call over the rate limit was repeated, and no other call.
        assert_eq!(calls.len(), 300 + count(Outcome::Refused) - limited);
        assert!(count(Outcome::Abandoned) >= 25 && count(Outcome::Damaged) >= 7, "{wire:?}");
        assert_eq!(provider.rejected(), [""; 0]);
    }
}
