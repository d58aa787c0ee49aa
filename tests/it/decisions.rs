//! Judging by a decision model.

use onerun_tests::{
    decisions::DecisionServer,
    process::Server,
    sdk::{SdkProject, text},
};
use serde_json::{Value, json};

/// A project of a server whose judge is a decision model.
async fn project(judge: &DecisionServer) -> (Server, SdkProject) {
    let variables = judge.variables();
    let server = Server::start_with(&variables.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    let project = SdkProject::open(server.client()).await;
    (server, project)
}

/// The prose objective's evaluation of an imported conversation, and the simulation's results.
async fn judged(probabilities: [f64; 3]) -> (Value, Value) {
    let judge = DecisionServer::start(probabilities).await;
    let (_server, project) = project(&judge).await;
    let simulation = project.import("Last week").await;
    project.reaches(&simulation, "completed").await;
    assert_eq!(judge.requests().len(), 1, "one request for all objectives");
    let conversations = project.conversations(&simulation).await;
    let evaluations = conversations[0]["evaluations"].as_array().unwrap();
    let of_prose = |one: &&Value| one["objective_id"] == project.objectives[0].as_str();
    let evaluation = evaluations.iter().find(of_prose).unwrap().clone();
    (evaluation, project.client.get(&project.path(&simulation, "/results"), 200).await)
}

#[tokio::test]
async fn decision_model_judges_prose_with_a_band() {
    for (probabilities, outcome, score) in [
        ([0.9, 0.08, 0.02], "passed", json!(0.9)),
        ([0.2, 0.7, 0.1], "failed", json!(0.2)),
        ([0.5, 0.4, 0.1], "inconclusive", Value::Null),
    ] {
        let (evaluation, results) = judged(probabilities).await;
        assert_eq!(text(&evaluation, "outcome"), outcome, "{evaluation}");
        assert_eq!(evaluation["score"], score, "{evaluation}");
        let said = format!("met {}%", probabilities[0] * 100.0);
        assert!(text(&evaluation, "reason").contains(&said), "{evaluation}");
        let usage = &results["usage"]["total"];
        assert_eq!(usage["calls"], 1, "{results}");
        assert_eq!(usage["output_tokens"], 0, "{results}");
        assert!(usage["cost_usd"].as_f64().unwrap() > 0.0, "{results}");
    }
}

#[tokio::test]
async fn decision_model_is_refused_for_replies() {
    let judge = DecisionServer::start([0.9, 0.1, 0.0]).await;
    let (_server, project) = project(&judge).await;
    let body = json!({
        "agent_id": project.agent, "name": "Refunds", "scenario": "A kettle arrived broken.",
        "target_conversations": 1, "target_personas": 1, "objective_ids": project.objectives,
        "models": {"reply": "openai-decisions:gpt-6-luna"},
    });
    let path = format!("/v1/simulations?project_id={}", project.id);
    let problem = project.client.post(&path, &body, 422).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/models/reply", "{problem}");
    assert!(text(&problem["errors"][0], "detail").contains("only judges"), "{problem}");
}
