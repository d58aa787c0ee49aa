//! What is known of the workers that hold conversations: when one last asked for work, and how attempts ended.

use jiff::SignedDuration;
use onerun_tests::app::TestApp;
use serde_json::{Value, json};

use crate::desk::{Desk, id};

const LEASE: SignedDuration = SignedDuration::from_secs(300);

async fn last_polled(desk: &Desk<'_>) -> Value {
    desk.get(&format!("/agents/{}", desk.agent)).await["last_polled_at"].clone()
}

/// Asks for work as a worker does: for the agent's simulations, and for the queued conversations of one.
async fn poll(desk: &Desk<'_>) -> Value {
    desk.get(&format!("/simulations?agent_id={}&status=in_progress", desk.agent)).await
}

#[tokio::test]
async fn an_agent_without_a_worker_says_so() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let simulation = desk.simulate(json!({})).await;
    // What people and dashboards ask is no poll.
    desk.get("/simulations").await;
    desk.get(&format!("/simulations?agent_id={}", desk.agent)).await;
    desk.get(&format!("/simulations/{simulation}/conversations")).await;
    assert_eq!(last_polled(&desk).await, Value::Null);
    assert_eq!(desk.simulation(&simulation).await["agent"]["last_polled_at"], Value::Null);
}

#[tokio::test]
async fn each_way_to_ask_for_work_is_noted() {
    for way in ["simulations", "conversations", "start"] {
        let app = TestApp::start();
        let desk = Desk::open(&app).await;
        let talk = desk.converse(json!({})).await;
        match way {
            "simulations" => drop(poll(&desk).await),
            "conversations" => {
                let path = format!("/simulations/{}/conversations?status=queued", talk.simulation);
                desk.get(&path).await;
            }
            _ => drop(talk.start(200).await),
        }
        assert!(last_polled(&desk).await.is_string(), "{way}");
        let seen = desk.simulation(&talk.simulation).await;
        assert_eq!(seen["agent"]["last_polled_at"], last_polled(&desk).await, "{way}");
    }
}

#[tokio::test]
async fn polls_are_written_once_a_minute() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    poll(&desk).await;
    let first = last_polled(&desk).await;
    app.advance(SignedDuration::from_secs(59));
    poll(&desk).await;
    assert_eq!(last_polled(&desk).await, first);
    app.advance(SignedDuration::from_secs(2));
    poll(&desk).await;
    assert_ne!(last_polled(&desk).await, first);
}

#[tokio::test]
async fn a_key_that_cannot_hold_conversations_is_no_worker() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    for (preset, polls) in [("monitor", false), ("read_only", false), ("worker", true)] {
        let body = json!({ "name": preset, "preset": preset, "project_ids": [desk.project] });
        let made = desk.client.post("/v1/keys", &body, 200).await;
        let client = desk.client.with_key(made["key"].as_str().unwrap());
        let path = desk.path(&format!("/simulations?agent_id={}&status=in_progress", desk.agent));
        client.get(&path, 200).await;
        assert_eq!(last_polled(&desk).await.is_string(), polls, "{preset}");
    }
}

#[tokio::test]
async fn a_conversation_says_how_each_of_its_attempts_ended() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let talk = desk.converse(json!({ "max_turns": 200 })).await;
    assert_eq!(talk.see().await["ended_attempts"], json!([]));
    talk.start(200).await;
    app.advance(LEASE);
    app.run_jobs().await;
    let lost = talk.see().await["ended_attempts"].clone();
    assert_eq!(lost.as_array().unwrap().len(), 1);
    assert_eq!(lost[0]["attempt"], 1);
    assert_eq!(lost[0]["end_reason"], "lease_expired");
    assert_eq!(lost[0]["failure_reason"], Value::Null);
    assert!(lost[0]["ended_at"].is_string());

    talk.start(200).await;
    talk.say(None, 200).await;
    talk.end(200).await;
    let ended = talk.see().await["ended_attempts"].clone();
    assert_eq!(ended[0], lost[0], "what ended stays as it is");
    assert_eq!(ended[1]["attempt"], 2);
    assert_eq!(ended[1]["end_reason"], "agent_decided");
}

#[tokio::test]
async fn an_attempt_that_nobody_started_did_not_end() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let talk = desk.converse(json!({})).await;
    desk.order(&talk.simulation, "cancel", 200).await;
    app.run_jobs().await;
    let seen = talk.see().await;
    assert_eq!(seen["end_reason"], "simulation_canceled");
    assert_eq!(seen["ended_attempts"], json!([]));
}

#[tokio::test]
async fn results_count_personas_that_wait_for_approval() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let wanted = json!({ "target_conversations": 4, "target_personas": 4, "auto_approve": false });
    let simulation = desk.simulate(wanted).await;
    let counts = async || desk.results(&simulation).await["personas"].clone();
    assert_eq!(counts().await, json!({ "target": 4, "pending": 4, "approved": 0, "rejected": 0 }));
    let personas = desk.personas(&simulation).await;
    desk.decide(&simulation, &id(&personas[0]), "approve", 200).await;
    desk.decide(&simulation, &id(&personas[1]), "reject", 200).await;
    assert_eq!(counts().await, json!({ "target": 4, "pending": 2, "approved": 1, "rejected": 1 }));
    // The one that was rejected is replaced.
    app.run_jobs().await;
    assert_eq!(counts().await, json!({ "target": 4, "pending": 3, "approved": 1, "rejected": 1 }));
}
