//! The unmodified SDK completes simulations whose personas, replies and verdicts come from a real model.

use std::{collections::BTreeSet, time::Duration};

use onerun_tests::{
    eventually_within,
    process::Server,
    provider::{Call, Converse, Faults, LanguageModel, Provider, Role, Upstream, Wire, similarities},
    sdk::{SdkProject, id, text},
};
use serde_json::{Value, json};

const CONVERSATIONS: usize = 10;

/// Fewer than conversations, because a persona takes the model longer than a conversation.
const PERSONAS: usize = 5;

/// The time for a whole simulation, on a machine that is busy with other work.
const LIMIT: Duration = Duration::from_mins(13);

/// Two texts with a higher similarity say the same.
const SAME: f64 = 0.95;

#[tokio::test]
async fn sdk_completes_over_chat_completions() {
    completes_over(Wire::ChatCompletions).await;
}

#[tokio::test]
async fn sdk_completes_over_messages() {
    completes_over(Wire::Messages).await;
}

#[tokio::test]
async fn sdk_completes_over_converse() {
    completes_over(Wire::Converse).await;
}

async fn completes_over(wire: Wire) {
    let model = LanguageModel::start().await;
    // Converse asks through a provider of its own, which shows that the model was asked.
    let inner = Provider::before(Faults::none(), Upstream::new(&model)).await;
    let converse = Converse::start(&inner.url()).await;
    let upstream = Upstream::new(&model).with_converse(&converse);
    let provider = Provider::before(Faults::none(), upstream).await;
    let mut variables = provider.variables(wire, "smollm2");
    variables.push(("ONERUN_LEASE_SECONDS".to_owned(), "60".to_owned()));
    variables.push(("ONERUN_TURN_SECONDS".to_owned(), "100".to_owned()));
    variables.push(("ONERUN_MODEL_CONCURRENCY".to_owned(), "2".to_owned()));
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let server = Server::start_with(&variables).await;
    let project = project(&server).await;
    let simulation = simulate(&project).await;

    let _worker = project.worker(&[]);
    eventually_within(LIMIT, "completed simulation", || async {
        let seen = project.client.get(&project.path(&simulation, ""), 200).await;
        match seen["status"].as_str() {
            Some("completed") => Ok(()),
            Some("failed") => panic!("{seen}\n{}", server.log()),
            _ => Err(format!("{seen}\n{}", server.log())),
        }
    })
    .await;

    assert_eq!(provider.rejected(), [""; 0]);
    project.assert_evaluated(&simulation, CONVERSATIONS).await;
    let calls = provider.calls();
    let stories = assert_personas_are_the_model_s(&project, &simulation, &calls).await;
    assert_conversations_are_the_model_s(&project, &simulation, &calls).await;
    assert_distinct(&stories).await;
    if wire == Wire::Converse {
        let texts = |calls: &[Call]| -> BTreeSet<String> {
            calls.iter().filter_map(|call| call.text.clone()).collect()
        };
        let compact = |texts: BTreeSet<String>| -> BTreeSet<String> {
            texts.into_iter().map(|text| text.split_whitespace().collect()).collect()
        };
        assert_eq!(compact(texts(&calls)), compact(texts(&inner.calls())), "each answer is the model's");
        assert!(!calls.iter().any(|call| call.text.iter().any(|text| text.contains("[ministack mock"))));
    }
}

/// A project whose only objective is prose, which only a model can judge.
async fn project(server: &Server) -> SdkProject {
    let project = SdkProject::open(server.client()).await;
    let objective = json!({ "name": "Helps", "criteria": "The agent helps the customer." });
    let path = format!("/v1/objectives?project_id={}", project.id);
    let objective = id(&project.client.post(&path, &objective, 200).await);
    SdkProject { objectives: vec![objective], ..project }
}

async fn simulate(project: &SdkProject) -> String {
    let body = json!({
        "agent_id": project.agent,
        "name": "Refunds with a model",
        "scenario": "A customer asks for a refund of a kettle that arrived broken.",
        "target_conversations": CONVERSATIONS,
        "target_personas": PERSONAS,
        "auto_approve": true,
        "max_turns": 2,
        "objective_ids": project.objectives,
    });
    id(&project.client.post(&format!("/v1/simulations?project_id={}", project.id), &body, 200).await)
}

/// The values of a member in the model's answers for one purpose.
fn written(calls: &[Call], role: Role, member: &str) -> Vec<String> {
    let answers = calls
        .iter()
        .filter(|call| Role::of(&call.prompt) == Some(role))
        .filter_map(|call| call.text.as_ref());
    let answers = answers.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let mut texts = Vec::new();
    for answer in answers {
        match &answer["verdicts"] {
            Value::Array(verdicts) => texts.extend(verdicts.iter().map(|verdict| text(verdict, member))),
            _ => texts.push(text(&answer, member)),
        }
    }
    texts.iter().map(|text| text.trim().to_owned()).collect()
}

/// Every persona's story begins with one that the model wrote. Returns the stories.
async fn assert_personas_are_the_model_s(
    project: &SdkProject,
    simulation: &str,
    calls: &[Call],
) -> Vec<String> {
    let written = written(calls, Role::Persona, "story");
    let page = project.client.get(&format!("{}&limit=100", project.path(simulation, "/personas")), 200).await;
    let personas = page["data"].as_array().expect("a page has data");
    assert_eq!(personas.len(), PERSONAS);
    let stories: Vec<String> = personas.iter().map(|persona| text(persona, "story")).collect();
    for story in &stories {
        assert!(
            written.iter().any(|written| story.starts_with(written.as_str())),
            "not the model's: {story}"
        );
    }
    stories
}

/// Every message of a persona and every reason of a verdict on prose is one that the model wrote.
async fn assert_conversations_are_the_model_s(project: &SdkProject, simulation: &str, calls: &[Call]) {
    let messages: BTreeSet<String> = written(calls, Role::Message, "message").into_iter().collect();
    let reasons = written(calls, Role::Judge, "reasoning");
    let mut said = 0;
    for conversation in project.conversations(simulation).await {
        let path = project.path(simulation, &format!("/conversations/{}/items", id(&conversation)));
        let page = project.client.get(&format!("{path}&limit=100"), 200).await;
        for item in page["data"].as_array().expect("a page has data") {
            if item["role"] == "user" {
                let message = text(&item["content"][0], "text");
                assert!(messages.contains(message.trim()), "not the model's: {message:?} of {messages:?}");
                said += 1;
            }
        }
        let evaluations = conversation["evaluations"].as_array().expect("a list of evaluations");
        let reason = text(&evaluations[0], "reason");
        assert!(reasons.iter().any(|written| reason.contains(written.as_str())), "not the model's: {reason}");
    }
    assert!(said >= CONVERSATIONS, "only {said} messages");
}

/// No two personas have the same story, by meaning.
async fn assert_distinct(stories: &[String]) {
    let similar = similarities(stories).await;
    for (one, row) in similar.iter().enumerate() {
        for (other, similarity) in row.iter().enumerate().take(one) {
            assert!(*similarity < SAME, "{similarity}: {} and {}", stories[one], stories[other]);
        }
    }
}
