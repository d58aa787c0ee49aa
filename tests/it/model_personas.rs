//! Personas that a language model generates.

use std::collections::BTreeSet;

use onerun_tests::{
    eventually,
    process::Server,
    provider::{Prompt, Provider, Reply, Role, Wire, play},
    sdk::{SdkProject, SimulationFields, text},
};
use serde_json::json;

/// Writes the same story for everybody, and another one only when it is asked again.
fn unimaginative(prompt: &Prompt) -> Reply {
    if Role::of(prompt) == Some(Role::Persona) && prompt.messages.len() == 1 {
        let story = "The kettle was a present for a wedding. Its lid does not close, and the water spills on the hand.";
        return json!({
            "summary": "Ann Lee, 40, a nurse", "age_group": "adult", "occupation": "nurse", "story": story,
            "goal": "Money back before the weekend.", "knows": [], "tells_when_asked": [], "stops_when": "",
            "language": "English",
        })
        .into();
    }
    play(prompt)
}

#[tokio::test]
async fn personas_of_one_batch_have_different_stories() {
    let provider = Provider::start(unimaginative).await;
    let variables = provider.variables(Wire::ChatCompletions, "test");
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let server = Server::start_with(&variables).await;
    let project = SdkProject::open(server.client()).await;
    let fields =
        SimulationFields { name: "Kettles", conversations: 4, personas: 4, expires_in_seconds: None };
    let simulation = project.simulate(fields).await;
    let personas = eventually("four personas", || async {
        let page = project.client.get(&project.path(&simulation, "/personas"), 200).await;
        let personas = page["data"].as_array().expect("a page has data").clone();
        if personas.len() == 4 { Ok(personas) } else { Err(format!("{page}\n{}", server.log())) }
    })
    .await;
    let stories: BTreeSet<String> = personas.iter().map(|persona| text(persona, "story")).collect();
    assert_eq!(stories.len(), 4, "{stories:?}");
    // Four at the same time; then three again, each asked twice.
    let calls = provider.calls();
    assert_eq!(calls.iter().filter(|call| Role::of(&call.prompt) == Some(Role::Persona)).count(), 10);
}
