//! Workers: the time of the last poll, and the end of each attempt.

use jiff::SignedDuration;
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, id};

const LEASE: SignedDuration = SignedDuration::from_secs(300);

async fn last_polled(project: &TestProject<'_>) -> Value {
    project.get(&format!("/agents/{}", project.agent)).await["last_polled_at"].clone()
}

/// Polls as a worker does: for the agent's simulations, and for the queued conversations of one.
async fn poll(project: &TestProject<'_>) -> Value {
    project.get(&format!("/simulations?agent_id={}&status=in_progress", project.agent)).await
}

#[tokio::test]
async fn agent_without_a_worker_has_no_last_poll() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({})).await;
    // Reads by people and dashboards are no polls.
    project.get("/simulations").await;
    project.get(&format!("/simulations?agent_id={}", project.agent)).await;
    project.get(&format!("/simulations/{simulation}/conversations")).await;
    assert_eq!(last_polled(&project).await, Value::Null);
    assert_eq!(project.simulation(&simulation).await["agent"]["last_polled_at"], Value::Null);
}

#[tokio::test]
async fn each_way_to_poll_for_work_is_recorded() {
    for way in ["simulations", "conversations", "start"] {
        let app = TestApp::start();
        let project = TestProject::open(&app).await;
        let conversation = project.converse(json!({})).await;
        match way {
            "simulations" => drop(poll(&project).await),
            "conversations" => {
                let path = format!("/simulations/{}/conversations?status=queued", conversation.simulation);
                project.get(&path).await;
            }
            _ => drop(conversation.start(200).await),
        }
        assert!(last_polled(&project).await.is_string(), "{way}");
        let seen = project.simulation(&conversation.simulation).await;
        assert_eq!(seen["agent"]["last_polled_at"], last_polled(&project).await, "{way}");
    }
}

#[tokio::test]
async fn polls_are_written_once_a_minute() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    poll(&project).await;
    let first = last_polled(&project).await;
    app.advance(SignedDuration::from_secs(59));
    poll(&project).await;
    assert_eq!(last_polled(&project).await, first);
    app.advance(SignedDuration::from_secs(2));
    poll(&project).await;
    assert_ne!(last_polled(&project).await, first);
}

#[tokio::test]
async fn key_without_worker_scopes_records_no_poll() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for (preset, polls) in [("monitor", false), ("read_only", false), ("worker", true)] {
        let body = json!({ "name": preset, "preset": preset, "project_ids": [project.id] });
        let made = project.client.post("/v1/keys", &body, 200).await;
        let client = project.client.with_key(made["key"].as_str().unwrap());
        let path = project.path(&format!("/simulations?agent_id={}&status=in_progress", project.agent));
        client.get(&path, 200).await;
        assert_eq!(last_polled(&project).await.is_string(), polls, "{preset}");
    }
}

#[tokio::test]
async fn conversation_shows_how_each_attempt_ended() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    assert_eq!(conversation.see().await["ended_attempts"], json!([]));
    conversation.start(200).await;
    app.advance(LEASE);
    app.run_jobs().await;
    let lost = conversation.see().await["ended_attempts"].clone();
    assert_eq!(lost.as_array().unwrap().len(), 1);
    assert_eq!(lost[0]["attempt"], 1);
    assert_eq!(lost[0]["end_reason"], "lease_expired");
    assert_eq!(lost[0]["failure_reason"], Value::Null);
    assert!(lost[0]["ended_at"].is_string());

    conversation.start(200).await;
    conversation.say(None, 200).await;
    conversation.end(200).await;
    let ended = conversation.see().await["ended_attempts"].clone();
    assert_eq!(ended[0], lost[0], "what ended stays as it is");
    assert_eq!(ended[1]["attempt"], 2);
    assert_eq!(ended[1]["end_reason"], "agent_decided");
}

#[tokio::test]
async fn renewed_lease_outlives_a_slow_agent() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    let renew = async |attempt: u32, status| {
        project.client.post(&conversation.path("/renew"), &json!({ "attempt": attempt }), status).await
    };
    assert_eq!(code(&renew(1, 400).await), "conversation_not_started");
    let first = conversation.start(200).await["lease_expires_at"].clone();
    for _ in 0..4 {
        app.advance(LEASE / 3);
        let renewed = renew(1, 200).await;
        assert_eq!(renewed["attempt"], 1);
        assert!(renewed["lease_expires_at"].as_str() > first.as_str(), "{renewed}");
        assert_eq!(renewed["lease_expires_at"], conversation.see().await["lease_expires_at"]);
        app.run_jobs().await;
    }
    assert_eq!(conversation.see().await["attempt"], 1);
    conversation.say(None, 200).await;

    // A lease that has expired can be renewed until the tick takes it.
    app.advance(LEASE);
    renew(1, 200).await;
    app.run_jobs().await;
    assert_eq!(conversation.see().await["status"], "in_progress");
    app.advance(LEASE);
    app.run_jobs().await;
    assert_eq!(code(&renew(1, 409).await), "stale_attempt");
    assert_eq!(code(&renew(2, 400).await), "conversation_not_started");

    conversation.start(200).await;
    conversation.end(200).await;
    assert_eq!(code(&renew(2, 409).await), "attempt_over");
}

#[tokio::test]
async fn lease_of_a_canceled_simulation_is_not_renewed() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    conversation.start(200).await;
    project.order(&conversation.simulation, "cancel", 200).await;
    let renew =
        async || project.client.post(&conversation.path("/renew"), &json!({ "attempt": 1 }), 409).await;
    assert_eq!(code(&renew().await), "simulation_not_running");
    app.run_jobs().await;
    assert_eq!(code(&renew().await), "attempt_over");
}

#[tokio::test]
async fn lease_is_renewed_during_a_turn() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    conversation.start(200).await;
    app.model().on_reply(Behavior::Waits);
    let renew = async {
        app.model().waits().await;
        project.client.post(&conversation.path("/renew"), &json!({ "attempt": 1 }), 200).await;
        app.model().release();
    };
    tokio::join!(conversation.say(None, 200), renew);
    assert_eq!(conversation.see().await["item_count"], 1);
}

fn failure(attempt: u32, reason: &str) -> Value {
    json!({ "attempt": attempt, "reason": reason })
}

#[tokio::test]
async fn reported_failure_ends_the_attempt_at_once() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    let fail = async |attempt, reason, status| {
        project.client.post(&conversation.path("/fail"), &failure(attempt, reason), status).await
    };
    assert_eq!(code(&fail(1, "early", 400).await), "conversation_not_started");
    conversation.start(200).await;
    conversation.say(None, 200).await;
    assert_eq!(code(&fail(2, "later", 409).await), "stale_attempt");
    assert_eq!(fail(1, "out of memory", 200).await, json!({ "message": "Failure recorded" }));
    let seen = conversation.see().await;
    let ended = json!([{
        "attempt": 1, "end_reason": "agent_failed", "failure_reason": "out of memory", "ended_at": app.now_text(),
    }]);
    assert_eq!((&seen["status"], &seen["attempt"]), (&json!("queued"), &json!(2)));
    assert_eq!((&seen["ended_attempts"], &seen["item_count"]), (&ended, &json!(0)));
    assert_eq!(seen["lease_expires_at"], Value::Null);

    // A repeated report reaches no later attempt, and changes nothing.
    app.next_instant();
    conversation.start(200).await;
    fail(1, "again", 200).await;
    let seen = conversation.see().await;
    assert_eq!((&seen["status"], &seen["ended_attempts"]), (&json!("in_progress"), &ended));
    conversation.end(200).await;
    assert_eq!(code(&fail(2, "late", 400).await), "conversation_over");
}

#[tokio::test]
async fn third_reported_failure_fails_with_its_reason() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    for attempt in 1..=3 {
        assert_eq!(conversation.start(200).await["attempt"], attempt);
        let body = failure(attempt, &format!("HTTP 500, call {attempt}"));
        project.client.post(&conversation.path("/fail"), &body, 200).await;
    }
    let seen = conversation.see().await;
    assert_eq!((&seen["status"], &seen["end_reason"]), (&json!("failed"), &json!("agent_failed")));
    assert_eq!(seen["evaluation_status"], "not_applicable");
    assert_eq!(seen["ended_attempts"][2]["failure_reason"], "HTTP 500, call 3");
    app.run_jobs().await;
    let failures = project.results(&conversation.simulation).await["failures"].clone();
    let reason = "1 of 1 conversations could not be held in any attempt; the last failure: \
                  HTTP 500, call 3";
    assert_eq!(failures["agent_failed"], 1);
    assert_eq!((&failures["lease_expired"], &failures["last_failure_reason"]), (&json!(0), &json!(reason)));
    assert_eq!(project.status(&conversation.simulation).await, "failed");
}

#[tokio::test]
async fn failure_is_not_reported_during_a_turn() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    conversation.start(200).await;
    app.model().on_reply(Behavior::Waits);
    let report = async {
        app.model().waits().await;
        let body = failure(1, "stopped");
        let refused = project.client.post(&conversation.path("/fail"), &body, 409).await;
        assert_eq!(code(&refused), "turn_in_progress");
        app.model().release();
    };
    tokio::join!(conversation.say(None, 200), report);
    assert_eq!(conversation.see().await["attempt"], 1);
}

#[tokio::test]
async fn unstarted_attempt_has_no_end() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    project.order(&conversation.simulation, "cancel", 200).await;
    app.run_jobs().await;
    let seen = conversation.see().await;
    assert_eq!(seen["end_reason"], "simulation_canceled");
    assert_eq!(seen["ended_attempts"], json!([]));
}

#[tokio::test]
async fn results_count_personas_that_wait_for_approval() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let wanted = json!({ "target_conversations": 4, "target_personas": 4, "auto_approve": false });
    let simulation = project.simulate(wanted).await;
    let counts = async || project.results(&simulation).await["personas"].clone();
    assert_eq!(counts().await, json!({ "target": 4, "pending": 4, "approved": 0, "rejected": 0 }));
    let personas = project.personas(&simulation).await;
    project.decide(&simulation, &id(&personas[0]), "approve", 200).await;
    project.decide(&simulation, &id(&personas[1]), "reject", 200).await;
    assert_eq!(counts().await, json!({ "target": 4, "pending": 2, "approved": 1, "rejected": 1 }));
    // The rejected one is replaced.
    app.run_jobs().await;
    assert_eq!(counts().await, json!({ "target": 4, "pending": 3, "approved": 1, "rejected": 1 }));
}
