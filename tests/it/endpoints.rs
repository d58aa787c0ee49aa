//! Agents that OneRun calls itself.

use http::{Method, Response};
use jiff::SignedDuration;
use onerun_domain::{Job, JobKind, later};
use onerun_engine::{JOB_HIDDEN, JOB_LIMIT, JobError};
use onerun_tests::app::{Received, TestApp};
use onerun_transport::{OutboundError, TransportError};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, data, id, text};

const SECRET: &str = "sk-live-4f9d1c27";

const REPLY: &str = "I have approved your refund.";

/// Requests about the endpoint of a project's agent.
impl TestProject<'_> {
    fn endpoint_path(&self) -> String {
        self.path(&format!("/agents/{}/endpoint", self.agent))
    }

    async fn put_endpoint(&self, changes: Value, status: u16) -> Value {
        let mut body =
            json!({ "target": { "openai": { "url": "https://agent.example.com/v1", "model": "desk" } } });
        crate::fixtures::merge(&mut body, changes);
        self.client.send(Method::PUT, &self.endpoint_path(), Some(&body), status).await.json()
    }

    async fn delete_endpoint(&self, status: u16) -> Value {
        self.client.send(Method::DELETE, &self.endpoint_path(), None, status).await.json()
    }

    async fn endpoint(&self) -> Value {
        self.get(&format!("/agents/{}", self.agent)).await["endpoint"].clone()
    }

    async fn statuses(&self, simulation: &str) -> Vec<String> {
        self.conversations(simulation).await.iter().map(|one| text(one, "status")).collect()
    }
}

/// An application whose agents answer, and a project whose agent has an endpoint.
fn answering_app() -> TestApp {
    let app = TestApp::start();
    app.target().answer_with_document(chat(REPLY));
    app
}

fn chat(reply: &str) -> Value {
    json!({ "choices": [{ "message": { "role": "assistant", "content": reply } }] })
}

fn credential() -> Value {
    json!({ "credential": { "header": "X-Team-Key", "value": SECRET } })
}

fn roles(request: &Received) -> Vec<String> {
    request.json()["messages"].as_array().unwrap().iter().map(|message| text(message, "role")).collect()
}

#[tokio::test]
async fn endpoint_is_shown_without_its_credential() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    assert_eq!(project.endpoint().await, Value::Null);
    app.next_instant();
    let put = project.put_endpoint(credential(), 200).await;
    let expected = json!({
        "target": { "openai": { "url": "https://agent.example.com/v1", "model": "desk" } },
        "credential": { "header": "X-Team-Key" },
        "max_in_flight": 5,
        "max_calls_per_minute": null,
        "in_flight": 0,
    });
    assert_eq!((&put["endpoint"], &put["updated_at"]), (&expected, &json!(app.now_text())));
    assert_eq!(project.endpoint().await, expected);
    let listed = project.get("/agents").await;
    assert_eq!(data(&listed)[0]["endpoint"], expected);
    let kept = String::from_utf8_lossy(&app.kept().await).into_owned();
    assert!(kept.contains("agent.example.com") && !kept.contains(SECRET));
    // It replaces the one before as a whole.
    let put = project.put_endpoint(json!({ "max_in_flight": 1, "max_calls_per_minute": 30 }), 200).await;
    assert_eq!(put["endpoint"]["credential"], Value::Null);
    assert_eq!(put["endpoint"]["max_calls_per_minute"], 30);
    for _ in 0..2 {
        project.delete_endpoint(200).await;
        assert_eq!(project.endpoint().await, Value::Null);
    }
}

#[tokio::test]
async fn unusable_endpoint_is_refused_with_its_field() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let openai = |changes: Value| {
        let mut settings = json!({ "url": "https://agent.example.com/v1", "model": "desk" });
        crate::fixtures::merge(&mut settings, changes);
        json!({ "target": { "openai": settings } })
    };
    let http = |body: Value| json!({ "target": { "http": { "url": "https://agent.example.com", "body": body, "reply": "$.reply" } } });
    for (changes, pointer, words) in [
        (json!({ "target": {} }), "target", "must be `{\"openai\""),
        (json!({ "target": { "command": ["sh", "-c", "id"] } }), "target", "must be `{\"openai\""),
        (json!({ "target": { "openai": {}, "http": {} } }), "target", "must be `{\"openai\""),
        (json!({ "target": { "openai": "x" } }), "target", "must be `{\"openai\""),
        (
            json!({ "target": { "openai": { "url": "https://agent.example.com" } } }),
            "target/openai",
            "`model`",
        ),
        (openai(json!({ "modle": "x" })), "target/openai/modle", "unknown field"),
        (
            openai(json!({ "url": "http://agent.example.com/v1" })),
            "target/openai/url",
            "must begin with `https://`",
        ),
        (openai(json!({ "url": "https://169.254.169.254/" })), "target/openai/url", "private"),
        (openai(json!({ "url": "https://${env:HOST}/" })), "target/openai/url", "environment variables"),
        (
            openai(json!({ "api_key_env": "AUTH_API_KEY" })),
            "target/openai/api_key_env",
            "environment variables",
        ),
        (
            openai(json!({ "headers": { "X-Key": "${env:AUTH_API_KEY}" } })),
            "target/openai/headers/X-Key",
            "environment variables",
        ),
        (
            openai(json!({ "headers": { "Authorization": "Bearer x" } })),
            "target/openai/headers",
            "`credential`",
        ),
        (openai(json!({ "headers": { "Host": "internal" } })), "target/openai/headers", "`Host`"),
        (openai(json!({ "timeout_seconds": 26 })), "target/openai/timeout_seconds", "at most 25"),
        (openai(json!({ "timeout_seconds": 0 })), "target/openai/timeout_seconds", "from 1"),
        (openai(json!({ "system": "a".repeat(17_000) })), "target", "must be at most 16384 bytes"),
        (http(json!("{{ mesage }}")), "target/http/body", "unknown variable"),
        (
            json!({ "credential": { "header": "a b", "value": "x" } }),
            "credential/header",
            "the name of a header",
        ),
        (json!({ "credential": { "header": "Host", "value": "x" } }), "credential/header", "OneRun sets"),
        (json!({ "credential": { "value": "a\r\nX-Other: b" } }), "credential/value", "one line"),
        (json!({ "credential": { "value": "${env:HOME}" } }), "credential/value", "the secret itself"),
        (json!({ "max_in_flight": 101 }), "max_in_flight", "from 1 to 100"),
        (json!({ "max_calls_per_minute": 0 }), "max_calls_per_minute", "from 1 to 6000"),
    ] {
        let problem = project.put_endpoint(changes.clone(), 422).await;
        let error = &problem["errors"][0];
        assert_eq!(error["pointer"], format!("#/{pointer}"), "{changes}: {problem}");
        assert!(text(error, "detail").contains(words), "{changes}: {problem}");
    }
    let known = project.agent.clone();
    let other = TestProject { agent: "AAAAAAAAAAAA".to_owned(), ..project };
    assert_eq!(code(&other.put_endpoint(json!({}), 404).await), "agent_not_found");
    assert_eq!(code(&other.delete_endpoint(404).await), "agent_not_found");
    let project = TestProject { agent: known, ..other };
    assert_eq!(project.endpoint().await, Value::Null);
}

#[tokio::test]
async fn simulation_is_held_and_judged_without_a_worker() {
    let app = answering_app();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Refunds", "check: agent says /refund/i").await;
    project.put_endpoint(credential(), 200).await;
    let wanted = json!({ "objective_ids": [objective], "target_conversations": 3, "max_turns": 6 });
    let simulation = project.simulate(wanted).await;
    assert_eq!(project.status(&simulation).await, "completed");
    let results = project.results(&simulation).await;
    assert_eq!(results["overall"]["passed"], 3, "{results}");
    let received = app.target().take_received();
    let mut calls = 0;
    for conversation in project.test_conversations(&simulation).await {
        let transcript = conversation.transcript().await;
        for (index, (role, said)) in transcript.iter().enumerate() {
            assert_eq!(role, if index % 2 == 0 { "user" } else { "assistant" });
            assert_eq!(role == "assistant", said == REPLY);
        }
        let of_conversation: Vec<_> = received
            .iter()
            .filter(|request| request.header("x-onerun-conversation-id") == conversation.id)
            .collect();
        assert_eq!(of_conversation.len(), transcript.len() / 2);
        for (index, request) in of_conversation.iter().enumerate() {
            assert_eq!(request.url, "https://agent.example.com/v1/chat/completions");
            assert_eq!(request.header("x-team-key"), SECRET);
            assert_eq!(roles(request).len(), 2 * index + 1);
        }
        calls += of_conversation.len();
    }
    assert_eq!(received.len(), calls);
    assert_eq!(project.endpoint().await["in_flight"], 0);
    let agent = project.get(&format!("/agents/{}", project.agent)).await;
    assert_eq!(agent["last_polled_at"], json!(app.now_text()));
}

#[tokio::test]
async fn http_endpoint_gets_its_template_and_ends_the_conversation() {
    let app = TestApp::start();
    app.target().answer_with_document(json!({ "out": ["I will look into it."], "done": true }));
    let project = TestProject::open(&app).await;
    let target = json!({ "http": {
        "url": "https://agent.example.com/chat",
        "body": { "said": "{{ message }}", "of": "{{ metadata.commit }}", "turn": "{{ turn }}" },
        "reply": "$.out[0]",
        "end": "$.done",
    } });
    project.put_endpoint(json!({ "target": target }), 200).await;
    let simulation = project.simulate(json!({ "metadata": { "commit": "abc" } })).await;
    let [request] = &app.target().take_received()[..] else { panic!("not one request") };
    assert_eq!((&request.json()["of"], &request.json()["turn"]), (&json!("abc"), &json!(1)));
    let [conversation] = &project.conversations(&simulation).await[..] else {
        panic!("not one conversation")
    };
    assert_eq!(
        (&conversation["status"], &conversation["end_reason"]),
        (&json!("ended"), &json!("agent_decided"))
    );
}

/// Runs jobs until none is due. Each is delivered three times: when it is due, again after others, and an hour later.
async fn deliver_three_times(app: &TestApp) {
    let engine = app.engine();
    let mut delivered = Vec::new();
    loop {
        let (hidden, now) = (later(app.now(), JOB_HIDDEN), app.now());
        let mut claimed = Vec::new();
        for kind in JobKind::ALL {
            claimed.extend(engine.store().claim_jobs(kind, 32, hidden, now).await.unwrap());
        }
        if claimed.is_empty() {
            break;
        }
        // The last job comes first.
        let round: Vec<Job> = claimed.iter().map(|claimed| claimed.job.clone()).collect();
        for job in claimed.into_iter().rev() {
            engine.run_job(job, JOB_LIMIT).await;
        }
        repeat(app, &round).await;
        // Earlier calls were answered in this round, and the agent is not called again.
        app.target().take_received();
        let is_call = |job: &&Job| job.work.name() == "call_agent";
        repeat(app, &delivered.iter().filter(is_call).cloned().collect::<Vec<_>>()).await;
        assert_eq!(app.target().take_received().len(), 0);
        delivered.extend(round);
    }
    app.advance(SignedDuration::from_hours(1));
    repeat(app, &delivered).await;
    app.run_jobs().await;
}

/// Delivers jobs again, in another order.
async fn repeat(app: &TestApp, jobs: &[Job]) {
    let middle = jobs.len() / 2;
    for job in jobs[middle..].iter().chain(jobs[..middle].iter().rev()) {
        match app.engine().handle_job(job).await {
            Ok(()) | Err(JobError::Postponed { .. }) => {}
            Err(error) => panic!("{}: {error}", job.id),
        }
    }
}

#[tokio::test]
async fn repeated_shuffled_and_late_deliveries_change_nothing() {
    let results = async |is_repeated: bool| {
        let app = answering_app();
        let project = TestProject::open(&app).await;
        let objective = project.objective("Refunds", "check: agent says /refund/i").await;
        project.put_endpoint(json!({}), 200).await;
        let wanted = json!({ "objective_ids": [objective], "target_conversations": 4, "target_personas": 2 });
        let simulation = project.create(wanted).await;
        if is_repeated {
            deliver_three_times(&app).await;
        } else {
            app.run_jobs().await;
        }
        assert_eq!(project.status(&simulation).await, "completed");
        assert_eq!(project.endpoint().await["in_flight"], 0);
        let mut transcripts = Vec::new();
        for conversation in project.test_conversations(&simulation).await {
            transcripts.push((conversation.transcript().await, conversation.see().await["attempt"].clone()));
        }
        let mut results = project.results(&simulation).await;
        for with_ids in ["simulation_id", "objectives"] {
            results.as_object_mut().unwrap().remove(with_ids);
        }
        (transcripts, results)
    };
    assert_eq!(results(true).await, results(false).await);
}

#[tokio::test]
async fn no_more_conversations_are_held_than_the_endpoint_allows() {
    let app = answering_app();
    let project = TestProject::open(&app).await;
    project.put_endpoint(json!({ "max_in_flight": 2 }), 200).await;
    let first = project.create(json!({ "target_conversations": 5, "target_personas": 2 })).await;
    let second = project.create(json!({ "target_conversations": 2 })).await;
    let mut rounds = 0;
    while project.status(&first).await != "completed" || project.status(&second).await != "completed" {
        // The agent is called only after all other work.
        for kind in [JobKind::Other, JobKind::Judging] {
            app.run_jobs_only(kind).await;
        }
        let statuses = [project.statuses(&first).await, project.statuses(&second).await].concat();
        let held = statuses.iter().filter(|status| *status == "in_progress").count();
        assert_eq!(project.endpoint().await["in_flight"], json!(held));
        let left =
            statuses.iter().filter(|status| ["in_progress", "queued"].contains(&status.as_str())).count();
        assert_eq!(held, left.min(2), "{statuses:?}");
        app.run_jobs_only(JobKind::Outbound).await;
        rounds += 1;
        assert!(rounds < 100, "the simulations do not end");
    }
    assert!(rounds > 4);
}

#[tokio::test]
async fn agent_that_fails_is_never_judged() {
    let answer = |status: u16, body: &str| {
        let body = bytes::Bytes::from(body.to_owned());
        Ok(Response::builder().status(status).body(body).unwrap())
    };
    let long = chat(&"a".repeat(40_000)).to_string();
    for (answer, words) in [
        (answer(500, &format!("no quota for {SECRET}")), "status 500"),
        (answer(302, ""), "status 302"),
        (answer(200, "<html>"), "not JSON"),
        (answer(200, "{}"), "no text at"),
        (answer(200, &long), "must be at most 32000 characters"),
        (Err(TransportError::Timeout), "did not reply within 25 s"),
        (Err(TransportError::Broken("reset".to_owned())), "broke off"),
        (Err(TransportError::TooLarge), "too large"),
        (Err(TransportError::Refused(OutboundError::Address)), "the address is refused"),
    ] {
        let app = TestApp::start();
        let project = TestProject::open(&app).await;
        let objective = project.objective("Refunds", "check: agent says /refund/i").await;
        project.put_endpoint(credential(), 200).await;
        app.target().answer([answer.clone(), answer.clone(), answer]);
        let simulation = project.create(json!({ "objective_ids": [objective] })).await;
        app.run_jobs_and_retries().await;
        let detail = project.simulation(&simulation).await;
        assert_eq!(detail["status"], "failed");
        assert!(text(&detail, "last_failure_reason").contains(words), "{detail}");
        assert!(!detail.to_string().contains(SECRET));
        let [conversation] = &project.conversations(&simulation).await[..] else { panic!("not one") };
        assert_eq!((&conversation["status"], &conversation["attempt"]), (&json!("failed"), &json!(3)));
        assert_eq!(conversation["evaluation_status"], "not_applicable", "{conversation}");
        let results = project.results(&simulation).await;
        assert_eq!(results["overall"]["evaluated"], 0, "{results}");
        assert_eq!(app.target().take_received().len(), 3);
        assert_eq!(project.endpoint().await["in_flight"], 0);
    }
}

#[tokio::test]
async fn attempts_after_a_failure_wait_and_may_succeed() {
    let app = answering_app();
    let project = TestProject::open(&app).await;
    project.put_endpoint(json!({}), 200).await;
    app.target().answer_with([500, 502]);
    let simulation = project.simulate(json!({})).await;
    for seconds in [10, 20] {
        assert_eq!(project.statuses(&simulation).await, ["in_progress"]);
        app.advance(SignedDuration::from_millis(seconds * 1_000 - 1));
        app.run_jobs().await;
        assert_eq!(project.statuses(&simulation).await, ["in_progress"]);
        app.advance(SignedDuration::from_millis(1));
        app.run_jobs().await;
    }
    assert_eq!(project.status(&simulation).await, "completed");
    let [conversation] = &project.conversations(&simulation).await[..] else { panic!("not one") };
    assert_eq!(conversation["attempt"], 3);
}

#[tokio::test]
async fn calls_are_limited_by_the_minute() {
    let app = answering_app();
    let project = TestProject::open(&app).await;
    project.put_endpoint(json!({ "max_in_flight": 9, "max_calls_per_minute": 4 }), 200).await;
    let simulation = project.create(json!({ "target_conversations": 6, "max_turns": 4 })).await;
    let start = app.now();
    while project.status(&simulation).await != "completed" {
        app.run_jobs().await;
        let received = app.target().take_received().len();
        assert!(received <= 1, "{received} calls at once");
        app.advance(SignedDuration::from_secs(15));
        assert!(
            app.now().duration_since(start) < SignedDuration::from_mins(20),
            "the simulation does not end"
        );
    }
}

#[tokio::test]
async fn simulations_in_progress_are_held_once_there_is_an_endpoint() {
    let app = answering_app();
    let project = TestProject::open(&app).await;
    let simulations = [project.simulate(json!({})).await, project.simulate(json!({})).await];
    project.put_endpoint(json!({}), 200).await;
    app.run_jobs().await;
    for simulation in simulations {
        assert_eq!(project.status(&simulation).await, "completed");
    }
}

#[tokio::test]
async fn canceled_simulation_frees_its_places() {
    let app = answering_app();
    let project = TestProject::open(&app).await;
    project.put_endpoint(json!({ "max_in_flight": 1 }), 200).await;
    let simulation = project.create(json!({ "target_conversations": 3 })).await;
    app.run_jobs_only(JobKind::Other).await;
    assert_eq!(project.endpoint().await["in_flight"], 1);
    project.order(&simulation, "cancel", 200).await;
    app.run_jobs().await;
    assert_eq!(app.target().take_received().len(), 0);
    assert_eq!(project.endpoint().await["in_flight"], 0);
    let next = project.simulate(json!({})).await;
    assert_eq!(project.status(&next).await, "completed");
}

#[tokio::test]
async fn workers_hold_what_is_left_when_the_endpoint_is_deleted() {
    let app = answering_app();
    let project = TestProject::open(&app).await;
    project.put_endpoint(json!({ "max_in_flight": 1 }), 200).await;
    let simulation = project.create(json!({ "target_conversations": 2 })).await;
    app.run_jobs_only(JobKind::Other).await;
    project.delete_endpoint(200).await;
    app.run_jobs().await;
    app.advance(SignedDuration::from_mins(2));
    app.run_jobs().await;
    assert_eq!(project.statuses(&simulation).await, ["queued", "queued"]);
    for conversation in project.test_conversations(&simulation).await {
        conversation.hold(&["I have refunded you."]).await;
    }
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "completed");
    assert_eq!(app.target().take_received().len(), 0);
}

#[tokio::test]
async fn conversation_whose_lease_ends_is_held_again() {
    let app = answering_app();
    let project = TestProject::open(&app).await;
    project.put_endpoint(json!({ "max_in_flight": 1 }), 200).await;
    let simulation = project.create(json!({ "target_conversations": 2 })).await;
    app.run_jobs_only(JobKind::Other).await;
    // A worker holds the other conversation, and stops. The calls of the endpoint are late by more than a lease.
    for conversation in project.test_conversations(&simulation).await {
        if conversation.see().await["status"] == "queued" {
            conversation.start(200).await;
        }
    }
    app.advance(SignedDuration::from_mins(6));
    app.run_jobs().await;
    app.advance(SignedDuration::from_mins(2));
    app.run_jobs_and_retries().await;
    assert_eq!(project.status(&simulation).await, "completed");
    assert_eq!(project.endpoint().await["in_flight"], 0);
}

#[tokio::test]
async fn monitor_of_an_agent_with_an_endpoint_needs_no_worker() {
    let app = answering_app();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Refunds", "check: agent says /refund/i").await;
    project.put_endpoint(json!({}), 200).await;
    let mut simulation = project.wanted(json!({ "objective_ids": [objective] }));
    simulation.as_object_mut().unwrap().remove("auto_approve");
    let body = json!({
        "name": "Refunds",
        "simulation": simulation,
        "schedule": { "expression": "rate(1 hour)" },
        "gate": { "min_pass_rate": 1.0 },
    });
    let monitor = id(&project.client.post(&project.path("/monitors"), &body, 200).await);
    for _ in 0..3 {
        app.advance(SignedDuration::from_hours(1));
        app.run_jobs().await;
    }
    // The fourth run meets an agent that is down.
    app.target().answer_with([503; 9]);
    app.advance(SignedDuration::from_hours(1));
    app.run_jobs().await;
    for _ in 0..10 {
        app.advance(SignedDuration::from_secs(30));
        app.run_jobs().await;
    }
    let page = project.get(&format!("/monitors/{monitor}/runs")).await;
    let seen: Vec<_> = data(&page).iter().map(|run| (text(run, "status"), text(run, "verdict"))).collect();
    let run = |status: &str, verdict: &str| (status.to_owned(), verdict.to_owned());
    let passed = run("completed", "pass");
    assert_eq!(seen, [run("failed", "infra"), passed.clone(), passed.clone(), passed], "{page}");
}
