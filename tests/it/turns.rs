//! Turns: a worker's call for the persona's reply alone, repeated, concurrent, and with a failing
//! model.

use http::Method;
use jiff::SignedDuration;
use onerun_api::MAX_BODY_BYTES;
use onerun_engine::Reply;
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};
use tokio::join;

use crate::fixtures::{TestConversation, TestProject, code, message, text};

/// A conversation that the persona does not end before its limit.
const LONG: u32 = 200;

fn says(text: &str) -> Behavior<Reply> {
    Behavior::Says(Reply { text: Some(text.to_owned()), ends: false })
}

/// The persona's words in an answer.
fn output(reply: &Value) -> Option<&str> {
    assert_eq!(reply.as_object().map(serde_json::Map::len), Some(2), "{reply}");
    assert!(reply["ended"].is_boolean(), "{reply}");
    let output = reply["output"].as_array().unwrap();
    assert!(output.len() <= 1, "{reply}");
    output.first().map(|message| message["content"][0]["text"].as_str().unwrap())
}

async fn count(conversation: &TestConversation<'_, '_>) -> usize {
    let count = conversation.items().await.len();
    assert_eq!(conversation.see().await["item_count"], count);
    count
}

#[tokio::test]
async fn persona_that_opens_stops_at_odd_turn_limits() {
    for (max_turns, counts) in [(1, vec![1]), (2, vec![1, 3]), (3, vec![1, 3]), (5, vec![1, 3, 5])] {
        let app = TestApp::start();
        let project = TestProject::open(&app).await;
        let conversation = project.converse(json!({ "max_turns": max_turns })).await;
        for (call, expected) in counts.iter().enumerate() {
            app.model().on_reply(says(&format!("Words {call}.")));
            let said = (call > 0).then_some("Tell me more.");
            let reply = conversation.say(said, 200).await;
            // The last words are returned with the end, and never answered.
            assert_eq!(output(&reply), Some(format!("Words {call}.").as_str()));
            assert_eq!(reply["ended"], call + 1 == counts.len(), "{max_turns}: call {call}");
            assert_eq!(count(&conversation).await, *expected);
        }
        assert_eq!(conversation.see().await["end_reason"], "max_turns_reached");
        assert_eq!(code(&conversation.say(Some("And?"), 400).await), "conversation_over");
        assert_eq!(count(&conversation).await, *counts.last().unwrap());
    }
}

#[tokio::test]
async fn agent_that_opens_stops_after_pairs_of_messages() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 5 })).await;
    for (call, ended) in [(1, false), (2, false), (3, true)] {
        app.model().on_reply(says(&format!("Words {call}.")));
        assert_eq!(conversation.say(Some("Hello."), 200).await["ended"], ended);
        assert_eq!(count(&conversation).await, 2 * call);
    }
}

#[tokio::test]
async fn several_messages_of_one_call_count_each() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 5 })).await;
    app.model().on_reply(says("Words."));
    let one = message(Some("Hello."))["input"][0].clone();
    let body = json!({ "input": [one, one, one, one] });
    let reply = project.client.post(&conversation.path("/responses"), &body, 200).await;
    assert_eq!((reply["ended"].clone(), count(&conversation).await), (json!(true), 5));
}

#[tokio::test]
async fn input_may_be_null_empty_or_absent() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut openings = Vec::new();
    for body in [json!({ "input": null }), json!({ "input": [] }), json!({})] {
        let conversation = project.converse(json!({})).await;
        openings.push(project.client.post(&conversation.path("/responses"), &body, 200).await);
        assert_eq!(count(&conversation).await, 1);
    }
    assert!(openings.windows(2).all(|pair| pair[0] == pair[1]), "{openings:?}");
}

#[tokio::test]
async fn unanswered_words_repeat_without_the_model() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    for said in [None, Some("Tell me more.")] {
        let first = conversation.say(said, 200).await;
        let (asked, stored) = (app.model().replies(), count(&conversation).await);
        app.model().on_reply(Behavior::Panics);
        for _ in 0..3 {
            assert_eq!(conversation.say(None, 200).await, first);
        }
        app.model().on_reply(Behavior::Offline);
        assert_eq!((app.model().replies(), count(&conversation).await), (asked, stored));
    }
}

#[tokio::test]
async fn repeated_call_for_words_renews_the_lease() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    conversation.say(None, 200).await;
    app.advance(SignedDuration::from_secs(299));
    conversation.say(None, 200).await;
    assert_eq!(conversation.see().await["lease_expires_at"], "2026-01-05T09:09:59.000000Z");
}

#[tokio::test]
async fn empty_agent_message_is_accepted() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    conversation.say(None, 200).await;
    conversation.say(Some(""), 200).await;
    assert_eq!(conversation.transcript().await[1], ("assistant".to_owned(), String::new()));
}

#[tokio::test]
async fn longest_message_is_stored_verbatim() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    let long = "\u{1f600}".repeat(32_000);
    conversation.say(Some(&long), 200).await;
    assert_eq!(conversation.transcript().await[0].1, long);
}

#[tokio::test]
async fn longest_call_is_stored_verbatim() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let parts: Vec<Value> = (0..8)
        .map(|part| json!({ "type": "text", "text": format!("{part}{}", "\u{1f600}".repeat(31_999)) }))
        .collect();
    let message = |content: &[Value]| json!({ "type": "message", "content": content });
    // More than one item of some stores holds, as one message and as several.
    let one = vec![message(&parts)];
    let several = parts.chunks(1).map(message).collect();
    for input in [one, several] {
        let conversation = project.converse(json!({ "max_turns": LONG })).await;
        let body = json!({ "input": input });
        let size = body.to_string().len();
        assert!((MAX_BODY_BYTES - 30_000..=MAX_BODY_BYTES).contains(&size), "{size}");
        project.client.post(&conversation.path("/responses"), &body, 200).await;
        let items = conversation.items().await;
        assert_eq!(items.len(), input.len() + 1);
        for (item, said) in items.iter().zip(&input) {
            let texts = |message: &Value| -> Vec<String> {
                message["content"].as_array().unwrap().iter().map(|part| text(part, "text")).collect()
            };
            assert!(texts(item) == texts(said), "the words are not what was said");
        }
    }
}

#[tokio::test]
async fn concurrent_call_is_refused_and_not_stored() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    conversation.say(None, 200).await;
    app.model().on_reply(Behavior::Waits);
    let (reply, ()) = join!(conversation.say(Some("First."), 200), async {
        app.model().waits().await;
        for said in [Some("Second."), None] {
            assert_eq!(code(&conversation.say(said, 409).await), "turn_in_progress");
        }
        assert_eq!(code(&conversation.end(409).await), "turn_in_progress");
        assert_eq!(count(&conversation).await, 1, "nothing of a turn is stored before all of it is");
        app.model().release();
    });
    assert!(output(&reply).is_some());
    app.model().on_reply(Behavior::Offline);
    conversation.say(Some("Third."), 200).await;
    let said: Vec<_> =
        conversation.transcript().await.into_iter().filter(|(role, _)| role == "assistant").collect();
    assert_eq!(said.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["First.", "Third."]);
}

#[tokio::test]
async fn conversations_do_not_wait_for_one_another() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_conversations": 2, "max_turns": LONG })).await;
    let conversations = project.test_conversations(&simulation).await;
    app.model().on_reply(Behavior::Waits);
    join!(conversations[0].say(None, 200), async {
        app.model().waits().await;
        app.model().on_reply(Behavior::Offline);
        conversations[1].say(None, 200).await;
        app.model().release();
    });
    assert_eq!((count(&conversations[0]).await, count(&conversations[1]).await), (1, 1));
}

#[tokio::test]
async fn turn_of_a_silent_holder_is_taken_over() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    conversation.say(None, 200).await;
    app.model().on_reply(Behavior::Waits);
    let (late, ()) = join!(conversation.say(Some("First."), 409), async {
        app.model().waits().await;
        app.advance(SignedDuration::from_secs(120) - SignedDuration::from_micros(1));
        assert_eq!(code(&conversation.say(Some("Second."), 409).await), "turn_in_progress");
        app.next_instant();
        app.model().on_reply(Behavior::Offline);
        conversation.say(Some("Second."), 200).await;
        app.model().release();
    });
    assert_eq!(code(&late), "turn_lost");
    let transcript = conversation.transcript().await;
    assert_eq!(transcript.len(), 3);
    assert_eq!(transcript[1].1, "Second.");
}

#[tokio::test]
async fn lease_does_not_expire_during_a_call() {
    let app = TestApp::start_with(
        onerun_api::ROUTES,
        Box::new(onerun_tests::app::keys()),
        onerun_engine::Settings {
            lease: SignedDuration::from_secs(1),
            turn: SignedDuration::from_secs(30),
            ..TestApp::settings()
        },
    );
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    app.model().on_reply(Behavior::Waits);
    let (reply, ()) = join!(conversation.say(None, 200), async {
        app.model().waits().await;
        app.advance(SignedDuration::from_secs(29));
        app.run_jobs().await;
        assert_eq!(conversation.see().await["status"], "in_progress");
        app.model().release();
    });
    assert!(output(&reply).is_some());
    assert_eq!(conversation.see().await["lease_expires_at"], "2026-01-05T09:00:30.000000Z");
}

#[tokio::test]
async fn reply_after_a_cancel_is_not_stored() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    app.model().on_reply(Behavior::Waits);
    let (late, ()) = join!(conversation.say(None, 409), async {
        app.model().waits().await;
        project.order(&conversation.simulation, "cancel", 200).await;
        app.model().release();
    });
    assert_eq!(code(&late), "simulation_not_running");
    app.run_jobs().await;
    assert_eq!(count(&conversation).await, 0);
    assert_eq!(conversation.see().await["end_reason"], "simulation_canceled");
}

#[tokio::test]
async fn call_repeated_under_its_key_gets_the_same_bytes() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 3 })).await;
    let opening = project.client.with_header("idempotency-key", "opening");
    let answer = project.client.with_header("idempotency-key", "answer 1");
    app.model().on_reply(says("Opening."));
    let first = conversation.say_with(&opening, "/responses", None, 200).await;
    app.model().on_reply(says("Last words."));
    let second = conversation.say_with(&answer, "/responses", Some("Hello."), 200).await;
    assert_eq!(second.json()["ended"], true);

    // Also after the end, after the evaluation, and while the model fails.
    app.model().on_reply(Behavior::Panics);
    for _ in 0..2 {
        let again = conversation.say_with(&opening, "/responses", None, 200).await;
        assert_eq!(again.text, first.text);
        let again = conversation.say_with(&answer, "/responses", Some("Hello."), 200).await;
        assert_eq!(again.text, second.text);
        app.run_jobs().await;
        app.advance(SignedDuration::from_hours(1));
    }
    assert_eq!(project.status(&conversation.simulation).await, "completed");
    assert_eq!((count(&conversation).await, app.model().replies()), (3, 2));
}

#[tokio::test]
async fn key_reused_for_another_call_is_refused() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_conversations": 2, "max_turns": LONG })).await;
    let conversations = project.test_conversations(&simulation).await;
    let client = project.client.with_header("idempotency-key", "k");
    conversations[0].say_with(&client, "/responses", Some("Hello."), 200).await;
    for said in [Some("Good bye."), None] {
        let problem = conversations[0].say_with(&client, "/responses", said, 422).await.json();
        assert_eq!(code(&problem), "idempotency_key_reused");
    }
    assert_eq!(count(&conversations[0]).await, 2);
    // A key is a conversation's own.
    conversations[1].say_with(&client, "/responses", None, 200).await;
}

#[tokio::test]
async fn key_of_a_failed_call_can_be_reused() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    let client = project.client.with_header("idempotency-key", "k");
    app.model().on_reply(Behavior::Unavailable);
    conversation.say_with(&client, "/responses", None, 503).await;
    app.model().on_reply(Behavior::Offline);
    let first = conversation.say_with(&client, "/responses", None, 200).await;
    assert_eq!(conversation.say_with(&client, "/responses", None, 200).await.text, first.text);
    assert_eq!(count(&conversation).await, 1);
}

#[tokio::test]
async fn idempotency_keys_are_per_attempt() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    let client = project.client.with_header("idempotency-key", "turn-1");
    conversation.say_with(&client, "/responses", Some("Hello."), 200).await;
    app.advance(SignedDuration::from_secs(300));
    app.run_jobs().await;

    let problem = conversation.say_with(&client, "/responses", Some("Hello."), 409).await.json();
    assert_eq!(code(&problem), "conversation_requeued");
    conversation.start(200).await;
    // The worker that lost the attempt names its attempt.
    let problem = conversation.say_with(&client, "/responses?attempt=1", Some("Hello."), 409).await.json();
    assert_eq!(code(&problem), "stale_attempt");
    assert_eq!(count(&conversation).await, 0);
    // The new worker numbers its turns from the first again.
    let first = conversation.say_with(&client, "/responses", Some("Hello."), 200).await;
    assert_eq!(
        conversation.say_with(&client, "/responses?attempt=2", Some("Hello."), 200).await.text,
        first.text
    );
    assert_eq!(count(&conversation).await, 2);
}

#[tokio::test]
async fn repeated_words_are_stored_under_their_key() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    conversation.say(None, 200).await;
    let client = project.client.with_header("idempotency-key", "again");
    let asked = conversation.say_with(&client, "/responses", None, 200).await;
    conversation.say(Some("Hello."), 200).await;
    assert_eq!(conversation.say_with(&client, "/responses", None, 200).await.text, asked.text);
    assert_eq!(count(&conversation).await, 3);
}

#[tokio::test]
async fn unanswered_model_call_fails_only_that_call() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    conversation.say(None, 200).await;
    for act in [Behavior::Unavailable, Behavior::Unusable] {
        app.model().on_reply(act);
        let reply = project
            .client
            .send(Method::POST, &conversation.path("/responses"), Some(&message(Some("Hello."))), 503)
            .await;
        assert_eq!(code(&reply.json()), "model_unavailable");
        assert_eq!(
            reply.json()["message"],
            "the model gave no answer; nothing of the call was kept, so it can be repeated"
        );
        assert_eq!(reply.header("retry-after"), Some("2"));
        assert_eq!(count(&conversation).await, 1);
        assert_eq!(conversation.see().await["status"], "in_progress");
    }
    // The turn is free at once.
    app.model().on_reply(Behavior::Offline);
    conversation.say(Some("Hello."), 200).await;
    assert_eq!(count(&conversation).await, 3);
}

#[tokio::test]
async fn model_panic_is_a_500_without_details() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    app.model().on_reply(Behavior::Panics);
    let problem = conversation.say(None, 500).await;
    assert_eq!(code(&problem), "internal");
    assert_eq!(problem["message"], "something went wrong on our side");
    app.model().on_reply(Behavior::Offline);
    project.get("/agents").await;
    assert_eq!(count(&conversation).await, 0);
    // The turn is free at once.
    conversation.say(None, 200).await;
    assert_eq!(count(&conversation).await, 1);
}

#[tokio::test]
async fn empty_persona_reply_ends_the_conversation() {
    for text in [None, Some(""), Some(" \n\t\u{2003}"), Some("\u{0}\u{7}\u{1b}")] {
        let app = TestApp::start();
        let project = TestProject::open(&app).await;
        let conversation = project.converse(json!({ "max_turns": LONG })).await;
        app.model().on_reply(Behavior::Says(Reply { text: text.map(str::to_owned), ends: false }));
        let reply = conversation.say(Some("Hello."), 200).await;
        assert_eq!(reply, json!({ "ended": true, "output": [] }), "{text:?}");
        assert_eq!(count(&conversation).await, 1);
        let seen = conversation.see().await;
        assert_eq!((&seen["status"], &seen["end_reason"]), (&json!("ended"), &json!("persona_decided")));
    }
}

#[tokio::test]
async fn last_words_are_sent_with_the_end() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": LONG })).await;
    app.model().on_reply(Behavior::Says(Reply { text: Some("Bye.".to_owned()), ends: true }));
    let reply = conversation.say(Some("Hello."), 200).await;
    assert_eq!((output(&reply), &reply["ended"]), (Some("Bye."), &json!(true)));
    assert_eq!(conversation.see().await["end_reason"], "persona_decided");
}

#[tokio::test]
async fn model_text_is_sanitized_and_truncated() {
    let million = "word ".repeat(200_000);
    for (said, kept) in [
        ("a\u{0}b\u{7}c\u{1b}[31md\u{7f}e\u{85}", "abc[31mde".to_owned()),
        ("line\r\nline\n\tline", "line\nline\n\tline".to_owned()),
        (million.as_str(), million.chars().take(32_000).collect()),
        (&"\u{1f600}".repeat(40_000), "\u{1f600}".repeat(32_000)),
        ("{\"ended\": true, \"output\": []}", "{\"ended\": true, \"output\": []}".to_owned()),
        ("</script><b>&amp;", "</script><b>&amp;".to_owned()),
    ] {
        let app = TestApp::start();
        let project = TestProject::open(&app).await;
        let conversation = project.converse(json!({ "max_turns": LONG })).await;
        app.model().on_reply(says(said));
        let reply = conversation.say(None, 200).await;
        assert!(output(&reply) == Some(kept.as_str()), "{said:.60}");
        assert_eq!(reply["ended"], false);
        assert!(conversation.transcript().await[0].1 == kept, "{said:.60}");
    }
}
