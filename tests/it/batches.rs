//! Batches: many simulations by one call.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use onerun_domain::{Job, Work};
use onerun_tests::{app::TestApp, eventually, process::Server};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, data, id, merge, text};

/// As many simulations as one batch may have.
const MOST: usize = 1_000;

impl TestProject<'_> {
    /// The input of a batch of simulations of the project's agent, changed by `changes`.
    fn wanted_batch(&self, items: usize, changes: Value) -> Value {
        let mut body = json!({
            "name": "All agents",
            "defaults": self.wanted(json!({ "name": null, "seed": null, "auto_approve": null })),
            "items": vec![json!({}); items],
        });
        merge(&mut body, changes);
        body
    }

    async fn create_batch(&self, items: usize, changes: Value) -> Value {
        self.client.post(&self.path("/simulations/batch"), &self.wanted_batch(items, changes), 202).await
    }

    async fn refused_batch(&self, items: usize, changes: Value) -> Vec<(String, String)> {
        let body = self.wanted_batch(items, changes);
        let problem = self.client.post(&self.path("/simulations/batch"), &body, 422).await;
        assert_eq!(code(&problem), "invalid_request");
        let errors = problem["errors"].as_array().unwrap();
        let pointer = |error| text(error, "pointer").trim_start_matches('#').to_owned();
        errors.iter().map(|error| (pointer(error), text(error, "detail"))).collect()
    }

    async fn batch(&self, batch: &Value) -> Value {
        self.get(&format!("/batches/{}", id(batch))).await
    }

    async fn batch_order(&self, batch: &Value, what: &str, status: u16) -> Value {
        self.client.post_empty(&self.path(&format!("/batches/{}/{what}", id(batch))), status).await
    }

    /// All items of a batch, read page by page.
    async fn items(&self, batch: &Value) -> Vec<Value> {
        let (mut items, mut query) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/batches/{}/items?limit=300{query}", id(batch))).await;
            items.extend_from_slice(data(&page));
            let Some(cursor) = page["next_cursor"].as_str() else { return items };
            query = format!("&cursor={cursor}");
        }
    }

    /// The ids of all simulations of the project, each once.
    async fn simulation_ids(&self) -> BTreeSet<String> {
        let (mut ids, mut query) = (BTreeSet::new(), String::new());
        loop {
            let page = self.get(&format!("/simulations?limit=100{query}")).await;
            for simulation in data(&page) {
                assert!(ids.insert(id(simulation)), "{simulation} is listed twice");
            }
            let Some(cursor) = page["next_cursor"].as_str() else { return ids };
            query = format!("&cursor={cursor}");
        }
    }

    /// Holds the conversations of a simulation.
    async fn hold(&self, simulation: &str) {
        for conversation in self.test_conversations(simulation).await {
            conversation.hold(&["A refund is on its way."]).await;
        }
        self.app.run_jobs_twice().await;
    }

    async fn cancel(&self, simulation: &str) {
        self.order(simulation, "cancel", 200).await;
        self.app.run_jobs_twice().await;
    }

    fn advance(&self, batch: &Value) -> Job {
        let batch = id(batch).parse().unwrap();
        Job::new(self.id.parse().unwrap(), Work::AdvanceBatch { batch })
    }
}

fn ids(created: &Value) -> Vec<String> {
    let ids = created["simulation_ids"].as_array().unwrap();
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// The counts of a batch that are not 0, in words.
fn counts(batch: &Value) -> String {
    let statuses = ["queued", "in_progress", "completed", "failed", "canceled", "expired"];
    let counts = statuses.iter().filter(|status| batch["counts"][**status] != 0);
    counts.map(|status| format!("{} {status}", batch["counts"][*status])).collect::<Vec<_>>().join(", ")
}

fn statuses(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| text(item, "status")).collect()
}

/// Runs a future until it waits for the `polls`-th time, and drops it there, as a killed process does. Returns whether
/// it ended before.
pub(crate) async fn interrupted<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

#[tokio::test]
async fn batch_has_its_shape_on_every_route() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let changes = json!({
        "items": [{}, { "name": "Second", "max_turns": 9, "target_personas": 2, "target_conversations": 2 }],
        "max_in_flight": 7,
        "max_in_flight_per_agent": 3,
        "metadata": { "team": "qa" },
    });
    let created = project.create_batch(0, changes).await;
    let mut expected = json!({
        "id": created["id"],
        "project_id": project.id,
        "name": "All agents",
        "status": "in_progress",
        "counts": {
            "total": 2, "queued": 2, "in_progress": 0, "completed": 0, "failed": 0, "canceled": 0, "expired": 0,
        },
        "max_in_flight": 7,
        "max_in_flight_per_agent": 3,
        "metadata": { "team": "qa" },
        "created_by": "root",
        "created_at": app.now_text(),
        "updated_at": app.now_text(),
        "ended_at": null,
    });
    assert_eq!(project.batch(&created).await, expected);
    assert_eq!(project.get("/batches").await["data"], json!([expected]));
    let simulations = ids(&created);
    merge(&mut expected, json!({ "simulation_ids": simulations }));
    assert_eq!(created, expected);

    app.next_instant();
    app.run_jobs_twice().await;
    let item = |index: usize| {
        json!({
            "index": index,
            "status": "in_progress",
            "simulation_id": simulations[index],
            "agent_id": project.agent,
            "attempt": 1,
            "failure_reason": null,
        })
    };
    assert_eq!(project.items(&created).await, [item(0), item(1)]);
    let second = project.simulation(&simulations[1]).await;
    let of = |field: &str| second[field].clone();
    assert_eq!(
        (of("name"), of("max_turns"), of("batch_id")),
        (json!("Second"), json!(9), created["id"].clone())
    );
    assert_eq!((of("auto_approve"), of("target_personas")), (json!(true), json!(2)));
    let first = project.simulation(&simulations[0]).await;
    assert_eq!((&first["name"], &first["max_turns"]), (&json!("All agents"), &json!(5)));
    assert_ne!(first["seed"], second["seed"]);

    let other = TestProject::open(&app).await;
    for rest in ["", "/items"] {
        let path = other.path(&format!("/batches/{}{rest}", id(&created)));
        assert_eq!(code(&other.client.get(&path, 404).await), "batch_not_found");
    }
    for what in ["cancel", "rerun"] {
        assert_eq!(code(&other.batch_order(&created, what, 404).await), "batch_not_found");
    }
}

#[tokio::test]
async fn batch_counts_its_simulations_until_the_last_ends() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let created = project.create_batch(3, json!({})).await;
    let simulations = ids(&created);
    app.run_jobs_twice().await;
    project.hold(&simulations[0]).await;
    assert_eq!(counts(&project.batch(&created).await), "2 in_progress, 1 completed");
    project.cancel(&simulations[1]).await;
    assert_eq!(counts(&project.batch(&created).await), "1 in_progress, 1 completed, 1 canceled");
    assert_eq!(project.batch(&created).await["ended_at"], json!(null));
    app.advance(jiff::SignedDuration::from_hours(25));
    app.run_jobs_twice().await;
    let batch = project.batch(&created).await;
    assert_eq!(counts(&batch), "1 completed, 1 canceled, 1 expired");
    assert_eq!((&batch["status"], &batch["ended_at"]), (&json!("failed"), &json!(app.now_text())));
    let items = project.items(&created).await;
    assert_eq!(statuses(&items), ["completed", "canceled", "expired"]);
    let failed = project.get(&format!("/batches/{}/items?status=expired", id(&created))).await;
    assert_eq!(data(&failed), &items[2..]);
    assert_eq!(code(&project.batch_order(&created, "cancel", 409).await), "batch_over");
}

#[tokio::test]
async fn batch_starts_no_more_than_its_limits_allow() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let body = json!({ "name": "Second desk" });
    let second = id(&project.client.post(&project.path("/agents"), &body, 200).await);
    let items: Vec<_> =
        (0..6).map(|at| if at < 4 { json!({}) } else { json!({ "agent_id": second }) }).collect();
    let changes = json!({ "items": items, "max_in_flight": 3, "max_in_flight_per_agent": 2 });
    let created = project.create_batch(0, changes).await;
    let simulations = ids(&created);
    app.run_jobs_twice().await;
    let running = |items: &[Value]| -> Vec<usize> {
        (0..items.len()).filter(|at| items[*at]["status"] == "in_progress").collect()
    };
    assert_eq!(running(&project.items(&created).await), [0, 1, 4]);
    project.cancel(&simulations[4]).await;
    assert_eq!(running(&project.items(&created).await), [0, 1, 5]);
    project.cancel(&simulations[1]).await;
    assert_eq!(running(&project.items(&created).await), [0, 2, 5]);
    for simulation in [0, 5, 2, 3] {
        project.cancel(&simulations[simulation]).await;
    }
    let batch = project.batch(&created).await;
    assert_eq!((counts(&batch).as_str(), &batch["status"]), ("6 canceled", &json!("failed")));
}

#[tokio::test]
async fn thousand_simulations_are_created_once_despite_interruptions() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let created = project.create_batch(MOST, json!({ "max_in_flight": MOST })).await;
    let simulations = ids(&created);
    assert_eq!(simulations.iter().collect::<BTreeSet<_>>().len(), MOST);
    let job = project.advance(&created);
    // Interrupted everywhere in a step: from its first read to its last write.
    for polls in (0..60).chain((60..400).step_by(17)) {
        interrupted(app.engine().handle_job(&job), polls).await;
        // The store ends what the process had sent to it before.
        assert!(project.simulation_ids().await.len() <= MOST);
        if counts(&project.batch(&created).await).starts_with("1000 in_progress") {
            break;
        }
    }
    let unfinished = || async { project.batch(&created).await["counts"]["queued"] != 0 };
    while unfinished().await {
        let (one, other) = tokio::join!(app.engine().handle_job(&job), app.engine().handle_job(&job));
        one.and(other).expect("two deliveries at once succeed");
    }
    assert_eq!(counts(&project.batch(&created).await), "1000 in_progress");
    assert_eq!(project.simulation_ids().await, simulations.into_iter().collect());
    let agent = project.get(&format!("/agents/{}", project.agent)).await;
    assert_eq!(agent["total_simulations"], MOST);
}

#[tokio::test]
async fn repeated_call_is_a_replay() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let keyed = project.client.with_header("idempotency-key", "nightly");
    let path = project.path("/simulations/batch");
    let body = project.wanted_batch(3, json!({}));
    let (first, second) = tokio::join!(keyed.post(&path, &body, 202), keyed.post(&path, &body, 202));
    assert_eq!(first, second);
    app.run_jobs_twice().await;
    assert_eq!(keyed.post(&path, &body, 202).await, first);
    let other = keyed.post(&path, &project.wanted_batch(4, json!({})), 422).await;
    assert_eq!(code(&other), "idempotency_key_reused");
    app.run_jobs_twice().await;
    assert_eq!(project.simulation_ids().await, ids(&first).into_iter().collect());
    assert_eq!(data(&project.get("/batches").await).len(), 1);
}

#[tokio::test]
async fn every_wrong_item_is_named_and_nothing_is_created() {
    let app = TestApp::start();
    let (project, other) = (TestProject::open(&app).await, TestProject::open(&app).await);
    let foreign_objective = other.objective("Foreign", "Is polite.").await;
    let mut items = vec![json!({}); 20];
    items[17] = json!({ "agent_id": other.agent });
    items[3] = json!({ "agent_id": "AAAAAAAAAAAA" });
    items[4] = json!({ "objective_ids": [foreign_objective] });
    items[5] = json!({ "personas_from": "AAAAAAAAAAAAAAAAAAAAA" });
    items[6] = json!({ "models": { "judge": "openai:unknown" } });
    let wrong = project.refused_batch(0, json!({ "items": items })).await;
    let pointers: Vec<_> = wrong.iter().map(|(pointer, _)| pointer.as_str()).collect();
    let expected = [
        "/items/3/agent_id",
        "/items/4/objective_ids",
        "/items/5/personas_from",
        "/items/6/models",
        "/items/17/agent_id",
    ];
    assert_eq!(pointers, expected);
    assert!(wrong[4].1.contains(&other.agent) && wrong[4].1.contains("does not exist in this project"));

    let mut items = vec![json!({}); 20];
    items[17] = json!({ "agent_id": "no id", "target_conversations": 0, "unknown": 1 });
    items[18] = json!("text");
    let wrong = project.refused_batch(0, json!({ "items": items })).await;
    let pointers: Vec<_> = wrong.iter().map(|(pointer, _)| pointer.as_str()).collect();
    let fields = ["/items/17/agent_id", "/items/17/target_conversations", "/items/17/unknown", "/items/18"];
    assert_eq!(pointers, fields);

    for (items, detail) in [(0, "must have 1 to 1000 values, and has 0"), (MOST + 1, "and has 1001")] {
        let wrong = project.refused_batch(items, json!({})).await;
        assert!(wrong[0].0 == "/items" && wrong[0].1.contains(detail), "{wrong:?}");
    }
    let foreign = project.wanted(json!({ "agent_id": other.agent, "name": null }));
    let wrong = project.refused_batch(MOST, json!({ "defaults": foreign })).await;
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert_eq!(wrong[0].0, "/defaults/agent_id");
    let wrong = project.refused_batch(MOST, json!({ "defaults": {} })).await;
    assert_eq!((wrong.len(), wrong[0].0.as_str()), (50, "/items/0/agent_id"));
    assert_eq!(data(&project.get("/batches").await), &[] as &[Value]);
}

#[tokio::test]
async fn too_large_settings_are_refused_with_advice() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let persona = |text: &str| json!({ "summary": text, "purpose": "Asks.", "story": text });
    let large = json!({ "personas": vec![persona(&"a".repeat(4_000)); 20] });
    let wrong = project.refused_batch(0, json!({ "items": [{}, large] })).await;
    assert!(wrong[0].0 == "/items/1" && wrong[0].1.contains("personas_from"), "{wrong:?}");
    // The attributes that a persona leaves out are stored, too.
    let many = json!({ "personas": vec![json!({ "summary": "a", "purpose": "b" }); 90] });
    let wrong = project.refused_batch(0, json!({ "items": vec![many; 200] })).await;
    assert!(wrong[0].0 == "/items" && wrong[0].1.contains("`defaults`"), "{wrong:?}");
    let body =
        project.wanted_batch(0, json!({ "items": vec![json!({ "scenario": "a".repeat(4_000) }); 300] }));
    let problem = project.client.post(&project.path("/simulations/batch"), &body, 413).await;
    assert_eq!(code(&problem), "body_too_large");
    let shared = project.wanted(json!({ "scenario": "a".repeat(4_000), "name": null }));
    project.create_batch(MOST, json!({ "defaults": shared })).await;
}

#[tokio::test]
async fn canceled_batch_stops_what_runs_and_starts_nothing() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let created = project.create_batch(60, json!({ "max_in_flight": 40 })).await;
    let simulations = ids(&created);
    app.run_jobs_twice().await;
    project.hold(&simulations[0]).await;
    assert_eq!(counts(&project.batch(&created).await), "19 queued, 40 in_progress, 1 completed");
    let canceled = project.batch_order(&created, "cancel", 200).await;
    assert_eq!((&canceled["status"], &canceled["ended_at"]), (&json!("canceled"), &json!(null)));
    assert_eq!(code(&project.batch_order(&created, "rerun", 409).await), "batch_stopping");
    assert_eq!(project.batch_order(&created, "cancel", 200).await, canceled);
    // Interrupted as well.
    let job = project.advance(&created);
    for polls in [1, 5, 20, 50, 100] {
        interrupted(app.engine().handle_job(&job), polls).await;
    }
    app.run_jobs_twice().await;
    let batch = project.batch(&created).await;
    assert_eq!(counts(&batch), "1 completed, 59 canceled");
    assert_eq!((&batch["status"], &batch["ended_at"]), (&json!("canceled"), &json!(app.now_text())));
    let created_ones = project.simulation_ids().await;
    assert_eq!(created_ones.len(), 41, "nothing was started after the cancel");
    for simulation in &created_ones {
        let expected = if *simulation == simulations[0] { "completed" } else { "canceled" };
        assert_eq!(project.status(simulation).await, expected);
    }
}

#[tokio::test]
async fn rerun_creates_only_what_is_missing() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let created = project.create_batch(4, json!({ "max_in_flight": 3 })).await;
    let simulations = ids(&created);
    app.run_jobs_twice().await;
    project.hold(&simulations[0]).await;
    project.cancel(&simulations[1]).await;
    let keyed = project.client.with_header("idempotency-key", "again");
    let path = project.path(&format!("/batches/{}/rerun", id(&created)));
    let rerun = keyed.post_empty(&path, 200).await;
    assert_eq!(counts(&rerun), "1 queued, 2 in_progress, 1 completed");
    assert_eq!(keyed.post_empty(&path, 200).await, rerun);
    app.run_jobs_twice().await;
    let again = project.items(&created).await;
    assert_eq!(statuses(&again), ["completed", "in_progress", "in_progress", "in_progress"]);
    let attempts: Vec<_> = again.iter().map(|item| item["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 1, 1]);
    assert_ne!(text(&again[1], "simulation_id"), simulations[1]);
    for item in &again[1..] {
        project.hold(&text(item, "simulation_id")).await;
    }
    let batch = project.batch(&created).await;
    assert_eq!((&batch["status"], counts(&batch).as_str()), (&json!("completed"), "4 completed"));
    let unchanged = project.batch_order(&created, "rerun", 200).await;
    assert_eq!(unchanged, batch, "nothing is left to run again");
    assert_eq!(project.simulation_ids().await.len(), 5);
}

#[tokio::test]
async fn simulations_are_listed_by_batch_and_by_time() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    project.create(json!({})).await;
    app.next_instant();
    let middle = app.now_text();
    app.next_instant();
    let created = project.create_batch(3, json!({})).await;
    app.run_jobs_twice().await;
    let list = async |query: &str| -> BTreeSet<String> {
        data(&project.get(&format!("/simulations?{query}")).await).iter().map(id).collect()
    };
    let of_batch: BTreeSet<_> = ids(&created).into_iter().collect();
    assert_eq!(list(&format!("batch_id={}", id(&created))).await, of_batch);
    assert_eq!(list(&format!("created_after={middle}&sort_by=name")).await, of_batch);
    assert_eq!(list(&format!("created_before={middle}")).await.len(), 1);
    assert_eq!(list(&format!("created_after={middle}&created_before={middle}")).await.len(), 0);
    assert_eq!(list("batch_id=AAAAAAAAAAAA").await.len(), 0);
    assert_eq!(list("monitor_id=AAAAAAAAAAAA").await.len(), 0);
    for wrong in ["batch_id=x", "monitor_id=x", "created_after=yesterday", "created_before=2026-11-23"] {
        project.client.get(&project.path(&format!("/simulations?{wrong}")), 422).await;
    }
}

#[tokio::test]
async fn batch_goes_on_when_its_key_is_disabled() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let terms = json!({ "name": "CI", "preset": "ci", "project_ids": [project.id] });
    let key = project.client.create_key(terms).await;
    let client = app.anonymous().with_key(&key.key);
    let path = project.path("/simulations/batch");
    let body = project.wanted_batch(2, json!({ "max_in_flight": 1 }));
    let created = client.post(&path, &body, 202).await;
    assert_eq!(text(&created, "created_by"), key.id);
    project.client.post_empty(&format!("/v1/keys/{}/disable", key.id), 200).await;
    assert_eq!(code(&client.post(&path, &body, 401).await), "inactive_api_key");
    app.run_jobs_twice().await;
    for simulation in ids(&created) {
        project.hold(&simulation).await;
    }
    assert_eq!(project.batch(&created).await["status"], "completed");
}

#[tokio::test]
async fn killed_server_goes_on_with_its_batch() {
    let mut server = Server::start().await;
    let client = server.client();
    let project = id(&client.post("/v1/projects", &json!({ "name": "Refund desk" }), 200).await);
    let path = |rest: &str| format!("/v1/{rest}?project_id={project}");
    let agent = id(&client.post(&path("agents"), &json!({ "name": "Desk" }), 200).await);
    let body = json!({
        "name": "All",
        "defaults": {
            "agent_id": agent,
            "scenario": "A kettle is broken.",
            "target_conversations": 1,
            "target_personas": 1,
        },
        "items": vec![json!({}); MOST],
        "max_in_flight": MOST,
    });
    let created = client.post(&path("simulations/batch"), &body, 202).await;
    let batch = path(&format!("batches/{}", id(&created)));
    for started in [1, 200, 500] {
        // Connections to the killed process are not used again.
        let client = server.client();
        eventually("started simulations", || async {
            let seen = client.get(&batch, 200).await;
            if seen["counts"]["in_progress"].as_u64() >= Some(started) { Ok(()) } else { Err(counts(&seen)) }
        })
        .await;
        server.kill_9();
        server.restart().await;
    }
    let client = server.client();
    eventually("started batch", || async {
        let seen = client.get(&batch, 200).await;
        if counts(&seen) == "1000 in_progress" { Ok(()) } else { Err(counts(&seen)) }
    })
    .await;
    let (mut found, mut query) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{}&limit=100{query}", path("simulations")), 200).await;
        found.extend(data(&page).iter().map(id));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("&cursor={cursor}");
    }
    let mut expected = ids(&created);
    found.sort();
    expected.sort();
    assert!(found == expected, "{} simulations", found.len());
    let canceled = client.post(&path(&format!("batches/{}/cancel", id(&created))), &json!({}), 200).await;
    assert_eq!(canceled["status"], "canceled");
    server.kill_9();
    server.restart().await;
    let client = server.client();
    eventually("canceled batch", || async {
        let seen = client.get(&batch, 200).await;
        if counts(&seen) == "1000 canceled" { Ok(()) } else { Err(counts(&seen)) }
    })
    .await;
}
