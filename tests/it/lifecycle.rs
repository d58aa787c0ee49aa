//! The life of simulations and conversations: they complete, fail, are canceled or expire, and
//! never get stuck.

use jiff::SignedDuration;
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};
use tokio::join;

use crate::fixtures::{TestConversation, TestProject, code, id, text};

const LEASE: SignedDuration = SignedDuration::from_secs(300);

/// Four conversations of two personas, which the persona does not end before the limit.
fn four() -> Value {
    json!({ "target_conversations": 4, "target_personas": 2, "max_turns": 200 })
}

/// Lets a worker's lease expire.
async fn lose(app: &TestApp) {
    app.advance(LEASE);
    app.run_jobs().await;
}

/// Checks the named members of a value.
#[track_caller]
fn assert_parts(value: &Value, expected: &Value) {
    for (name, expected) in expected.as_object().unwrap() {
        assert_eq!(value[name], *expected, "{name} of {value}");
    }
}

async fn assert_stopped(conversation: &TestConversation<'_, '_>, reason: &str) {
    let expected = json!({
        "status": "failed",
        "end_reason": reason,
        "evaluation_status": "not_applicable",
        "evaluations": [],
        "lease_expires_at": null,
    });
    assert_parts(&conversation.see().await, &expected);
}

#[tokio::test]
async fn simulation_completes_after_its_last_evaluation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let helps = project.objective("Helps", "check: agent says /refund/i").await;
    let mut wanted = four();
    wanted["objective_ids"] = json!([helps]);
    let simulation = project.simulate(wanted).await;
    let conversations = project.test_conversations(&simulation).await;
    for (number, conversation) in conversations.iter().enumerate() {
        assert_eq!(project.status(&simulation).await, "in_progress");
        let line = if number == 0 { "No." } else { "I will refund you." };
        conversation.hold(&[line]).await;
        let seen = conversation.see().await;
        assert_parts(&seen, &json!({ "status": "ended", "evaluation_status": "pending", "evaluations": [] }));
        app.next_instant();
        app.run_jobs().await;
        let seen = conversation.see().await;
        assert_eq!(seen["evaluation_status"], "completed");
        let outcome = if number == 0 { "failed" } else { "passed" };
        assert_eq!(seen["evaluations"][0]["outcome"], outcome);
    }
    let seen = project.simulation(&simulation).await;
    // Failed objectives are a result, not a failure of the simulation.
    assert_parts(
        &seen,
        &json!({ "status": "completed", "last_failure_reason": null, "updated_at": app.now_text() }),
    );
}

#[tokio::test]
async fn simulation_without_objectives_completes() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    conversation.hold(&[]).await;
    app.run_jobs().await;
    let seen = conversation.see().await;
    assert_parts(&seen, &json!({ "evaluation_status": "not_applicable", "evaluations": [] }));
    assert_eq!(project.status(&conversation.simulation).await, "completed");
}

#[tokio::test]
async fn running_every_job_twice_duplicates_nothing() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Helps", "check: persona replies >= 1").await;
    let mut wanted = four();
    wanted["objective_ids"] = json!([objective]);
    wanted["auto_approve"] = false.into();
    let simulation = project.create(wanted).await;
    project.order(&simulation, "run", 200).await;
    app.run_jobs_twice().await;
    assert_eq!(project.personas(&simulation).await.len(), 2);
    let personas: Vec<_> = project.personas(&simulation).await.iter().map(id).collect();
    project.decide(&simulation, &personas[0], "reject", 200).await;
    project.decide(&simulation, &personas[1], "approve", 200).await;
    app.run_jobs_twice().await;
    let personas = project.personas(&simulation).await;
    assert_eq!(personas.len(), 3);
    project.decide(&simulation, &id(&personas[2]), "approve", 200).await;
    app.run_jobs_twice().await;
    let conversations = project.test_conversations(&simulation).await;
    assert_eq!(conversations.len(), 4);
    for conversation in &conversations {
        conversation.hold(&[]).await;
    }
    app.run_jobs_twice().await;
    assert_eq!(project.status(&simulation).await, "completed");
    for conversation in &conversations {
        assert_eq!(conversation.see().await["evaluations"].as_array().unwrap().len(), 1);
    }
    assert_eq!(project.results(&simulation).await["overall"]["passed"], 4);
}

#[tokio::test]
async fn conversation_is_started_by_one_worker() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    conversation.start(200).await;
    let problem = conversation.start(409).await;
    assert_eq!(code(&problem), "conversation_not_queued");
    assert_eq!(problem["message"], "Conversation is not available to be started");
    conversation.end(200).await;
    assert_eq!(code(&conversation.start(409).await), "conversation_not_queued");
}

#[tokio::test]
async fn silent_worker_loses_its_conversation_to_a_new_attempt() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    conversation.start(200).await;
    conversation.say(Some("Hello."), 200).await;
    let said = conversation.items().await;

    app.advance(LEASE - SignedDuration::from_micros(1));
    app.run_jobs().await;
    assert_eq!(conversation.see().await["status"], "in_progress", "the lease has not run out");
    app.next_instant();
    app.run_jobs().await;
    let expected = json!({
        "status": "queued",
        "attempt": 2,
        "item_count": 0,
        "end_reason": null,
        "evaluation_status": "pending",
        "lease_expires_at": null,
    });
    assert_parts(&conversation.see().await, &expected);
    assert!(conversation.items().await.is_empty(), "a new attempt begins with nothing said");
    assert_eq!(conversation.items_of_attempt(1).await, said);
    assert_eq!(project.results(&conversation.simulation).await["conversations"]["retried"], 1);

    assert_eq!(conversation.start(200).await["attempt"], 2);
    conversation.say(Some("Good day."), 200).await;
    assert_eq!(conversation.items().await, conversation.items_of_attempt(2).await);
    assert_eq!(conversation.transcript().await[0].1, "Good day.");
    assert_eq!(conversation.items_of_attempt(1).await, said);
    conversation.end(200).await;
    app.run_jobs().await;
    assert_eq!(project.status(&conversation.simulation).await, "completed");
}

#[tokio::test]
async fn every_call_of_the_worker_renews_its_lease() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    conversation.start(200).await;
    for _ in 0..5 {
        app.advance(LEASE - SignedDuration::from_micros(1));
        app.run_jobs().await;
        conversation.say(Some("Hello."), 200).await;
        app.run_jobs().await;
        assert_parts(&conversation.see().await, &json!({ "status": "in_progress", "attempt": 1 }));
    }
}

#[tokio::test]
async fn calls_for_a_lost_attempt_reach_no_other_attempt() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    conversation.start(200).await;
    conversation.say_with(&project.client, "/responses?attempt=1", None, 200).await;
    lose(&app).await;
    conversation.start(200).await;
    for (rest, said) in [("/responses?attempt=1", Some("Late.")), ("/responses?attempt=3", None)] {
        let problem = conversation.say_with(&project.client, rest, said, 409).await.json();
        assert_eq!(code(&problem), "stale_attempt");
    }
    for rest in ["/end?attempt=1", "/end?attempt=3"] {
        assert_eq!(code(&project.client.post_empty(&conversation.path(rest), 409).await), "stale_attempt");
    }
    assert_parts(&conversation.see().await, &json!({ "status": "in_progress", "item_count": 0 }));
    conversation.say_with(&project.client, "/responses?attempt=2", None, 200).await;
    project.client.post_empty(&conversation.path("/end?attempt=2"), 200).await;
    assert_eq!(
        code(&project.client.post_empty(&conversation.path("/end?attempt=1"), 409).await),
        "stale_attempt"
    );
}

#[tokio::test]
async fn only_later_attempts_must_be_started() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    conversation.say(None, 200).await;
    assert_parts(&conversation.see().await, &json!({ "status": "in_progress", "attempt": 1 }));
    lose(&app).await;
    // The call may come from the worker that lost the lease.
    assert_eq!(code(&conversation.say(Some("Hello."), 409).await), "conversation_requeued");
    assert_eq!(code(&conversation.end(400).await), "conversation_not_started");
    assert_parts(&conversation.see().await, &json!({ "status": "queued", "attempt": 2, "item_count": 0 }));
    conversation.start(200).await;
    conversation.say(Some("Hello."), 200).await;
}

#[tokio::test]
async fn unstarted_conversation_cannot_be_ended() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    let problem = conversation.end(400).await;
    assert_eq!(code(&problem), "conversation_not_started");
    assert_eq!(problem["message"], "Conversation is not in a valid state to end");
    assert_eq!(conversation.see().await["status"], "queued");
}

#[tokio::test]
async fn third_lost_attempt_fails_conversation_and_simulation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Helps", "check: persona replies >= 1").await;
    let mut wanted = four();
    wanted["objective_ids"] = json!([objective]);
    let simulation = project.simulate(wanted).await;
    let conversations = project.test_conversations(&simulation).await;
    for attempt in 1..=3 {
        assert_eq!(conversations[0].start(200).await["attempt"], attempt);
        lose(&app).await;
    }
    let expected = json!({
        "status": "failed",
        "end_reason": "lease_expired",
        "attempt": 3,
        "evaluation_status": "not_applicable",
        "evaluations": [],
    });
    assert_parts(&conversations[0].see().await, &expected);
    assert_eq!(code(&conversations[0].start(409).await), "conversation_not_queued");
    assert_eq!(code(&conversations[0].say(None, 400).await), "conversation_over");
    assert_eq!(code(&conversations[0].end(400).await), "conversation_over");

    for conversation in &conversations[1..] {
        assert_eq!(project.status(&simulation).await, "in_progress");
        conversation.hold(&[]).await;
        app.run_jobs().await;
        assert_eq!(conversation.see().await["evaluations"][0]["outcome"], "passed");
    }
    let reason = "1 of 4 conversations could not be held in any attempt";
    assert_parts(
        &project.simulation(&simulation).await,
        &json!({ "status": "failed", "last_failure_reason": reason }),
    );
    let results = project.results(&simulation).await;
    assert_eq!(results["overall"]["passed"], 3);
    assert_parts(&results["failures"], &json!({ "lease_expired": 1, "last_failure_reason": reason }));
}

#[tokio::test]
async fn cancel_stops_all_work_and_keeps_results() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Helps", "check: persona replies >= 1").await;
    let mut wanted = four();
    wanted["objective_ids"] = json!([objective]);
    let simulation = project.simulate(wanted).await;
    let conversations = project.test_conversations(&simulation).await;
    let [judged, ended, open, queued] = &conversations[..] else { panic!("not four") };
    judged.hold(&[]).await;
    app.run_jobs().await;
    let found = judged.see().await;
    ended.hold(&[]).await;
    open.say(None, 200).await;
    let said = open.items().await;

    app.next_instant();
    project.order(&simulation, "cancel", 200).await;
    let canceled = project.simulation(&simulation).await;
    assert_parts(
        &canceled,
        &json!({ "status": "canceled", "last_failure_reason": null, "updated_at": app.now_text() }),
    );
    // At once, before any background work.
    for problem in [
        queued.start(409).await,
        queued.say(None, 409).await,
        open.say(Some("Hello."), 409).await,
        open.end(409).await,
    ] {
        assert_eq!(code(&problem), "simulation_not_running");
    }
    ended.end(200).await;

    app.run_jobs().await;
    assert_eq!(judged.see().await, found);
    let expected = json!({
        "status": "ended",
        "end_reason": "agent_decided",
        "evaluation_status": "not_applicable",
        "evaluations": [],
    });
    assert_parts(&ended.see().await, &expected);
    assert_stopped(open, "simulation_canceled").await;
    assert_stopped(queued, "simulation_canceled").await;
    assert_eq!(open.items().await, said);
    assert_eq!(code(&queued.start(409).await), "conversation_not_queued");
    assert_eq!(code(&open.say(None, 400).await), "conversation_over");
    assert_eq!(code(&open.end(400).await), "conversation_over");

    // Leases and expiry find nothing to do, and a repetition changes nothing.
    app.advance(SignedDuration::from_hours(48));
    app.run_jobs().await;
    project.order(&simulation, "cancel", 200).await;
    app.run_jobs().await;
    assert_eq!(project.simulation(&simulation).await, canceled);
    assert_eq!(code(&project.order(&simulation, "run", 409).await), "simulation_over");
    let results = project.results(&simulation).await;
    assert_eq!(results["failures"]["stopped"], 2);
    assert_eq!((&results["overall"]["evaluated"], &results["overall"]["passed"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn evaluation_after_a_cancel_is_not_recorded() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Is kind", "The agent is kind.").await;
    let conversation = project.converse(json!({ "objective_ids": [objective] })).await;
    conversation.hold(&[]).await;
    app.model().on_judge(Behavior::Waits);
    join!(app.run_jobs(), async {
        app.model().waits().await;
        assert_eq!(conversation.see().await["evaluation_status"], "in_progress");
        project.order(&conversation.simulation, "cancel", 200).await;
        app.model().release();
    });
    let seen = conversation.see().await;
    assert_parts(&seen, &json!({ "evaluation_status": "not_applicable", "evaluations": [] }));
    assert_eq!(project.status(&conversation.simulation).await, "canceled");
}

#[tokio::test]
async fn simulation_canceled_before_its_run_creates_nothing() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.create(four()).await;
    project.order(&simulation, "cancel", 200).await;
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "canceled");
    assert!(project.personas(&simulation).await.is_empty());
    assert!(project.conversations(&simulation).await.is_empty());
}

#[tokio::test]
async fn expired_simulation_stops_its_conversations() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut wanted = four();
    wanted["expires_in_seconds"] = 60.into();
    let simulation = project.simulate(wanted).await;
    let conversations = project.test_conversations(&simulation).await;
    conversations[0].hold(&[]).await;
    conversations[1].say(None, 200).await;
    app.run_jobs().await;
    app.advance(SignedDuration::from_secs(60) - SignedDuration::from_micros(1));
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "in_progress");
    app.next_instant();
    app.run_jobs().await;
    let seen = project.simulation(&simulation).await;
    assert_eq!(seen["status"], "expired");
    assert!(
        text(&seen, "last_failure_reason")
            .starts_with("not completed before it expired at 2026-01-05T09:01:00")
    );
    assert_eq!(conversations[0].see().await["status"], "ended");
    for conversation in &conversations[1..] {
        assert_stopped(conversation, "simulation_expired").await;
    }
}

#[tokio::test]
async fn simulation_without_approvals_expires_after_a_day() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "auto_approve": false })).await;
    app.advance(SignedDuration::from_hours(24));
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "expired");
}

#[tokio::test]
async fn run_of_a_running_simulation_changes_nothing() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.create(four()).await;
    for _ in 0..3 {
        project.order(&simulation, "run", 200).await;
    }
    app.run_jobs().await;
    let before = project.simulation(&simulation).await;
    app.next_instant();
    project.order(&simulation, "run", 200).await;
    app.run_jobs().await;
    assert_eq!(project.simulation(&simulation).await, before);
    assert_eq!(project.personas(&simulation).await.len(), 2);
    assert_eq!(project.conversations(&simulation).await.len(), 4);
}

#[tokio::test]
async fn final_status_never_changes() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let completed = project.converse(json!({})).await;
    completed.hold(&[]).await;
    let expired = project.simulate(json!({ "expires_in_seconds": 1 })).await;
    app.advance(SignedDuration::from_secs(1));
    app.run_jobs().await;
    app.model().on_persona(Behavior::Unavailable);
    let failed = project.create(json!({})).await;
    app.run_jobs_and_retries().await;
    assert_eq!(app.take_buried().len(), 1);
    app.model().on_persona(Behavior::Offline);
    for (simulation, status) in
        [(&completed.simulation, "completed"), (&expired, "expired"), (&failed, "failed")]
    {
        let before = project.simulation(simulation).await;
        assert_eq!(before["status"], status);
        app.next_instant();
        for what in ["cancel", "run"] {
            let problem = project.order(simulation, what, 409).await;
            assert_eq!(code(&problem), "simulation_over");
            assert_eq!(problem["message"], format!("the simulation is already {status}"));
        }
        app.advance(SignedDuration::from_hours(48));
        app.run_jobs().await;
        assert_eq!(project.simulation(simulation).await, before);
    }
}

#[tokio::test]
async fn failed_persona_generation_hides_the_models_words() {
    for act in [Behavior::Unavailable, Behavior::Unusable, Behavior::Panics] {
        let app = TestApp::start();
        let project = TestProject::open(&app).await;
        app.model().on_persona(act);
        let simulation = project.create(json!({})).await;
        app.run_jobs_and_retries().await;
        let buried = app.take_buried();
        assert!(matches!(&buried[..], [one] if one.starts_with("generate_personas: ")), "{buried:?}");
        let reason = "its personas could not be created in several attempts; the server's log has the reason";
        assert_parts(
            &project.simulation(&simulation).await,
            &json!({ "status": "failed", "last_failure_reason": reason }),
        );
    }
}

#[tokio::test]
async fn short_model_outage_fails_nothing() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Is kind", "The agent is kind.").await;
    app.model().on_persona(Behavior::Unavailable);
    let simulation = project.create(json!({ "objective_ids": [objective] })).await;
    app.run_jobs().await;
    assert!(project.personas(&simulation).await.is_empty());
    app.model().on_persona(Behavior::Offline);
    app.run_jobs_and_retries().await;
    let conversation = &project.test_conversations(&simulation).await[0];
    conversation.hold(&[]).await;
    app.model().on_judge(Behavior::Panics);
    app.run_jobs().await;
    assert_eq!(conversation.see().await["evaluation_status"], "in_progress");
    app.model().on_judge(Behavior::Offline);
    app.run_jobs_and_retries().await;
    let seen = conversation.see().await;
    assert_eq!(seen["evaluation_status"], "completed");
    assert_eq!(seen["evaluations"].as_array().unwrap().len(), 1);
    assert_eq!(project.status(&simulation).await, "completed");
}

#[tokio::test]
async fn failed_judging_is_no_pass_and_fails_the_simulation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let prose = project.objective("Is kind", "The agent is kind.").await;
    let check = project.objective("Helps", "check: persona replies >= 1").await;
    let simulation = project
        .simulate(json!({ "target_conversations": 2, "objective_ids": [prose, check], "max_turns": 200 }))
        .await;
    let conversations = project.test_conversations(&simulation).await;
    conversations[0].hold(&[]).await;
    app.run_jobs().await;
    app.model().on_judge(Behavior::Unusable);
    conversations[1].hold(&[]).await;
    app.run_jobs_and_retries().await;
    assert_eq!(app.take_buried().len(), 1);
    let seen = conversations[1].see().await;
    // Either all evaluations on a conversation are recorded or none.
    assert_parts(&seen, &json!({ "status": "ended", "evaluation_status": "failed", "evaluations": [] }));
    let reason = "1 of 2 conversations could not be evaluated";
    assert_parts(
        &project.simulation(&simulation).await,
        &json!({ "status": "failed", "last_failure_reason": reason }),
    );
    let results = project.results(&simulation).await;
    assert_eq!(results["overall"]["evaluated"], 1);
    assert_eq!(results["failures"]["evaluations"], 1);
}

#[tokio::test]
async fn failing_simulation_does_not_delay_another() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    app.model().on_persona(Behavior::Panics);
    let poisoned = project.create(json!({})).await;
    app.run_jobs().await;
    app.model().on_persona(Behavior::Offline);
    let conversation = project.converse(json!({})).await;
    conversation.hold(&[]).await;
    app.run_jobs().await;
    assert_eq!(project.status(&conversation.simulation).await, "completed");
    assert_eq!(project.status(&poisoned).await, "in_progress");
}
