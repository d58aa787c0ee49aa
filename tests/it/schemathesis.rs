//! Schemathesis generates requests from the committed OpenAPI document for the real program: no
//! 5xx, nothing undocumented, nothing accepted or refused against the document.
//!
//! `tests/schemathesis/` has the configuration and the checks.

use std::{fs, time::Duration};

use onerun_tests::{
    Client, eventually,
    process::{Process, Server, venv, workspace},
};
use serde_json::{Value, json};

/// Far longer than the run takes on an idle machine.
const DEADLINE: Duration = Duration::from_mins(18);

/// Personas wait for a decision: some get one before the run, the others are there to be decided about.
const PERSONAS: usize = 100;
const APPROVED: usize = 40;
const CONVERSATIONS: usize = 300;
/// Enough that some are left after those that were revoked or rotated.
const KEYS: usize = 100;
/// Enough that some are left after those that were deleted.
const MONITORS: usize = 100;
/// Canceled simulations. Enough that some are left after those that were deleted.
const DELETABLE: usize = 100;
/// Fewer than a project can have, so that some are created.
const WEBHOOKS: usize = 10;
const DELIVERIES: usize = 3;
/// Batches, of which some are canceled and run again.
const BATCHES: usize = 5;
/// The number of conversations of the approved personas.
const QUEUED: usize = APPROVED * CONVERSATIONS / PERSONAS;

#[tokio::test]
async fn every_operation_matches_the_openapi_document() {
    let mut server = Server::start().await;
    let ids = seed_project(&server.client()).await;
    // It writes files to its working directory.
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    for name in ["schemathesis.toml", "hooks.py"] {
        fs::copy(workspace().join("tests/schemathesis").join(name), file(name)).unwrap();
    }
    fs::write(file("ids.json"), ids.to_string()).unwrap();

    let mut command = venv("schemathesis");
    command
        .current_dir(directory.path())
        .env("ONERUN_API_KEY", server.key())
        .env("ONERUN_IDS", file("ids.json"))
        .args(["run", "--url", server.base_url(), "--report", "json", "--report-json-path", "report.json"])
        .arg(workspace().join("openapi.json").canonicalize().unwrap());
    let mut run = Process::spawn(command);
    let status = run.exit(DEADLINE).await;
    assert!(
        status.success(),
        "{status}: {}\n--- the server's log\n{}",
        run.report(),
        complaints(&server.log())
    );

    let report: Value = serde_json::from_str(&fs::read_to_string(file("report.json")).unwrap()).unwrap();
    assert_reached(&report);
    server.client().get("/v1/whoami", 200).await;
    assert_eq!(complaints(&server.final_log().await), "", "the server complained");
}

/// Operations on evaluation runs, which only a simulation that has ended can have. The simulation of these
/// tests must not end; `evaluations` tests them.
/// A delivery is replayed once it has ended, and those here wait for their next attempt; `webhooks` tests that.
const NEVER_REACHED: [&str; 3] = [
    "POST /v1/simulations/{simulation_id}/evaluations",
    "GET /v1/simulations/{simulation_id}/evaluations/{evaluation_id}",
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
];

/// Each operation was tested, and at least once with a request that was not refused.
fn assert_reached(report: &Value) {
    let operations = &report["operations"];
    assert_eq!(operations["tested"], operations["total"], "{operations}");
    let phases = report["phases"].as_object().expect("the phases");
    assert!(phases.len() == 4 && phases.values().all(|phase| phase["status"] == "success"), "{phases:?}");
    let rates = report["valid_rates"].as_object().expect("the counts of each operation");
    assert_eq!(operations["total"], rates.len());
    for (operation, phases) in rates {
        let phases = phases.as_object().expect("the counts of each phase");
        if NEVER_REACHED.contains(&operation.as_str()) {
            continue;
        }
        let accepted: u64 = phases.values().filter_map(|phase| phase["accepted"].as_u64()).sum();
        assert!(accepted > 0, "{operation} was never reached: {phases:?}");
    }
}

/// Errors and panics in the server's log.
fn complaints(log: &str) -> String {
    log.lines().filter(|line| line.contains("\"ERROR\"") || line.contains("panicked")).collect()
}

/// Creates resources in every state, and returns the ids for each path parameter.
async fn seed_project(client: &Client) -> Value {
    let project = id(&client.post("/v1/projects", &json!({ "name": "Refund desk" }), 200).await);
    let path = |rest: &str| {
        let joint = if rest.contains('?') { '&' } else { '?' };
        format!("/v1/{rest}{joint}project_id={project}")
    };
    let agent = id(&client.post(&path("agents"), &json!({ "name": "Desk" }), 200).await);
    let idle = id(&client.post(&path("agents"), &json!({ "name": "Idle desk" }), 200).await);
    let mut objectives = Vec::new();
    for criteria in ["check: agent says /refund/i", "check: agent replies <= 6", "The agent is kind."] {
        let body = json!({ "name": "Refunds", "criteria": criteria });
        objectives.push(id(&client.post(&path("objectives"), &body, 200).await));
    }
    let wanted = |personas: usize, conversations: usize| {
        json!({
            "agent_id": agent, "name": "Refunds", "scenario": "A customer asks for a refund.", "seed": 1,
            "target_personas": personas, "target_conversations": conversations, "objective_ids": objectives,
            "max_turns": 200,
        })
    };
    let mut to_delete = Vec::new();
    for _ in 0..DELETABLE {
        let simulation = id(&client.post(&path("simulations"), &wanted(1, 1), 200).await);
        client.post_empty(&path(&format!("simulations/{simulation}/cancel")), 200).await;
        to_delete.push(simulation);
    }
    let to_cancel = id(&client.post(&path("simulations"), &wanted(1, 1), 200).await);
    let simulation = id(&client.post(&path("simulations"), &wanted(PERSONAS, CONVERSATIONS), 200).await);

    let of_it = |rest: &str| path(&format!("simulations/{simulation}/{rest}"));
    let personas = all(client, "personas", &of_it("personas"), PERSONAS).await;
    for persona in &personas[..APPROVED] {
        client.post_empty(&of_it(&format!("personas/{persona}/approve")), 200).await;
    }
    let conversations = all(client, "conversations", &of_it("conversations?limit=100"), QUEUED).await;
    for (index, conversation) in conversations.iter().enumerate().take(30) {
        let act = async |action: &str, body: Option<&Value>| {
            let path = of_it(&format!("conversations/{conversation}/{action}"));
            match body {
                Some(body) => client.post(&path, body, 200).await,
                None => client.post_empty(&path, 200).await,
            }
        };
        act("start", None).await;
        if index < 20 {
            act("responses", Some(&json!({ "input": null }))).await;
        }
        if index < 10 {
            act("end", None).await;
        }
    }
    let mut keys = Vec::new();
    for number in 0..KEYS {
        let body = json!({ "name": format!("Key {number}"), "preset": "ci", "all_projects": true });
        keys.push(id(&client.post("/v1/keys", &body, 200).await));
    }
    let mut monitors = Vec::new();
    for number in 0..MONITORS {
        let body = json!({
            "name": format!("Monitor {number}"),
            "simulation": wanted(1, 1),
            "alert": { "expected_pass_rate": 0.9, "low_pass_rate": 0.7 },
            "state": "paused",
        });
        monitors.push(id(&client.post(&path("monitors"), &body, 200).await));
    }
    let mut webhooks = seed_webhooks(client, &path("webhooks")).await;
    // All deliveries are those of one webhook, which no request deletes.
    let with_deliveries = webhooks.pop();
    let test = path(&format!("webhooks/{}/test", with_deliveries.as_deref().unwrap_or_default()));
    let mut deliveries = Vec::new();
    for _ in 0..DELIVERIES {
        deliveries.push(id(&client.post(&test, &json!({}), 200).await));
    }
    let mut defaults = wanted(1, 1);
    defaults["auto_approve"] = json!(false);
    let mut batches = Vec::new();
    for number in 0..BATCHES {
        let body = json!({ "name": format!("Batch {number}"), "defaults": defaults, "items": [{}] });
        batches.push(id(&client.post(&path("simulations/batch"), &body, 202).await));
    }
    json!({
        "batch_id": batches,
        "webhook_id": webhooks,
        "webhook_with_deliveries_id": [with_deliveries],
        "delivery_id": deliveries,
        "monitor_id": monitors,
        "key_id": keys,
        "project_id": [project],
        "agent_id": [agent],
        "agent_to_claim_id": [idle],
        "objective_id": objectives,
        "simulation_id": [simulation],
        "simulation_to_cancel_id": [to_cancel],
        "simulation_to_delete_id": to_delete,
        "persona_id": personas,
        "held_conversation_id": conversations[10..40],
        "conversation_id": conversations,
    })
}

/// Creates webhooks. Nothing listens at their URLs, and nothing outside is called.
async fn seed_webhooks(client: &Client, path: &str) -> Vec<String> {
    let mut webhooks = Vec::new();
    for number in 0..WEBHOOKS {
        let body = json!({ "url": format!("https://localhost:8443/{number}") });
        webhooks.push(id(&client.post(path, &body, 200).await));
    }
    webhooks
}

/// The ids on a list, page by page, once it has `count` of them.
async fn all(client: &Client, what: &str, path: &str, count: usize) -> Vec<String> {
    eventually(&format!("list of {count} {what}"), || async {
        let mut found = Vec::new();
        loop {
            let page = client.get(&format!("{path}&offset={}", found.len()), 200).await;
            found.extend(page["data"].as_array().expect("a list").iter().map(id));
            if page["has_more"] == false {
                break;
            }
        }
        // Rows inserted between two pages shift them.
        found.sort_unstable();
        found.dedup();
        if found.len() == count { Ok(found) } else { Err(format!("there are {}", found.len())) }
    })
    .await
}

fn id(resource: &Value) -> String {
    resource["id"].as_str().unwrap_or_else(|| panic!("no id in {resource}")).to_owned()
}
