//! Personas: generation, approval, replacement, and assignment to conversations.

use std::collections::BTreeSet;

use onerun_domain::{AgeGroup, PersonaAttributes, PersonaDraft};
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, id, merge, text};

/// The numbers of each persona's conversations, by the persona's number.
async fn held(project: &TestProject<'_>, simulation: &str) -> Vec<(u64, Vec<u64>)> {
    let conversations = project.conversations(simulation).await;
    let number = |value: &Value| value["seq_id"].as_u64().unwrap();
    let mut held = Vec::new();
    for persona in project.personas(simulation).await {
        let own = conversations.iter().filter(|conversation| conversation["persona_id"] == persona["id"]);
        for conversation in own.clone() {
            assert_eq!(conversation["persona"], persona);
        }
        held.push((number(&persona), own.map(number).collect()));
    }
    held
}

fn pending(personas: u32, conversations: u32) -> Value {
    json!({ "auto_approve": false, "target_personas": personas, "target_conversations": conversations })
}

async fn decide(project: &TestProject<'_>, simulation: &str, number: u64, what: &str) {
    let personas = project.personas(simulation).await;
    let persona = personas.iter().find(|persona| persona["seq_id"] == number).unwrap();
    project.decide(simulation, &id(persona), what, 200).await;
    project.app.run_jobs().await;
}

#[tokio::test]
async fn unapproved_persona_holds_no_conversation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(pending(2, 5)).await;
    assert_eq!(held(&project, &simulation).await, [(1, vec![]), (2, vec![])]);
    decide(&project, &simulation, 2, "approve").await;
    assert_eq!(held(&project, &simulation).await, [(1, vec![]), (2, vec![2, 4])]);
    decide(&project, &simulation, 1, "approve").await;
    assert_eq!(held(&project, &simulation).await, [(1, vec![1, 3, 5]), (2, vec![2, 4])]);
}

#[tokio::test]
async fn rejected_persona_is_replaced_in_its_conversations() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(pending(2, 5)).await;
    let first = project.personas(&simulation).await;
    decide(&project, &simulation, 2, "reject").await;
    assert_eq!(held(&project, &simulation).await, [(1, vec![]), (2, vec![]), (4, vec![])]);
    // The replacement may be rejected too.
    decide(&project, &simulation, 4, "reject").await;
    decide(&project, &simulation, 6, "approve").await;
    decide(&project, &simulation, 1, "approve").await;
    let expected = [(1, vec![1, 3, 5]), (2, vec![]), (4, vec![]), (6, vec![2, 4])];
    assert_eq!(held(&project, &simulation).await, expected);
    let approvals: Vec<_> =
        project.personas(&simulation).await.iter().map(|persona| text(persona, "approval_status")).collect();
    assert_eq!(approvals, ["approved", "rejected", "rejected", "approved"]);
    let people: BTreeSet<_> =
        project.personas(&simulation).await.iter().map(|persona| text(persona, "summary")).collect();
    assert_eq!(people.len(), 4, "a replacement is a new persona");
    assert_eq!(project.personas(&simulation).await[1]["summary"], first[1]["summary"]);

    for conversation in project.test_conversations(&simulation).await {
        conversation.start(200).await;
        conversation.end(200).await;
    }
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "completed");
}

#[tokio::test]
async fn persona_decision_can_be_repeated_not_reversed() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(pending(2, 2)).await;
    let personas: Vec<_> = project.personas(&simulation).await.iter().map(id).collect();
    for (persona, what, other) in [(&personas[0], "approve", "reject"), (&personas[1], "reject", "approve")] {
        project.decide(&simulation, persona, what, 200).await;
        app.run_jobs().await;
        let before = (project.personas(&simulation).await, project.conversations(&simulation).await);
        app.next_instant();
        project.decide(&simulation, persona, what, 200).await;
        assert_eq!(code(&project.decide(&simulation, persona, other, 409).await), "persona_decided");
        app.run_jobs().await;
        assert_eq!((project.personas(&simulation).await, project.conversations(&simulation).await), before);
    }
}

#[tokio::test]
async fn personas_of_an_ended_simulation_are_not_approved() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(pending(2, 2)).await;
    let personas: Vec<_> = project.personas(&simulation).await.iter().map(id).collect();
    project.decide(&simulation, &personas[0], "approve", 200).await;
    project.order(&simulation, "cancel", 200).await;
    for what in ["approve", "reject"] {
        assert_eq!(code(&project.decide(&simulation, &personas[1], what, 409).await), "simulation_over");
    }
    // An earlier decision can still be repeated.
    project.decide(&simulation, &personas[0], "approve", 200).await;
    app.run_jobs().await;
    assert!(
        project.conversations(&simulation).await.is_empty(),
        "the approval came too late for its conversations"
    );
}

#[tokio::test]
async fn conversations_are_spread_evenly_over_the_personas() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for (personas, conversations) in
        [(1, 1), (1, 7), (2, 7), (3, 7), (7, 7), (7, 3), (30, 2), (26, 60), (50, 51)]
    {
        let wanted = json!({ "target_personas": personas, "target_conversations": conversations });
        let simulation = project.simulate(wanted).await;
        let held = held(&project, &simulation).await;
        let what = format!("{conversations} conversations of {personas} personas: {held:?}");
        let numbers: Vec<_> = held.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=personas).collect::<Vec<_>>(), "{what}");
        let mut all: Vec<_> = held.iter().flat_map(|(_, own)| own.clone()).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=conversations).collect::<Vec<_>>(), "{what}");
        let counts: Vec<_> = held.iter().map(|(_, own)| own.len()).collect();
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{what}");
    }
}

#[tokio::test]
async fn no_two_personas_of_a_simulation_are_the_same() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project
        .simulate(json!({ "target_personas": 200, "target_conversations": 1, "auto_approve": false }))
        .await;
    let personas = project.personas(&simulation).await;
    assert_eq!(personas.len(), 200);
    let whole: BTreeSet<_> = personas
        .iter()
        .map(|persona| format!("{} {} {}", persona["summary"], persona["story"], persona["attributes"]))
        .collect();
    assert_eq!(whole.len(), 200);
    let summaries: BTreeSet<_> = personas.iter().map(|persona| text(persona, "summary")).collect();
    assert_eq!(summaries.len(), 200, "and a reader of summaries can tell them apart");
}

#[tokio::test]
async fn generated_persona_is_sanitized_and_truncated() {
    let hostile = format!("a\u{0}b\u{1b}[31mc{}", "x".repeat(10_000));
    let kept: String = format!("ab[31mc{}", "x".repeat(10_000)).chars().take(4_000).collect();
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    app.model().on_persona(Behavior::Says(PersonaDraft {
        summary: hostile.clone(),
        story: hostile.clone(),
        purpose: hostile.clone(),
        attributes: PersonaAttributes {
            age_group: AgeGroup::Senior,
            speech_style: hostile.clone(),
            education: hostile.clone(),
            occupation: hostile.clone(),
            economic_status: hostile.clone(),
            personality_traits: hostile.clone(),
            values: hostile.clone(),
            habits: hostile.clone(),
            interests: hostile.clone(),
            speech_patterns: hostile.clone(),
            typical_behavior: hostile.clone(),
            stress_triggers: hostile.clone(),
            stress_reactions: hostile.clone(),
            version: hostile,
        },
    }));
    let simulation = project.simulate(json!({})).await;
    let persona = project.personas(&simulation).await.remove(0);
    for field in ["summary", "story", "purpose"] {
        assert!(persona[field] == kept, "{field}");
    }
    for (name, value) in persona["attributes"].as_object().unwrap() {
        assert!(name == "age_group" || *value == kept, "{name}");
    }
}

/// The texts and numbers of a simulation's personas.
async fn people(project: &TestProject<'_>, simulation: &str) -> Vec<Value> {
    let mut personas = project.personas(simulation).await;
    for persona in &mut personas {
        merge(persona, json!({ "id": null, "simulation_id": null, "created_at": null, "updated_at": null }));
    }
    personas
}

#[tokio::test]
async fn copied_personas_are_the_same_and_approved() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let first = project.simulate(json!({ "target_personas": 3, "target_conversations": 7 })).await;
    app.model().on_persona(Behavior::Unavailable);
    let copied = json!({
        "personas_from": first,
        "target_personas": 3,
        "target_conversations": 7,
        "auto_approve": false,
        "seed": null,
    });
    let second = project.simulate(copied.clone()).await;
    let simulation = project.simulation(&second).await;
    assert_eq!((&simulation["personas_from"], &simulation["seed"]), (&json!(first), &json!(7)));
    assert_eq!(people(&project, &second).await, people(&project, &first).await);
    assert_eq!(held(&project, &second).await, [(1, vec![1, 4, 7]), (2, vec![2, 5]), (3, vec![3, 6])]);

    // The same agent gets the same replies.
    let mut transcripts = Vec::new();
    for simulation in [&first, &second] {
        let conversation = &project.test_conversations(simulation).await[3];
        conversation.hold(&["Hello. What is your order number?"]).await;
        transcripts.push(conversation.transcript().await);
    }
    assert_eq!(transcripts[0], transcripts[1]);

    // A copy of a copy with a seed of its own has the same people, who know the same facts.
    let mut third = copied;
    merge(&mut third, json!({ "personas_from": second, "target_personas": 2, "seed": 8 }));
    let third = project.simulate(third).await;
    assert_eq!(people(&project, &third).await, people(&project, &first).await[..2]);
    let conversation = &project.test_conversations(&third).await[0];
    let summary = text(&project.personas(&third).await[0], "summary");
    let name = summary.split(' ').next().unwrap();
    conversation.start(200).await;
    conversation.say(None, 200).await;
    let reply = conversation.say(Some("What is your name?"), 200).await;
    assert!(reply.to_string().contains(name), "{name}: {reply}");
}

#[tokio::test]
async fn copied_replacement_keeps_its_number() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let first = project.simulate(pending(2, 5)).await;
    decide(&project, &first, 2, "reject").await;
    let copied = json!({ "personas_from": first, "target_personas": 2, "target_conversations": 5 });
    let body = project.wanted(copied.clone());
    let refused = project.client.post(&project.path("/simulations"), &body, 409).await;
    assert_eq!(code(&refused), "personas_not_ready");
    assert!(text(&refused, "message").starts_with("0 of 2 personas"), "{refused}");
    decide(&project, &first, 1, "approve").await;
    decide(&project, &first, 4, "approve").await;
    let second = project.simulate(copied).await;
    assert_eq!(held(&project, &second).await, [(1, vec![1, 3, 5]), (4, vec![2, 4])]);

    let fewer = json!({ "personas_from": first, "target_personas": 1 });
    let refused = project.client.post(&project.path("/simulations"), &project.wanted(fewer), 422).await;
    assert_eq!(refused["errors"][0]["pointer"], "#/target_personas");
    assert!(text(&refused, "message").contains("must be 2"), "{refused}");
}

#[tokio::test]
async fn personas_that_cannot_be_copied_are_refused() {
    let app = TestApp::start();
    let (project, other) = (TestProject::open(&app).await, TestProject::open(&app).await);
    let source = project.simulate(json!({ "target_personas": 2 })).await;
    let foreign = other.simulate(json!({ "target_personas": 2 })).await;
    for (changes, field, words) in [
        (json!({ "personas_from": foreign }), "personas_from", "does not exist in this project"),
        (json!({ "personas_from": source, "target_personas": 3 }), "target_personas", "must be at most 2"),
        (json!({ "personas_from": source, "scenario": "Another." }), "scenario", "in `personas_from`"),
    ] {
        let body = project.wanted(changes);
        let problem = project.client.post(&project.path("/simulations"), &body, 422).await;
        assert_eq!(code(&problem), "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], format!("#/{field}"));
        assert!(text(&problem, "message").contains(words), "{problem}");
    }
}
