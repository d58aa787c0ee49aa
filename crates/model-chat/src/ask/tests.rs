use std::{sync::Arc, time::Duration};

use onerun_domain::{ModelUsage, NanoDollars, TokenUsage};
use onerun_engine::{Meter, Model as _, ModelError, Reply, ReplyRequest};
use onerun_transport::TransportError;

use crate::{
    Prices,
    chat_model::ChatModel,
    testing::{Answer, COST, TOKENS, agent, messages, model_with, persona, simulation},
};

/// Asks for a persona's opening.
async fn open(model: &ChatModel, meter: &Meter) -> Result<Reply, ModelError> {
    let simulation = simulation("A flight was cancelled.");
    let (agent, persona) = (agent(), persona(&simulation));
    let request = ReplyRequest {
        simulation: &simulation,
        agent: &agent,
        persona: &persona,
        conversation_seq: 1,
        transcript: &[],
        meter,
    };
    model.reply(request).await
}

fn good() -> Answer {
    Answer::Text(r#"{"message": "My flight was cancelled.", "stop": false, "reason": "continues"}"#.into())
}

/// Calls of which some failed; `answered` of them have tokens and a cost.
fn usage(calls: u64, failed: u64, answered: u64, unpriced: u64) -> ModelUsage {
    ModelUsage {
        calls,
        failed_calls: failed,
        unpriced_calls: unpriced,
        tokens: TokenUsage {
            input: answered * TOKENS.0,
            output: answered * TOKENS.1,
            ..TokenUsage::default()
        },
        cost: NanoDollars::new(answered * COST),
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_is_counted_once_with_its_cost() {
    let broken = || TransportError::Broken("reset".into());
    let connect = || TransportError::Connect("refused".into());
    for (name, answers, is_ok, expected) in [
        ("good", vec![good()], true, usage(1, 0, 1, 0)),
        (
            "without usage",
            vec![Answer::WithoutUsage(r#"{"message": "Hi", "stop": false}"#.into())],
            true,
            usage(1, 0, 0, 1),
        ),
        ("repaired", vec![Answer::Text("Hi!".into()), good()], true, usage(2, 1, 2, 0)),
        ("refused, then good", vec![Answer::Refusal, good()], true, usage(2, 1, 2, 0)),
        ("refused twice", vec![Answer::Refusal], false, usage(2, 2, 2, 0)),
        ("empty twice", vec![Answer::Nothing], false, usage(2, 2, 2, 0)),
        ("cut off twice", vec![Answer::Cut(r#"{"message": "My fl"#.into())], false, usage(2, 2, 2, 0)),
        ("repair fails", vec![Answer::Text("Hi!".into()), Answer::Status(500)], false, usage(2, 2, 1, 1)),
        ("times out", vec![Answer::Hang], false, usage(1, 1, 0, 1)),
        ("breaks", vec![Answer::Fail(broken())], false, usage(1, 1, 0, 1)),
        ("is limited", vec![Answer::Status(429)], false, usage(1, 1, 0, 0)),
        ("key is wrong", vec![Answer::Status(401)], false, usage(1, 1, 0, 0)),
        ("no connection", vec![Answer::Fail(connect())], false, usage(0, 0, 0, 0)),
        ("no connection at first", vec![Answer::Fail(connect()), good()], true, usage(1, 0, 1, 0)),
    ] {
        let (model, _) = model_with(answers);
        let meter = Meter::default();
        let result = open(&model, &meter).await;
        assert_eq!(result.is_ok(), is_ok, "{name}: {result:?}");
        assert_eq!(meter.usage(), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_call_is_counted_at_an_unknown_cost() {
    let (model, _) = model_with([Answer::Hang]);
    let meter = Meter::default();
    let dropped = tokio::time::timeout(Duration::from_secs(5), open(&model, &meter)).await;
    assert!(dropped.is_err());
    assert_eq!(meter.usage(), usage(1, 1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn dropped_repair_is_counted_beside_the_first_call() {
    let (model, _) = model_with([Answer::Text("Hi!".into()), Answer::Hang]);
    let meter = Meter::default();
    let dropped = tokio::time::timeout(Duration::from_secs(5), open(&model, &meter)).await;
    assert!(dropped.is_err());
    assert_eq!(meter.usage(), usage(2, 2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn call_that_was_never_sent_is_not_counted() {
    let (model, script) = model_with([Answer::Hang]);
    let busy = Arc::new(model);
    // All permits of the provider are taken by calls that hang.
    let hanging: Vec<_> = (0..crate::Limits::default().concurrency)
        .map(|_| {
            let model = Arc::clone(&busy);
            tokio::spawn(async move { open(&model, &Meter::default()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let meter = Meter::default();
    let sent = script.requests().len();
    let dropped = tokio::time::timeout(Duration::from_secs(5), open(&busy, &meter)).await;
    assert!(dropped.is_err());
    assert_eq!((script.requests().len(), meter.usage()), (sent, ModelUsage::default()));
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn call_of_a_model_without_price_is_unpriced() {
    let (mut model, _) = model_with([good()]);
    model.prices = Arc::new(Prices::default());
    let meter = Meter::default();
    open(&model, &meter).await.unwrap();
    let usage = meter.usage();
    assert_eq!((usage.calls, usage.unpriced_calls, usage.cost), (1, 1, NanoDollars::default()));
    assert_eq!(usage.tokens.input, TOKENS.0);
}

#[tokio::test(start_paused = true)]
async fn fault_is_named_without_the_words_of_the_model() {
    for (text, expected) in [
        (r#"{"message": "secret", "stop": "secret"}"#, "`stop` must be a boolean"),
        (r#"{"message": "secret"}"#, "has a missing field `stop`"),
        (r#"{"message": "secret", "message": "secret", "stop": false}"#, "duplicate field `message`"),
        (r#"{"message": "secret", "stop": fal"#, "is not complete"),
        (r#"{"message": "secret" "stop": false}"#, "line 1 is not valid JSON"),
        ("secret", "line 1 is not valid JSON"),
        (r#"{"message": "secret", "stop": true} {"stop": "secret"}"#, "more than one JSON object"),
    ] {
        let (model, script) = model_with([Answer::Text(text.into())]);
        let error = open(&model, &Meter::default()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
        let requests = script.requests();
        let repair = messages(&requests[1]);
        assert_eq!(repair.len(), 3, "{repair:?}");
        assert_eq!(repair[1], ("assistant".to_owned(), text.to_owned()));
        assert!(repair[2].1.contains(expected) && !repair[2].1.contains("secret"), "{repair:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_is_asked_again_with_the_purpose_of_the_test() {
    let (model, script) = model_with([Answer::Refusal, good()]);
    let reply = open(&model, &Meter::default()).await.unwrap();
    assert_eq!(reply.text.as_deref(), Some("My flight was cancelled."));
    let repair = messages(&script.requests()[1]);
    assert!(repair[2].1.contains("invented people"), "{repair:?}");
}
