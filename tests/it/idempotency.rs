//! Requests with an `Idempotency-Key`: a repetition gets the same reply and creates or starts
//! nothing twice.

use futures_util::future::join_all;
use http::Method;
use jiff::SignedDuration;
use onerun_api::{Body, Idempotency, ROUTES, Route};
use onerun_tests::app::{Client, TestApp, documentation};
use serde_json::{Value, json};

use crate::{
    fixtures::{TestProject, code, data, id, text},
    seeded_project::SeededProject,
};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn keyed<'a>(client: &Client<'a>, key: &str) -> Client<'a> {
    client.with_header("idempotency-key", key)
}

fn takes_key() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().copied().filter(|route| route.idempotency.takes_key())
}

#[test]
fn every_creating_post_accepts_an_idempotency_key() {
    let operations: Vec<_> = takes_key().map(|route| route.operation).collect();
    let expected = [
        "create_key",
        "rotate_key",
        "create_project",
        "create_agent",
        "create_objective",
        "create_simulation",
        "run_simulation",
        "create_batch",
        "rerun_batch",
        "import_simulation",
        "create_evaluation",
        "claim_conversations",
        "start_conversation",
        "create_response",
        "create_monitor",
        "create_monitor_run",
        "create_webhook",
        "rotate_webhook_secret",
        "test_webhook",
        "replay_webhook_delivery",
    ];
    assert_eq!(operations, expected);
    for route in ROUTES.iter().filter(|route| route.method == Method::POST) {
        let makes =
            ["create_", "rotate_", "run_", "start_", "claim_", "rerun_", "import_", "test_", "replay_"];
        let makes = makes.iter().any(|verb| route.operation.starts_with(verb));
        assert_eq!(route.idempotency.takes_key(), makes, "{}", route.operation);
    }
    for route in ROUTES {
        let documented = documentation(route.operation);
        let parameters = documented["parameters"].as_array().unwrap();
        let header = parameters.iter().find(|parameter| parameter["name"] == "Idempotency-Key");
        assert_eq!(header.is_some(), route.idempotency.takes_key(), "{}", route.operation);
        let says_how_long =
            header.is_none_or(|header| header["description"].as_str().unwrap().contains("24 hours"));
        assert!(says_how_long, "{}", route.operation);
    }
}

#[tokio::test]
async fn repeated_request_gets_the_same_reply_once() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let mut seen = 0;
    for (number, route) in takes_key().enumerate() {
        // A start needs a queued conversation and an evaluation run an ended simulation. Both have their own tests.
        if ["start_conversation", "create_evaluation"].contains(&route.operation) {
            continue;
        }
        let client = keyed(&seeded.project.client, &format!("key {number}"));
        let path = seeded.fresh_path(route).await;
        let (status, first) = client.ask(route.method.clone(), &path, seeded.body(route)).await;
        let success = route.status.as_u16();
        assert_eq!(status, success, "{}: {}", route.operation, first.text);
        let before = seeded.state().await;
        app.advance(SignedDuration::from_secs(5));
        let (status, second) = client.ask(route.method.clone(), &path, seeded.body(route)).await;
        let mut first = first.json();
        for secret in ["key", "secret"] {
            if first.get(secret).is_some() {
                // Only one reply contains the secret.
                first[secret] = Value::Null;
            }
        }
        assert_eq!((status, second.json()), (success, first), "{}", route.operation);
        assert_eq!(seeded.state().await, before, "{}", route.operation);
        seen += 1;
    }
    assert_eq!(seen, 18);
}

#[tokio::test]
async fn key_reused_for_another_request_is_refused() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let client = keyed(&project.client, "k");
    let agents = project.path("/agents");
    let body = json!({ "name": "First", "metadata": { "a": 1, "b": 2 } });
    let first = client.post(&agents, &body, 200).await;
    for (path, body) in [
        (agents.clone(), json!({ "name": "Second" })),
        (agents.clone(), json!({ "name": "First" })),
        (project.path("/objectives"), json!({ "name": "First", "criteria": "Is kind." })),
        (project.path("/simulations"), project.wanted(json!({}))),
    ] {
        let problem = client.post(&path, &body, 422).await;
        assert_eq!(code(&problem), "idempotency_key_reused", "{path}");
        assert!(text(&problem, "message").contains("send another key"), "{problem}");
    }
    // The same request in another notation.
    let same = r#"{ "metadata": {"b":2, "a":1},   "name": "First" }"#;
    let again = client.send_bytes(Method::POST, &agents, same, 200).await.json();
    assert_eq!(again, first);
    let names: Vec<_> = data(&project.get("/agents").await).iter().map(|agent| text(agent, "name")).collect();
    assert_eq!(names, ["First", "Desk"]);
}

#[tokio::test]
async fn idempotency_keys_are_per_caller_and_project() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let other = id(&project.client.post("/v1/projects", &json!({ "name": "Other" }), 200).await);
    let caller = app.root().create_key(json!({})).await;
    let body = json!({ "name": "Same" });
    let mut made = Vec::new();
    for client in [app.root(), app.anonymous().with_key(&caller.key)] {
        for project_id in [&project.id, &other] {
            let path = format!("/v1/agents?project_id={project_id}");
            made.push(id(&keyed(&client, "k").post(&path, &body, 200).await));
        }
        // The route has no `project_id`.
        made.push(id(&keyed(&client, "k").post("/v1/projects", &body, 200).await));
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 6);
}

#[tokio::test]
async fn idempotency_key_expires_after_a_day() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let client = keyed(&project.client, "nightly");
    let path = project.path("/simulations");
    let first = client.post(&path, &project.wanted(json!({})), 200).await;
    app.advance(DAY);
    assert_eq!(client.post(&path, &project.wanted(json!({})), 200).await, first);
    app.advance(SignedDuration::from_secs(1));
    let second = client.post(&path, &project.wanted(json!({ "name": "Another night" })), 200).await;
    assert_ne!(id(&second), id(&first));
}

#[tokio::test]
async fn repeated_create_returns_the_original_reply() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objectives =
        [project.objective("One", "Is kind.").await, project.objective("Two", "Is short.").await];
    let client = keyed(&project.client, "k");
    let body = project.wanted(json!({ "objective_ids": objectives, "metadata": { "build": 17 } }));
    let first = client.post(&project.path("/simulations"), &body, 200).await;
    assert_eq!(data(&json!({ "data": first["objectives"] })).len(), 2);
    app.run_jobs().await;
    let agent = project.path(&format!("/agents/{}", project.agent));
    project.client.patch(&agent, &json!({ "name": "Renamed" }), 200).await;
    let objective = project.path(&format!("/objectives/{}", objectives[0]));
    project.client.patch(&objective, &json!({ "criteria": "Is unkind." }), 200).await;
    assert_eq!(project.status(&id(&first)).await, "in_progress");
    assert_eq!(client.post(&project.path("/simulations"), &body, 200).await, first);
    assert_eq!(data(&project.get("/simulations").await).len(), 1);
}

#[tokio::test]
async fn repeated_run_of_an_ended_simulation_is_answered() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({})).await;
    let run = project.path(&format!("/simulations/{simulation}/run"));
    let client = keyed(&project.client, "k");
    let first = client.post_empty(&run, 200).await;
    project.order(&simulation, "cancel", 200).await;
    assert_eq!(client.post_empty(&run, 200).await, first);
    assert_eq!(code(&keyed(&project.client, "other").post_empty(&run, 409).await), "simulation_over");
    assert_eq!(project.status(&simulation).await, "canceled");
}

#[tokio::test]
async fn worker_can_repeat_a_start_after_a_lost_reply() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    let (client, start) = (keyed(&project.client, "start 1"), conversation.path("/start"));
    let first = client.post_empty(&start, 200).await;
    assert_eq!(first["attempt"], 1);
    assert_eq!(client.post_empty(&start, 200).await, first);
    assert_eq!(code(&conversation.start(409).await), "conversation_not_queued");
    assert_eq!(
        code(&keyed(&project.client, "start 2").post_empty(&start, 409).await),
        "conversation_not_queued"
    );
    assert_eq!(conversation.see().await["attempt"], 1);

    // After the lease expires, the conversation is at another attempt, but the reply is about the
    // first one.
    app.advance(SignedDuration::from_secs(301));
    app.run_jobs().await;
    assert_eq!(conversation.see().await["status"], "queued");
    assert_eq!(client.post_empty(&start, 200).await, first);
    assert_eq!(conversation.see().await["status"], "queued", "a repetition starts nothing");
    assert_eq!(keyed(&project.client, "start 3").post_empty(&start, 200).await["attempt"], 2);
}

#[tokio::test]
async fn twenty_requests_under_one_key_act_once() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    let client = keyed(&project.client, "k");
    let agents = project.path("/agents");
    let simulations = project.path("/simulations");
    let (agent, simulation) = (json!({ "name": "Once" }), project.wanted(json!({ "name": "Once" })));
    let answers = join_all((0..20).map(|_| client.post(&agents, &agent, 200))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let client = keyed(&project.client, "l");
    let answers = join_all((0..20).map(|_| client.post(&simulations, &simulation, 200))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let client = keyed(&project.client, "m");
    let start = conversation.path("/start");
    let answers = join_all((0..20).map(|_| client.post_empty(&start, 200))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer["attempt"] == 1), "{answers:?}");

    let named = |page: &Value| data(page).iter().filter(|one| one["name"] == "Once").count();
    assert_eq!(named(&project.get("/agents").await), 1);
    assert_eq!(named(&project.get("/simulations").await), 1);
}

#[tokio::test]
async fn refused_request_can_be_repeated_and_succeed() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let client = keyed(&project.client, "k");
    let simulations = project.path("/simulations");
    client.post(&simulations, &project.wanted(json!({ "name": "" })), 422).await;
    client.post(&simulations, &project.wanted(json!({ "agent_id": "AAAAAAAAAAAA" })), 404).await;
    let made = client.post(&simulations, &project.wanted(json!({})), 200).await;
    assert_eq!(ids(&project.get("/simulations").await), [id(&made)]);
}

fn ids(page: &Value) -> Vec<String> {
    data(page).iter().map(id).collect()
}

#[tokio::test]
async fn malformed_idempotency_key_is_refused_everywhere() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let before = seeded.state().await;
    for route in takes_key() {
        for client in [
            keyed(&seeded.project.client, ""),
            keyed(&seeded.project.client, &"k".repeat(256)),
            keyed(&keyed(&seeded.project.client, "a"), "b"),
        ] {
            let path = seeded.path(route);
            let body = seeded.body(route);
            let reply = client.send_body(route.method.clone(), &path, body, 422).await;
            assert_eq!(reply.json()["errors"][0]["header"], "Idempotency-Key", "{}", route.operation);
        }
    }
    assert_eq!(seeded.state().await, before);
}

#[tokio::test]
async fn idempotency_header_is_ignored_on_other_routes() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    for operation in ["list_agents", "get_whoami", "read_items", "approve_persona"] {
        let route = ROUTES.iter().find(|route| route.operation == operation).unwrap();
        assert!(matches!(route.idempotency, Idempotency::None));
        let path = seeded.path(route);
        keyed(&seeded.project.client, "")
            .send_body(route.method.clone(), &path, Body::Read("".into()), 200)
            .await;
    }
}
