//! Personas that the caller of a simulation wrote.

use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, id, merge, text};

/// Two personas, the second with the required fields alone.
fn two() -> Value {
    json!([
        {
            "summary": "Ada Lovelace, 36, counts things.",
            "story": "The kettle of order #A-10427 arrived broken.",
            "purpose": "To get the money back.",
            "attributes": { "age_group": "senior", "speech_style": "\"few\"\nwords" },
        },
        { "summary": "Bo, a student.", "purpose": "Wants a replacement for the kettle." },
    ])
}

/// A simulation with these personas.
fn written(personas: &Value) -> Value {
    json!({ "personas": personas, "target_personas": null, "target_conversations": 3, "max_turns": 20 })
}

#[tokio::test]
async fn explicit_personas_are_those_that_were_written() {
    let app = TestApp::start();
    app.model().on_persona(Behavior::Unavailable);
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(written(&two())).await;
    assert_eq!(project.simulation(&simulation).await["target_personas"], 2);
    let personas = project.personas(&simulation).await;
    assert_eq!(personas.len(), 2);
    for (persona, wanted) in personas.iter().zip(two().as_array().unwrap()) {
        for (name, value) in wanted.as_object().unwrap() {
            if name != "attributes" {
                assert_eq!(persona[name], *value);
            }
        }
        assert_eq!(persona["approval_status"], "approved");
    }
    let attributes = &personas[0]["attributes"];
    assert_eq!((&attributes["age_group"], &attributes["habits"]), (&json!("senior"), &json!("")));
    assert_eq!(attributes["speech_style"], "\"few\"\nwords");
    let defaults = &personas[1]["attributes"];
    assert_eq!((&defaults["age_group"], &defaults["version"]), (&json!("adult"), &json!("1")));
    assert_eq!(personas[1]["story"], "");

    // Personas of a list can be sent again.
    let mut again = Vec::new();
    for persona in &personas {
        let field = |name: &str| (name.to_owned(), persona[name].clone());
        again.push(Value::Object(
            ["summary", "story", "purpose", "attributes"].map(field).into_iter().collect(),
        ));
    }
    let second = project.simulate(written(&json!(again))).await;
    let people = project.personas(&second).await;
    for name in ["summary", "story", "purpose", "attributes", "seq_id"] {
        assert_eq!(people[0][name], personas[0][name]);
    }
}

#[tokio::test]
async fn scripted_persona_speaks_of_its_written_story() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let first = project.simulate(written(&two())).await;
    let copied = json!({ "personas_from": first, "target_personas": 2, "target_conversations": 3, "max_turns": 20, "seed": 3 });
    // Copies are the same people.
    for simulation in [&first, &project.simulate(copied).await] {
        let conversation = &project.test_conversations(simulation).await[0];
        conversation.start(200).await;
        conversation.say(None, 200).await;
        let says = async |text| {
            conversation.say(Some(text), 200).await["output"][0]["content"][0]["text"].to_string()
        };
        assert!(says("What is your name?").await.contains("Ada Lovelace"));
        assert!(says("What is your order number?").await.contains("#A-10427"));
        let unknown = says("What is your phone number?").await;
        assert!(unknown.contains("not have") || unknown.contains("n't have"), "{unknown}");
        conversation.end(200).await;
        app.run_jobs().await;
        assert_eq!(conversation.see().await["persona_faults"], json!([]));
    }
}

#[tokio::test]
async fn rejected_explicit_persona_is_replaced_by_a_generated_one() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut wanted = written(&two());
    merge(&mut wanted, json!({ "auto_approve": false }));
    let simulation = project.simulate(wanted).await;
    let personas = project.personas(&simulation).await;
    assert_eq!(personas[0]["approval_status"], "pending");
    project.decide(&simulation, &id(&personas[0]), "reject", 200).await;
    app.run_jobs().await;
    let replaced = project.personas(&simulation).await;
    assert_eq!((replaced.len(), &replaced[2]["seq_id"]), (3, &json!(3)));
    assert!(!text(&replaced[2], "summary").is_empty());
    assert_ne!(replaced[2]["summary"], personas[0]["summary"]);
    for persona in &replaced[1..] {
        project.decide(&simulation, &id(persona), "approve", 200).await;
    }
    app.run_jobs().await;
    let conversations = project.test_conversations(&simulation).await;
    assert_eq!(conversations.len(), 3);
    for conversation in conversations {
        conversation.hold(&["Your money is on its way."]).await;
    }
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "completed");
}

#[tokio::test]
async fn repeated_creation_has_its_explicit_personas_once() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let body = project.wanted(written(&two()));
    let path = project.path("/simulations");
    let client = project.client.with_header("idempotency-key", "once");
    let create = async || client.post(&path, &body, 200).await;
    let (first, second) = (create().await, create().await);
    assert_eq!(id(&first), id(&second));
    app.run_jobs().await;
    assert_eq!(project.personas(&id(&first)).await.len(), 2);
}

#[tokio::test]
async fn faulty_explicit_personas_are_refused() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let source = project.simulate(json!({})).await;
    let one = json!({ "summary": "Ada.", "purpose": "To ask." });
    let with = |changes: Value| {
        let mut persona = one.clone();
        merge(&mut persona, changes);
        json!({ "personas": [one, persona], "target_personas": null })
    };
    let wide = json!({ "summary": "\u{1f600}".repeat(4_000), "purpose": "To ask." });
    for (changes, pointer, words) in [
        (json!({ "target_personas": null }), "target_personas", "unless the request has `personas`"),
        (json!({ "personas": [], "target_personas": null }), "personas", "1 to 100 values"),
        (json!({ "personas": vec![&one; 101], "target_personas": null }), "personas", "1 to 100 values"),
        (json!({ "personas": vec![&wide; 17], "target_personas": null }), "personas", "at most 262144 bytes"),
        (json!({ "personas": [one, one], "target_personas": 1 }), "target_personas", "must be 2"),
        (json!({ "personas": [one], "personas_from": source }), "personas_from", "contradicts `personas`"),
        (json!({ "personas": { "summary": "Ada." } }), "personas", "must be an array"),
        (with(json!({ "summary": null })), "personas/1/summary", "is required"),
        (with(json!({ "summary": 5 })), "personas/1/summary", "must be a string"),
        (with(json!({ "purpose": " " })), "personas/1/purpose", "must not be empty"),
        (with(json!({ "purpose": "\u{202e}" })), "personas/1/purpose", "must not be empty"),
        (with(json!({ "story": "x".repeat(4_001) })), "personas/1/story", "at most 4000 characters"),
        (with(json!({ "story": "a\u{1b}[31m" })), "personas/1/story", "control character U+001B"),
        (with(json!({ "seq_id": 7 })), "personas/1/seq_id", "is not a field"),
        (
            with(json!({ "attributes": { "age_group": "old" } })),
            "personas/1/attributes/age_group",
            "teen, young_adult",
        ),
        (with(json!({ "attributes": { "mood": "x" } })), "personas/1/attributes/mood", "is not a field"),
        (with(json!({ "attributes": { "habits": 5 } })), "personas/1/attributes/habits", "must be a string"),
    ] {
        let body = project.wanted(changes);
        let problem = project.client.post(&project.path("/simulations"), &body, 422).await;
        assert_eq!(code(&problem), "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], format!("#/{pointer}"), "{problem}");
        assert!(text(&problem, "message").contains(words), "{problem}");
    }
    let listed = project.get("/simulations").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "a refused simulation is not stored");
}
