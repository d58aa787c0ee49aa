//! The calls of operations in this process, checked against the roles of their functions. `routes.rs` checks the
//! functions themselves; this is faster, and needs no build of them.

use std::sync::Arc;

use http::Method;
use jiff::SignedDuration;
use onerun_domain::JobKind;
use onerun_tests::{
    app::{Meter, TestApp},
    aws::Template,
    rights::Rights,
};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, id};

struct Roles {
    rights: Rights,
    meter: Meter,
}

impl Roles {
    /// Asserts that the calls since the last check are within the rights of a function.
    fn check(&self, operation: &str) {
        let calls = self.meter.take_calls();
        assert!(!calls.is_empty(), "{operation} makes no call");
        for (target, input) in calls {
            // This application searches for jobs, which the queue names on AWS.
            if ["run_jobs", "run_outbound_jobs"].contains(&operation) && input["IndexName"] == "by-due" {
                continue;
            }
            let lacking = self.rights.lacking(operation, &target, &of_template(&input));
            assert_eq!(lacking, None, "{input}");
        }
    }
}

/// The same call of the template's table.
fn of_template(input: &Value) -> Value {
    let name = input["RequestItems"].as_object().and_then(|tables| tables.keys().next().cloned());
    let of_part = || {
        let part = input["TransactItems"][0].as_object()?.values().next()?;
        part["TableName"].as_str().map(str::to_owned)
    };
    let name = name.or_else(|| input["TableName"].as_str().map(str::to_owned)).or_else(of_part);
    let text = input.to_string().replace(&name.expect("the name of a table"), "Table");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn moved_entries_need_only_the_rights_of_their_functions() {
    let (app, meter) = TestApp::metered().await;
    let roles = Roles { rights: Template::rights(), meter };
    let project = TestProject::open(&app).await;
    let client = &project.client;
    let objective = project.objective("Is kind", "The agent is kind.").await;
    roles.meter.take_calls();

    let renamed = json!({ "name": "Renamed" });
    client.patch(&format!("/v1/projects/{}", project.id), &renamed, 200).await;
    roles.check("update_project");
    client.patch(&project.path(&format!("/agents/{}", project.agent)), &renamed, 200).await;
    roles.check("update_agent");
    client.patch(&project.path(&format!("/objectives/{objective}")), &renamed, 200).await;
    roles.check("update_objective");

    let mut simulation = project.wanted(json!({ "objective_ids": [objective] }));
    simulation.as_object_mut().expect("an object").remove("auto_approve");
    let monitor = json!({
        "name": "Refunds", "simulation": simulation, "schedule": { "expression": "rate(1 hour)" },
    });
    let monitor = id(&client.post(&project.path("/monitors"), &monitor, 200).await);
    roles.check("create_monitor");
    let monitor = project.path(&format!("/monitors/{monitor}"));
    client.patch(&monitor, &renamed, 200).await;
    roles.check("update_monitor");
    client.send(Method::DELETE, &monitor, None, 200).await;
    roles.check("delete_monitor");

    let simulation = project.create(json!({ "objective_ids": [objective], "target_conversations": 3 })).await;
    roles.check("create_simulation");
    app.run_jobs().await;
    roles.check("run_jobs");
    let conversations = project.test_conversations(&simulation).await;
    roles.check("list_conversations");
    conversations[0].start(200).await;
    roles.check("start_conversation");
    let wanted = json!({ "agent_ids": [project.agent], "limit": 1 });
    client.post(&project.path("/conversations/claim"), &wanted, 200).await;
    roles.check("claim_conversations");
    conversations[0].say(None, 200).await;
    roles.check("create_response");
    conversations[0].end(200).await;
    roles.check("end_conversation");
    for list in ["projects", "agents", "objectives", "simulations", "monitors"] {
        let path =
            if list == "projects" { "/v1/projects".to_owned() } else { project.path(&format!("/{list}")) };
        client.get(&path, 200).await;
        roles.check(&format!("list_{list}"));
    }
    project.order(&simulation, "cancel", 200).await;
    roles.check("cancel_simulation");
    app.run_jobs().await;
    roles.check("run_jobs");
    client.send(Method::DELETE, &project.path(&format!("/simulations/{simulation}")), None, 200).await;
    roles.check("delete_simulation");
    app.advance(SignedDuration::from_mins(15));
    app.run_jobs().await;
    roles.check("run_jobs");

    let key = json!({ "name": "CI", "preset": "ci", "all_projects": true });
    let key = id(&client.post("/v1/keys", &key, 200).await);
    roles.check("create_key");
    client.post_empty(&format!("/v1/keys/{key}/rotate"), 200).await;
    roles.check("rotate_key");
    client.post_empty(&format!("/v1/keys/{key}/revoke"), 200).await;
    roles.check("revoke_key");
    client.get("/v1/keys", 200).await;
    roles.check("list_keys");
    client.get("/v1/audit", 200).await;
    roles.check("list_audit");
}

#[tokio::test]
async fn archive_of_the_audit_trail_needs_only_the_rights_of_its_function() {
    let (app, meter) = TestApp::metered().await;
    let roles = Roles { rights: Template::rights(), meter };
    for _ in 0..2 {
        for name in ["One", "Other"] {
            app.root().create_key(json!({ "name": name })).await;
        }
        app.advance(SignedDuration::from_hours(200 * 24));
    }
    roles.meter.take_calls();
    let archiver = crate::audit_archive::archiver(&app, &Arc::default());
    while archiver.step().await.expect("the step succeeds") {
        roles.check("archive_audit");
    }
    roles.check("archive_audit");
    let page = app.root().get("/v1/audit", 200).await;
    assert_eq!(page["archived"], page["head"]);
}

#[tokio::test]
async fn events_of_keys_need_only_the_rights_of_their_functions() {
    let (app, meter) = TestApp::metered().await;
    let roles = Roles { rights: Template::rights(), meter };
    let project = TestProject::open(&app).await;
    let webhook = json!({ "url": "https://example.com/hook" });
    project.client.post(&project.path("/webhooks"), &webhook, 200).await;
    app.next_instant();
    roles.meter.take_calls();

    let client = project.client.with_header("idempotency-key", "key");
    let key = json!({ "name": "CI", "preset": "ci", "project_ids": [project.id], "expires_in_days": 20 });
    let created = client.post("/v1/keys", &key, 200).await;
    roles.check("create_key");
    let at = |rest: &str| format!("/v1/keys/{}{rest}", id(&created));
    client.patch(&at(""), &json!({ "expires_in_days": 30 }), 200).await;
    roles.check("update_key");
    for act in ["disable", "enable"] {
        client.post_empty(&at(&format!("/{act}")), 200).await;
        roles.check(&format!("{act}_key"));
    }
    let client = project.client.with_header("idempotency-key", "rotation");
    let rotated = client.post_empty(&at("/rotate"), 200).await;
    roles.check("rotate_key");
    client.post_empty(&at("/revoke"), 200).await;
    roles.check("revoke_key");
    // The tick, which another function does, is left out.
    app.run_jobs_only(JobKind::Other).await;
    roles.check("run_jobs");
    app.run_jobs_only(JobKind::Outbound).await;
    roles.check("run_outbound_jobs");
    app.advance(SignedDuration::from_hours(23 * 24));
    app.run_jobs_only(JobKind::Other).await;
    roles.check("run_jobs");
    app.run_jobs_only(JobKind::Outbound).await;
    roles.check("run_outbound_jobs");
    app.anonymous().post("/v1/keys/revoke-leaked", &json!({ "keys": [rotated["key"]] }), 202).await;
    roles.check("revoke_leaked_keys");
    app.run_jobs_only(JobKind::Other).await;
    roles.check("run_jobs");
    app.run_jobs_only(JobKind::Outbound).await;
    let received = app.target().take_received();
    let types: Vec<_> = received.iter().map(|one| one.json()["type"].clone()).collect();
    let expected = ["created", "disabled", "expiring", "revoked", "revoked", "rotated"];
    let mut types: Vec<_> = types.iter().filter_map(Value::as_str).collect();
    types.sort_unstable();
    assert_eq!(types, expected.map(|word| format!("key.{word}")));
}

#[tokio::test]
async fn batches_need_only_the_rights_of_their_functions() {
    let (app, meter) = TestApp::metered().await;
    let roles = Roles { rights: Template::rights(), meter };
    let project = TestProject::open(&app).await;
    let objective = project.objective("Is kind", "The agent is kind.").await;
    let source = project.simulate(json!({})).await;
    roles.meter.take_calls();

    let client = project.client.with_header("idempotency-key", "nightly");
    let defaults = project.wanted(json!({ "objective_ids": [objective], "target_conversations": 1 }));
    let body = json!({
        "name": "Nightly", "defaults": defaults, "items": [{}, { "personas_from": source }, {}], "max_in_flight": 2,
    });
    let created = client.post(&project.path("/simulations/batch"), &body, 202).await;
    roles.check("create_batch");
    client.post(&project.path("/simulations/batch"), &body, 202).await;
    roles.check("create_batch");
    app.run_jobs().await;
    roles.check("run_jobs");
    let batch = |rest: &str| project.path(&format!("/batches/{}{rest}", id(&created)));
    project.client.get(&batch(""), 200).await;
    roles.check("get_batch");
    project.client.get(&batch("/items"), 200).await;
    roles.check("list_batch_items");
    for sort in ["created_at", "name"] {
        project.get(&format!("/batches?sort_by={sort}")).await;
        roles.check("list_batches");
    }
    let batch_id = id(&created);
    project.get(&format!("/simulations?batch_id={batch_id}&created_after=2020-01-01T00:00:00Z")).await;
    roles.check("list_simulations");
    project.order(&text(&created["simulation_ids"], 0), "cancel", 200).await;
    roles.check("cancel_simulation");
    app.run_jobs().await;
    roles.check("run_jobs");
}

#[tokio::test]
async fn webhooks_need_only_the_rights_of_their_functions() {
    let (app, meter) = TestApp::metered().await;
    let roles = Roles { rights: Template::rights(), meter };
    let project = TestProject::open(&app).await;
    roles.meter.take_calls();

    let client = project.client.with_header("idempotency-key", "webhook");
    let body = json!({ "url": "https://example.com/hook" });
    let webhook = id(&client.post(&project.path("/webhooks"), &body, 200).await);
    roles.check("create_webhook");
    let at = |rest: &str| project.path(&format!("/webhooks/{webhook}{rest}"));
    client.get(&project.path("/webhooks"), 200).await;
    roles.check("list_webhooks");
    client.get(&at(""), 200).await;
    roles.check("get_webhook");
    client.patch(&at(""), &json!({ "description": "Team" }), 200).await;
    roles.check("update_webhook");
    let client = project.client.with_header("idempotency-key", "rotation");
    client.post(&at("/rotate_secret"), &json!({}), 200).await;
    roles.check("rotate_webhook_secret");
    app.next_instant();
    let client = project.client.with_header("idempotency-key", "test");
    let delivery = id(&client.post(&at("/test"), &json!({}), 200).await);
    roles.check("test_webhook");
    // A failure, a success, and a target that wants no more.
    app.target().answer_with([500, 200, 410]);
    app.run_jobs_only(JobKind::Outbound).await;
    roles.check("run_outbound_jobs");
    app.advance(SignedDuration::from_mins(1));
    app.run_jobs_only(JobKind::Outbound).await;
    roles.check("run_outbound_jobs");
    client.get(&format!("{}&state=delivered", at("/deliveries")), 200).await;
    roles.check("list_webhook_deliveries");
    client.get(&at(&format!("/deliveries/{delivery}")), 200).await;
    roles.check("get_webhook_delivery");
    let client = project.client.with_header("idempotency-key", "replay");
    client.post(&at(&format!("/deliveries/{delivery}/replay")), &json!({}), 200).await;
    roles.check("replay_webhook_delivery");
    app.run_jobs_only(JobKind::Outbound).await;
    roles.check("run_outbound_jobs");
    client.patch(&at(""), &json!({ "state": "enabled" }), 200).await;
    roles.check("update_webhook");
    let simulation = project.create(json!({})).await;
    project.order(&simulation, "cancel", 200).await;
    roles.meter.take_calls();
    app.run_jobs_only(JobKind::Other).await;
    roles.check("run_jobs");
    app.run_jobs_only(JobKind::Outbound).await;
    roles.check("run_outbound_jobs");
    client.send(Method::DELETE, &at(""), None, 200).await;
    roles.check("delete_webhook");
}

#[tokio::test]
async fn endpoints_need_only_the_rights_of_their_functions() {
    let (app, meter) = TestApp::metered().await;
    let roles = Roles { rights: Template::rights(), meter };
    let reply = json!({ "choices": [{ "message": { "role": "assistant", "content": "Done." } }] });
    app.target().answer_with_document(reply);
    let project = TestProject::open(&app).await;
    let path = project.path(&format!("/agents/{}/endpoint", project.agent));
    roles.meter.take_calls();
    let body = json!({
        "target": { "openai": { "url": "https://agent.example.com", "model": "desk" } },
        "credential": { "value": "Bearer x" },
        "max_in_flight": 1,
        "max_calls_per_minute": 60,
    });
    project.client.send(Method::PUT, &path, Some(&body), 200).await;
    roles.check("put_agent_endpoint");
    let simulation = project.create(json!({ "target_conversations": 2 })).await;
    roles.meter.take_calls();
    // The first answer of the agent is a failure.
    app.target().answer_with([500]);
    for _ in 0..60 {
        app.run_jobs_only(JobKind::Other).await;
        roles.check("run_jobs");
        app.run_jobs_only(JobKind::Outbound).await;
        roles.check("run_outbound_jobs");
        app.run_jobs_only(JobKind::Judging).await;
        roles.check("run_jobs");
        app.advance(SignedDuration::from_secs(10));
    }
    assert_eq!(project.status(&simulation).await, "completed");
    roles.meter.take_calls();
    project.client.send(Method::DELETE, &path, None, 200).await;
    roles.check("delete_agent_endpoint");
}

#[tokio::test]
async fn imports_need_only_the_rights_of_their_functions() {
    let (app, meter) = TestApp::metered().await;
    let roles = Roles { rights: Template::rights(), meter };
    let project = TestProject::open(&app).await;
    let objective = project.objective("Refunds", "check: agent says /refund/i").await;
    roles.meter.take_calls();

    let client = project.client.with_header("idempotency-key", "week 48");
    let message = |role: &str, words: &str| json!({ "role": role, "content": words });
    let messages = [message("user", &"a".repeat(30_000)), message("assistant", "A refund is on its way.")];
    let body = json!({
        "agent_id": project.agent, "name": "Chats", "objective_ids": [objective],
        "conversations": vec![json!({ "messages": messages }); 30],
    });
    for _ in 0..2 {
        client.post(&project.path("/simulations/import"), &body, 200).await;
        roles.check("import_simulation");
    }
    app.run_jobs().await;
    roles.check("run_jobs");
}

fn text(list: &Value, place: usize) -> String {
    list[place].as_str().expect("a text").to_owned()
}
