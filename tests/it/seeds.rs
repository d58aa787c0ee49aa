//! The same seed gives the same simulation, ids and times aside.

use onerun_tests::app::TestApp;
use serde_json::{Value, json};

use crate::fixtures::{TestProject, data};

const LINES: [&str; 4] = [
    "I am sorry. Could you give me your order number?",
    "Thank you. Would you like a refund or a replacement?",
    "I have issued the refund. Is there anything else?",
    "Good bye.",
];

/// Ids and times stand for themselves alone: those of one run are taken out, wherever they are.
fn without_ids_and_times(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .filter(|(name, _)| *name != "id" && !name.ends_with("_id") && !name.ends_with("_at"))
            .map(|(name, value)| (name.clone(), without_ids_and_times(value)))
            .collect(),
        Value::Array(values) => values.iter().map(without_ids_and_times).collect(),
        other => other.clone(),
    }
}

/// A whole simulation: personas, messages and evaluations.
async fn run(project: &TestProject<'_>, objectives: &[String], seed: u64) -> Value {
    let simulation = project
        .simulate(json!({
            "target_conversations": 5,
            "target_personas": 3,
            "max_turns": 12,
            "seed": seed,
            "objective_ids": objectives,
        }))
        .await;
    for conversation in project.test_conversations(&simulation).await {
        conversation.hold(&LINES).await;
    }
    project.app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "completed");
    let mut said = Vec::new();
    for conversation in project.test_conversations(&simulation).await {
        said.push(json!([conversation.see().await, conversation.items().await]));
    }
    let whole = json!([
        project.personas(&simulation).await,
        said,
        project.results(&simulation).await,
        data(&project.get(&format!("/simulations/{simulation}/personas")).await),
    ]);
    without_ids_and_times(&whole)
}

#[tokio::test]
async fn same_seed_repeats_personas_words_and_evaluations() {
    let (app, other) = (TestApp::start(), TestApp::start());
    let (project, elsewhere) = (TestProject::open(&app).await, TestProject::open(&other).await);
    let mut objectives = [Vec::new(), Vec::new()];
    for (project, objectives) in [&project, &elsewhere].into_iter().zip(&mut objectives) {
        objectives
            .push(project.objective("Helps", "check: agent says /refund/i\ncheck: persona ended").await);
        objectives.push(project.objective("Is kind", "The agent is kind.").await);
    }
    let first = run(&project, &objectives[0], 7).await;
    // In the same store, with other ids; and in another, at another time.
    assert_eq!(run(&project, &objectives[0], 7).await, first);
    other.set_now("2031-07-01T00:00:00Z".parse().unwrap());
    assert_eq!(run(&elsewhere, &objectives[1], 7).await, first);
}

#[tokio::test]
async fn different_seeds_give_different_personas_and_words() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let first = run(&project, &[], 7).await;
    for seed in [8, (1 << 53) - 1] {
        let other = run(&project, &[], seed).await;
        assert_ne!(other[0], first[0], "the personas");
        assert_ne!(other[1], first[1], "the conversations");
    }
}

#[tokio::test]
async fn two_conversations_of_one_persona_differ() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_conversations": 20, "max_turns": 12 })).await;
    let mut openings = std::collections::BTreeSet::new();
    for conversation in project.test_conversations(&simulation).await {
        conversation.say(None, 200).await;
        openings.insert(conversation.transcript().await[0].1.clone());
    }
    assert!(openings.len() > 10, "{openings:?}");
}

#[tokio::test]
async fn new_attempt_repeats_the_personas_words() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 12 })).await;
    conversation.start(200).await;
    let first = conversation.say(None, 200).await;
    app.advance(jiff::SignedDuration::from_secs(300));
    app.run_jobs().await;
    conversation.start(200).await;
    assert_eq!(conversation.say(None, 200).await, first);
}

#[tokio::test]
async fn simulation_without_a_seed_gets_a_random_one() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut seeds = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let simulation = project.create(json!({ "seed": null })).await;
        seeds.insert(project.simulation(&simulation).await["seed"].as_u64().unwrap());
    }
    assert_eq!(seeds.len(), 5);
}
