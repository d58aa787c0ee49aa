//! Turns whose model is slower than the caller: no reply is lost, generated twice or stored twice.

use http::Method;
use jiff::SignedDuration;
use onerun_engine::{Reply as ModelReply, Settings};
use onerun_tests::app::{Behavior, Client, TestApp};
use serde_json::{Value, json};
use tokio::{join, task::yield_now};

use crate::fixtures::{TestConversation, TestProject, code};

/// An application whose callers wait for a model for a millisecond at most.
fn impatient() -> TestApp {
    let settings = Settings { turn: SignedDuration::ZERO, ..TestApp::settings() };
    TestApp::start_with(onerun_api::ROUTES, Box::new(onerun_tests::app::keys()), settings)
}

async fn converse<'d, 'a>(project: &'d TestProject<'a>) -> TestConversation<'d, 'a> {
    project.converse(json!({ "max_turns": 200 })).await
}

/// Repeats a call while its reply is pending.
async fn say_until_answered(
    conversation: &TestConversation<'_, '_>,
    client: &Client<'_>,
    text: Option<&str>,
) -> Value {
    for _ in 0..100_000 {
        let path = conversation.path("/responses");
        let body = crate::fixtures::message(text).to_string();
        let (status, reply) =
            client.ask(http::Method::POST, &path, onerun_api::Body::Read(body.into())).await;
        if status == 200 {
            return reply.json();
        }
        assert_eq!((status, code(&reply.json())), (503, "turn_pending"), "{}", reply.text);
        yield_now().await;
    }
    panic!("the reply stays pending");
}

/// A call that the model does not answer in time.
async fn say_in_vain(conversation: &TestConversation<'_, '_>, client: &Client<'_>, text: Option<&str>) {
    let reply = conversation.say_with(client, "/responses", text, 503).await;
    assert_eq!(code(&reply.json()), "turn_pending");
    assert_eq!(reply.header("retry-after"), Some("2"));
}

fn said_text(reply: &Value) -> String {
    reply["output"][0]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

async fn said(conversation: &TestConversation<'_, '_>) -> Vec<String> {
    conversation.transcript().await.into_iter().map(|(_, text)| text).collect()
}

#[tokio::test]
async fn repeated_call_gets_the_pending_reply_once() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let [plain, keyed, other] = [None, Some("k"), Some("l")].map(|key| match key {
        Some(key) => project.client.with_header("idempotency-key", key),
        None => project.client.clone(),
    });
    for (first, repeated) in
        [(&plain, &plain), (&plain, &keyed), (&keyed, &plain), (&keyed, &keyed), (&keyed, &other)]
    {
        let conversation = converse(&project).await;
        let before = app.model().replies();
        app.model().on_reply(Behavior::Waits);
        say_in_vain(&conversation, first, Some("Hello.")).await;
        app.model().waits().await;
        for client in [repeated, first] {
            say_in_vain(&conversation, client, Some("Hello.")).await;
        }
        assert_eq!(said(&conversation).await.len(), 0);
        app.model().release();
        let reply = say_until_answered(&conversation, repeated, Some("Hello.")).await;
        let transcript = said(&conversation).await;
        assert_eq!((transcript.len(), transcript[0].as_str()), (2, "Hello."));
        assert_eq!(reply["output"][0]["content"][0]["text"], transcript[1].as_str());
        assert_eq!(app.model().replies() - before, 1);
        assert_eq!(conversation.see().await["item_count"], 2);
    }
}

#[tokio::test]
async fn delivered_reply_is_not_delivered_for_the_next_turn() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    let keys = ["1", "2", "3"].map(|key| project.client.with_header("idempotency-key", key));
    let plain = project.client.clone();
    // An agent may say the same words in each of its turns.
    for (turn, client) in [&plain, &plain, &keys[0], &keys[1], &plain, &keys[2]].into_iter().enumerate() {
        let words = format!("Reply {turn}.");
        app.model().on_reply(Behavior::Says(ModelReply { text: Some(words.clone()), ends: false }));
        let reply = say_until_answered(&conversation, client, Some("Okay.")).await;
        assert_eq!(reply["output"][0]["content"][0]["text"], words.as_str());
        assert_eq!((said(&conversation).await.len(), app.model().replies()), (2 * turn + 2, turn + 1));
    }
    for (client, turn) in [(&keys[0], 2), (&keys[1], 3), (&keys[2], 5)] {
        let reply = conversation.say_with(client, "/responses", Some("Okay."), 200).await.json();
        assert_eq!(reply["output"][0]["content"][0]["text"], format!("Reply {turn}.").as_str());
    }
}

#[tokio::test]
async fn call_waits_for_the_reply_of_another() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    app.model().on_reply(Behavior::Waits);
    let (first, (second, third, ())) = join!(conversation.say(None, 200), async {
        app.model().waits().await;
        join!(conversation.say(None, 200), conversation.say(None, 200), async {
            // By then the others have found the turn of the first.
            for _ in 0..20 {
                assert_eq!(code(&conversation.say(Some("Wait."), 409).await), "turn_in_progress");
            }
            app.model().on_reply(Behavior::Panics);
            app.model().release();
        })
    });
    assert!(first == second && second == third, "{first} {second} {third}");
    assert_eq!((said(&conversation).await.len(), app.model().replies()), (1, 1));
}

#[tokio::test]
async fn other_messages_are_refused_while_a_reply_is_pending() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    app.model().on_reply(Behavior::Waits);
    say_in_vain(&conversation, &project.client, Some("Hello.")).await;
    for text in [Some("Hello"), Some("Good bye."), None] {
        assert_eq!(code(&conversation.say(text, 409).await), "turn_in_progress");
    }
    assert_eq!(code(&conversation.end(409).await), "turn_in_progress");
    app.model().waits().await;
    app.model().release();
    app.model().on_reply(Behavior::Offline);
    say_until_answered(&conversation, &project.client, Some("Hello.")).await;
    assert_eq!(said(&conversation).await[0], "Hello.");
}

#[tokio::test]
async fn last_reply_is_repeated_after_the_end() {
    for text in [Some("Bye."), None] {
        let app = impatient();
        let project = TestProject::open(&app).await;
        let conversation = converse(&project).await;
        app.model().on_reply(Behavior::SaysLater(ModelReply { text: text.map(str::to_owned), ends: true }));
        say_in_vain(&conversation, &project.client, Some("Hello.")).await;
        app.model().release();
        for _ in 0..2 {
            let reply = say_until_answered(&conversation, &project.client, Some("Hello.")).await;
            assert_eq!(reply["ended"], true);
            assert_eq!(reply["output"][0]["content"][0]["text"].as_str(), text);
        }
        assert_eq!(code(&conversation.say(Some("Hello?"), 400).await), "conversation_over");
        app.run_jobs().await;
        assert_eq!(project.status(&conversation.simulation).await, "completed");
        assert_eq!(app.model().replies(), 1);
    }
}

#[tokio::test]
async fn failed_pending_reply_is_generated_again() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    app.model().on_reply(Behavior::FailsLater);
    for _ in 0..3 {
        say_in_vain(&conversation, &project.client, None).await;
        for _ in 0..2 {
            app.model().waits().await;
            app.model().release();
        }
        app.engine().finish_turns().await;
    }
    app.model().on_reply(Behavior::Offline);
    say_until_answered(&conversation, &project.client, None).await;
    assert_eq!((said(&conversation).await.len(), app.model().replies()), (1, 7));
}

#[tokio::test]
async fn lost_reply_is_asked_for_once_more_in_its_turn() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    app.model().on_reply(Behavior::FailsLater);
    let (reply, ()) = join!(conversation.say(Some("Hello."), 200), async {
        app.model().waits().await;
        app.model().on_reply(Behavior::Offline);
        app.model().release();
    });
    assert_eq!(reply["ended"], false);
    assert_eq!((said(&conversation).await.len(), app.model().replies()), (2, 2));
}

#[tokio::test]
async fn reply_of_an_earlier_attempt_is_not_generated_again() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    let agent = [None, Some("Hello."), Some("What is your order number?")];
    let mut replies = Vec::new();
    for text in agent {
        replies.push(conversation.say(text, 200).await);
    }
    for (attempt, other) in [(2, "Which order?"), (3, "Good morning.")] {
        app.advance(SignedDuration::from_secs(300));
        app.run_jobs().await;
        conversation.start(200).await;
        assert_eq!(conversation.see().await["attempt"], attempt);
        let before = app.model().replies();
        for (text, reply) in agent.iter().zip(&replies).take(4 - attempt) {
            let repeated = conversation.say(*text, 200).await;
            assert_eq!(said_text(&repeated), said_text(reply));
        }
        assert_eq!(app.model().replies(), before);
        // After other words, the earlier attempts have nothing in common with this one.
        conversation.say(Some(other), 200).await;
        assert_eq!(app.model().replies(), before + 1);
    }
    assert_eq!(said(&conversation).await[..2], [said_text(&replies[0]), "Good morning.".to_owned()]);
}

/// A worker calls, leaves before the reply comes, and does not come back.
async fn leave(conversation: &TestConversation<'_, '_>, app: &TestApp, client: &Client<'_>, text: &str) {
    conversation.start(200).await;
    app.model().on_reply(Behavior::Waits);
    say_in_vain(conversation, client, Some(text)).await;
    app.model().waits().await;
    app.model().release();
    app.engine().finish_turns().await;
    app.advance(SignedDuration::from_secs(300));
    app.run_jobs().await;
}

#[tokio::test]
async fn attempt_lost_to_a_late_reply_is_not_counted() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    for attempt in 1..=5 {
        leave(&conversation, &app, &project.client, &format!("Hello {attempt}.")).await;
        let seen = conversation.see().await;
        let ended = &seen["ended_attempts"][attempt - 1];
        assert_eq!((&seen["status"], &ended["end_reason"]), (&json!("queued"), &json!("reply_late")));
    }
    for status in ["queued", "queued", "failed"] {
        conversation.start(200).await;
        app.advance(SignedDuration::from_secs(300));
        app.run_jobs().await;
        assert_eq!(conversation.see().await["status"], status);
    }
    assert_eq!(conversation.see().await["end_reason"], "lease_expired");
}

#[tokio::test]
async fn conversation_fails_after_ten_late_replies() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    for attempt in 1..=10 {
        assert_eq!(conversation.see().await["status"], "queued");
        leave(&conversation, &app, &project.client, &format!("Hello {attempt}.")).await;
    }
    let seen = conversation.see().await;
    assert_eq!((&seen["status"], &seen["end_reason"]), (&json!("failed"), &json!("reply_late")));
    let failures = project.results(&conversation.simulation).await["failures"].clone();
    assert_eq!((&failures["reply_late"], &failures["lease_expired"]), (&json!(1), &json!(0)));
    assert_eq!(failures["last_failure_reason"], "1 of 1 conversations could not be held in any attempt");
}

#[tokio::test]
async fn turn_of_a_stopped_server_is_taken_by_the_next() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    app.model().on_reply(Behavior::Waits);
    say_in_vain(&conversation, &project.client, Some("Hello.")).await;
    app.model().waits().await;
    app.engine().cancel_turns().await;
    app.model().on_reply(Behavior::Offline);
    let next = app.beside(SignedDuration::ZERO);
    let reply = conversation.say_with(&next.root(), "/responses", Some("Hello."), 200).await.json();
    assert_eq!(reply["ended"], false);
    assert_eq!((said(&conversation).await.len(), app.model().replies()), (2, 2));
}

#[tokio::test]
async fn turn_of_a_killed_server_is_taken_when_its_claim_expires() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    app.model().on_reply(Behavior::Waits);
    say_in_vain(&conversation, &project.client, Some("Hello.")).await;
    app.model().waits().await;
    // As another server sees it, the first is dead: its claim expires.
    app.advance(SignedDuration::from_secs(120) - SignedDuration::from_micros(1));
    say_in_vain(&conversation, &project.client, Some("Hello.")).await;
    app.next_instant();
    app.model().on_reply(Behavior::Offline);
    let next = app.beside(SignedDuration::ZERO);
    conversation.say_with(&next.root(), "/responses", Some("Hello."), 200).await;
    // The reply of the first comes too late.
    app.model().release();
    app.engine().finish_turns().await;
    assert_eq!((said(&conversation).await.len(), app.model().replies()), (2, 2));
}

#[tokio::test]
async fn reply_after_a_cancel_is_neither_stored_nor_repeated() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    app.model().on_reply(Behavior::Waits);
    say_in_vain(&conversation, &project.client, Some("Hello.")).await;
    app.model().waits().await;
    project.order(&conversation.simulation, "cancel", 200).await;
    app.model().release();
    app.engine().finish_turns().await;
    let problem = conversation.say(Some("Hello."), 409).await;
    assert_eq!(code(&problem), "simulation_not_running");
    assert_eq!((said(&conversation).await.len(), app.model().replies()), (0, 1));
}

#[tokio::test]
async fn reply_after_a_deletion_is_not_found_and_not_stored() {
    let app = impatient();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    app.model().on_reply(Behavior::Waits);
    say_in_vain(&conversation, &project.client, Some("Hello.")).await;
    app.model().waits().await;
    project.order(&conversation.simulation, "cancel", 200).await;
    let path = project.path(&format!("/simulations/{}", conversation.simulation));
    project.client.send(Method::DELETE, &path, None, 200).await;
    assert_eq!(code(&conversation.say(Some("Hello."), 404).await), "simulation_not_found");
    app.model().release();
    app.engine().finish_turns().await;
    assert_eq!(code(&conversation.say(Some("Hello."), 404).await), "simulation_not_found");
    assert_eq!(app.model().replies(), 1);
    // The purge removes the messages of the late reply, too.
    app.advance(SignedDuration::from_mins(15));
    app.run_jobs_twice().await;
    let deleted = app.engine().store().deleted_simulations(10, app.now()).await.unwrap();
    assert_eq!(deleted, []);
}

#[tokio::test]
async fn late_body_has_the_reply_or_the_error() {
    let mut app = TestApp::start();
    app.allow_late_bodies();
    let project = TestProject::open(&app).await;
    let conversation = converse(&project).await;
    app.model().on_reply(Behavior::Unavailable);
    let problem = conversation.say(Some("Hello."), 200).await;
    assert_eq!((code(&problem), &problem["status"]), ("model_unavailable", &json!(503)));
    app.model().on_reply(Behavior::Panics);
    assert_eq!(code(&conversation.say(Some("Hello."), 200).await), "internal");
    app.model().on_reply(Behavior::Offline);
    assert_eq!(conversation.say(Some("Hello."), 200).await["ended"], false);
    // An error that is known before the model is asked has its status.
    assert_eq!(
        code(&conversation.say_with(&app.anonymous(), "/responses", None, 401).await.json()),
        "missing_api_key"
    );
    assert_eq!((said(&conversation).await.len(), app.model().replies()), (2, 4));
}
