//! Personas, replies and verdicts of chat models, through the functions and with the rights of the template.

use onerun_tests::{
    aws::{Cloud, MODEL_KEYS_SECRET, sqs_event},
    provider::{PROVIDER_KEY, Provider, Role, Wire, play},
    sdk::{SdkProject, SimulationFields, id},
};
use serde_json::{Value, json};

const ONE: SimulationFields<'static> =
    SimulationFields { name: "A refund", conversations: 1, personas: 1, expires_in_seconds: None };

/// A deployment with the scripted provider, without the variable of its key.
async fn deploy(provider: &Provider, wire: Wire) -> Cloud {
    deploy_with(provider, wire, &[]).await
}

/// The same with further variables.
pub(super) async fn deploy_with(provider: &Provider, wire: Wire, changes: &[(&str, &str)]) -> Cloud {
    let variables = provider.variables(wire, "test");
    let variables = variables.iter().filter(|(name, _)| !name.ends_with("_API_KEY"));
    let variables = variables.map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: Vec<(&str, &str)> = variables.chain(changes.iter().copied()).collect();
    Cloud::start_with(&variables).await
}

/// The text of the secret with the keys of models.
pub(super) fn model_keys() -> String {
    json!({ "OPENAI_API_KEY": PROVIDER_KEY, "ANTHROPIC_API_KEY": PROVIDER_KEY }).to_string()
}

/// Delivers messages of jobs until there are none.
async fn run_jobs(cloud: &Cloud) {
    for _round in 0..100 {
        let messages = cloud.job_messages().await;
        if messages.is_empty() {
            assert_eq!(cloud.jobs().await, Vec::<Value>::new());
            return;
        }
        for message in messages {
            let answer = cloud.function("run_jobs").run(&sqs_event(&[&message], 1)).await;
            assert_eq!(answer, json!({ "batchItemFailures": [] }));
        }
    }
    panic!("jobs enqueue jobs without end: {:?}", cloud.jobs().await);
}

#[tokio::test]
async fn functions_simulate_with_the_provider_of_each_wire() {
    for wire in Wire::ALL {
        let provider = Provider::start(play).await;
        let cloud = deploy(&provider, wire).await;
        cloud.secret.another(MODEL_KEYS_SECRET, Some(&model_keys())).await;
        let mut project = SdkProject::open(cloud.client().await).await;
        let prose = json!({ "name": "Polite", "criteria": "The agent is polite." });
        let objectives = format!("/v1/objectives?project_id={}", project.id);
        project.objectives.push(id(&project.client.post(&objectives, &prose, 200).await));
        let simulation = project.simulate(ONE).await;
        run_jobs(&cloud).await;

        let conversations = project.conversations(&simulation).await;
        let [conversation] = &conversations[..] else { panic!("{wire:?}: {conversations:?}") };
        let path =
            |end: &str| project.path(&simulation, &format!("/conversations/{}/{end}", id(conversation)));
        project.client.post_empty(&path("start"), 200).await;
        let opening = project.client.post(&path("responses"), &json!({ "input": [] }), 200).await;
        assert!(opening.to_string().contains("about the kettle"), "{wire:?}: {opening}");
        let content = json!([{ "type": "text", "text": "How can I help?" }]);
        let input = json!({ "input": [{ "type": "message", "content": content }] });
        let reply = project.client.post(&path("responses"), &input, 200).await;
        assert!(reply.to_string().contains("about the kettle"), "{wire:?}: {reply}");
        project.client.post_empty(&path("end"), 200).await;
        run_jobs(&cloud).await;

        assert_eq!(project.status(&simulation).await, "completed", "{wire:?}");
        project.assert_evaluated(&simulation, 1).await;
        let parts: Vec<Option<Role>> = provider.calls().iter().map(|call| Role::of(&call.prompt)).collect();
        let expected = [Role::Persona, Role::Message, Role::Message, Role::Judge].map(Some);
        assert_eq!(parts, expected, "{wire:?}");
        assert_eq!(provider.rejected(), [""; 0], "{wire:?}");
        let log = cloud.final_log();
        assert!(!log.contains(PROVIDER_KEY), "{wire:?}: a key is in the log");
    }
}

#[tokio::test]
async fn unreadable_model_keys_fail_turns_alone() {
    let provider = Provider::start(play).await;
    let cloud = deploy(&provider, Wire::ChatCompletions).await;
    let project = SdkProject::open(cloud.client().await).await;
    let body = json!({
        "agent_id": project.agent,
        "name": "Mixed",
        "scenario": "A customer asks for a refund of a kettle that arrived broken.",
        "target_conversations": 1,
        "target_personas": 1,
        "auto_approve": true,
        "objective_ids": project.objectives,
        "models": { "persona": "offline", "judge": "offline" },
    });
    let simulations = format!("/v1/simulations?project_id={}", project.id);
    let simulation = id(&project.client.post(&simulations, &body, 200).await);
    run_jobs(&cloud).await;
    let conversation = id(&project.conversations(&simulation).await[0]);
    let path = |end: &str| project.path(&simulation, &format!("/conversations/{conversation}/{end}"));
    project.client.post_empty(&path("start"), 200).await;

    let refused = project.client.post(&path("responses"), &json!({ "input": [] }), 503).await;
    assert_eq!(refused["code"], "model_unavailable", "{refused}");
    let function = cloud.function("create_response");
    assert!(function.log().contains("the keys of models were not read"), "{}", function.log());
    project.client.get(&project.path(&simulation, ""), 200).await;
    assert!(provider.calls().is_empty());
}
