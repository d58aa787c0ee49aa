//! Usage of models: counted, reported, limited and estimated.

use onerun_domain::Outcome;
use onerun_engine::Verdict;
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code};

/// An app whose judge passes everything. Each of its calls reads 765 tokens, writes 40, and costs 0.0015 dollars.
fn judging() -> TestApp {
    let app = TestApp::start();
    let reason = "Because.".to_owned();
    let verdict =
        Verdict { ordinal: None, outcome: Outcome::Passed, score: None, reason, quotes: Vec::new() };
    app.model().on_judge(Behavior::Says(verdict));
    app
}

/// Holds and judges the conversations of a new simulation, and returns its id.
async fn simulated(project: &TestProject<'_>, wanted: Value) -> String {
    let simulation = project.simulate(wanted).await;
    project.app.run_jobs().await;
    for conversation in project.test_conversations(&simulation).await {
        conversation.start(200).await;
        conversation.say(Some("Gladly."), 200).await;
        conversation.end(200).await;
    }
    project.app.run_jobs().await;
    simulation
}

fn usage(calls: u64) -> Value {
    json!({
        "calls": calls, "failed_calls": 0, "unpriced_calls": 0, "input_tokens": 700 * calls,
        "cached_input_tokens": 60 * calls, "cache_write_tokens": 5 * calls, "output_tokens": 40 * calls,
        "reasoning_tokens": 30 * calls, "cost_usd": Value::from((1_500_000 * calls) as f64 / 1e9),
    })
}

fn with(mut usage: Value, member: &str, value: Value) -> Value {
    usage[member] = value;
    usage
}

#[tokio::test]
async fn usage_is_reported_by_simulation_and_project() {
    let app = judging();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Is kind", "The agent is kind.").await;
    let wanted = json!({
        "objective_ids": [objective], "target_conversations": 2, "target_personas": 2, "max_turns": 200,
    });
    let simulation = simulated(&project, wanted.clone()).await;
    let report = &project.results(&simulation).await["usage"];
    assert_eq!(report["total"], usage(2));
    let judge = with(with(usage(2), "purpose", "judge".into()), "model", "offline".into());
    assert_eq!(report["models"], json!([judge]));

    simulated(&project, wanted).await;
    let report = project.get("/usage").await;
    assert_eq!((&report["first"], &report["last"]), (&json!("2025-12-06"), &json!("2026-01-05")));
    assert_eq!(report["total"], usage(4));
    assert_eq!(report["days"], json!([with(usage(4), "day", "2026-01-05".into())]));
    assert_eq!(report["keys"], json!([with(usage(4), "key_id", "root".into())]));
    let earlier = project.get("/usage?first=2025-12-01&last=2026-01-04").await;
    assert_eq!((&earlier["total"]["calls"], &earlier["days"]), (&json!(0), &json!([])));
    let other = TestProject::open(&app).await;
    assert_eq!(other.get("/usage").await["total"]["calls"], 0);
}

#[tokio::test]
async fn usage_of_too_many_days_is_refused() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for query in
        ["first=2026-01-01&last=2026-04-04", "first=2026-01-02&last=2026-01-01", "first=2026-1-1", "last=x"]
    {
        let problem = project.client.get(&project.path(&format!("/usage?{query}")), 422).await;
        assert_eq!(code(&problem), "invalid_request", "{query}");
    }
    project.get("/usage?first=2026-01-01&last=2026-04-03").await;
}

#[tokio::test]
async fn simulation_fails_when_it_reaches_its_limit() {
    for (limit, value, reason) in [
        ("max_cost_usd", json!(0.001), "models have cost $0.002, and `max_cost_usd` is $0.001"),
        ("max_tokens", json!(800), "models have used 805 tokens, and `max_tokens` is 800"),
    ] {
        let app = judging();
        let project = TestProject::open(&app).await;
        let objective = project.objective("Is kind", "The agent is kind.").await;
        let mut wanted = json!({
            "objective_ids": [objective], "target_conversations": 3, "target_personas": 1, "max_turns": 200,
        });
        wanted[limit] = value;
        let simulation = project.simulate(wanted).await;
        app.run_jobs().await;
        let conversations = project.test_conversations(&simulation).await;
        conversations[0].start(200).await;
        conversations[0].say(Some("Gladly."), 200).await;
        conversations[0].end(200).await;
        app.run_jobs().await;
        assert_eq!(project.results(&simulation).await["usage"]["total"], usage(1));
        conversations[1].start(200).await;
        let problem = conversations[1].say(Some("Gladly."), 409).await;
        assert_eq!(code(&problem), "simulation_not_running", "{problem}");
        let seen = project.simulation(&simulation).await;
        assert_eq!((&seen["status"], &seen["last_failure_reason"]), (&json!("failed"), &json!(reason)));
    }
}

#[tokio::test]
async fn estimate_of_the_offline_model_is_nothing() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let path = project.path("/simulations/estimate");
    let wanted = json!({ "target_conversations": 10, "target_personas": 5, "objectives": 2 });
    let estimate = project.client.post(&path, &wanted, 200).await;
    assert_eq!(estimate["models"]["reply"], "offline");
    for length in ["typical", "longest"] {
        assert_eq!(estimate[length]["total"]["calls"], 0);
        assert_eq!(estimate[length]["models"], json!([]));
    }
    let mut foreign = wanted;
    foreign["models"] = json!({ "judge": "openai:gpt-5.4" });
    assert_eq!(code(&project.client.post(&path, &foreign, 422).await), "model_not_allowed");
}
