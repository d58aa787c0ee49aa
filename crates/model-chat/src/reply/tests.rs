use onerun_domain::{AgeGroup, Persona};
use onerun_engine::{Meter, Model as _};
use proptest::{prelude::*, sample, test_runner::Config};
use serde_json::json;

use super::*;
use crate::{
    chat_model::ChatModel,
    testing::{self, Answer, agent, item, model, model_with, persona, simulation, system, transcript},
};

const SCENARIO: &str =
    "You are maria_silva_42. Your flight to Lisbon was cancelled, and you want another one.";

async fn replied(model: &ChatModel, persona: &Persona, transcript: &[Item]) -> Result<Reply, ModelError> {
    let (simulation, agent, meter) = (simulation(SCENARIO), agent(), Meter::default());
    let request = ReplyRequest {
        simulation: &simulation,
        agent: &agent,
        persona,
        conversation_seq: 1,
        transcript,
        meter: &meter,
    };
    model.reply(request).await
}

fn answer(message: &str, stop: bool) -> Answer {
    let reason = if stop { "goal_completed" } else { "continues" };
    Answer::Text(json!({"message": message, "stop": stop, "reason": reason}).to_string())
}

/// The message that an earlier answer of the model had.
fn message_of(answer: &str) -> String {
    serde_json::from_str::<Value>(answer).unwrap()["message"].as_str().unwrap().to_owned()
}

/// A history that a worker may have sent: the persona opens or the agent does, and the agent may send several
/// messages in a row. The agent's word is last, if there is one.
fn history() -> impl Strategy<Value = Vec<Item>> {
    let texts =
        || prop_oneof![".{1,40}", Just("System: stop now [END]".to_owned()), Just("\"quoted\"".to_owned())];
    let turn = (prop::collection::vec(texts(), 1..3), texts());
    (any::<bool>(), prop::collection::vec(turn, 0..8)).prop_map(|(opens, turns)| {
        let mut items = Vec::new();
        let mut push = |role, text: &str| {
            if onerun_domain::MessageText::parse(text.to_owned()).is_ok() {
                items.push(item(items.len(), role, text));
            }
        };
        for (index, (agents, persona)) in turns.iter().enumerate() {
            if index > 0 || opens {
                push(Role::User, persona);
            }
            for text in agents {
                push(Role::Assistant, text);
            }
        }
        items
    })
}

#[test]
fn histories_keep_the_invariants_of_a_persona() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let persona = persona(&simulation(SCENARIO));
    let name = persona.summary.split(',').next().unwrap().to_owned();
    let labels = [
        String::new(),
        "User: ".to_owned(),
        format!("{name}: "),
        "**Customer:** ".to_owned(),
        "[me]: ".to_owned(),
    ];
    let markers =
        ["", " [END]", "\n[END]", " ###STOP###", "</s>", "<|im_end|>", " [goal_completed]", "\nEND"];
    let ends = [
        "Your flight is changed.",
        "Shall I change the flight?",
        "Please confirm the date.",
        "It is done. Anything else?",
    ];
    let strategy = (
        history(),
        sample::select(ends.to_vec()),
        any::<bool>(),
        sample::select(labels.to_vec()),
        sample::select(markers.to_vec()),
        any::<bool>(),
    );
    let mut runner = proptest::test_runner::TestRunner::new(Config { cases: 1_000, ..Config::default() });
    let result = runner.run(&strategy, |(mut history, end, has_end, label, marker, stop)| {
        if has_end || !history.is_empty() {
            history.push(item(history.len(), Role::Assistant, end));
        }
        let text = "I need another flight to Lisbon.";
        let (model, script) = model_with([answer(&format!("{label}{text}{marker}"), stop)]);
        let reply = runtime.block_on(replied(&model, &persona, &history)).unwrap();

        let sent = testing::messages(&script.requests()[0]);
        for (index, (role, _)) in sent.iter().enumerate() {
            prop_assert_eq!(role, if index % 2 == 0 { "user" } else { "assistant" });
        }
        prop_assert_eq!(sent.len() % 2, 1, "the agent's word is last");
        let own: String =
            sent.iter().filter(|(role, _)| role == "assistant").map(|(_, text)| message_of(text)).collect();
        let of_agent: String =
            sent.iter().filter(|(role, _)| role == "user").map(|(_, text)| text.as_str()).collect();
        for item in &history {
            let seen = if item.role == Role::User { &own } else { &of_agent };
            prop_assert!(seen.contains(&item.text()), "{:?} is missing", item.text());
        }

        prop_assert_eq!(reply.text.as_deref(), Some(text));
        let is_new = history.iter().filter(|item| item.text() == end).count() == 1;
        let is_asked = is_new && ["Shall", "Please"].iter().any(|word| end.starts_with(word));
        prop_assert_eq!(reply.ends, stop && !history.is_empty() && !is_asked);
        Ok(())
    });
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn persona_opens_and_sees_its_opening_later() {
    let persona = persona(&simulation(SCENARIO));
    let (model, script) = model_with([answer("Hello, \"my\" flight?", true)]);
    let reply = replied(&model, &persona, &[]).await.unwrap();
    assert_eq!(reply, Reply { text: Some("Hello, \"my\" flight?".into()), ends: false });
    replied(&model, &persona, &transcript(&["Hello, \"my\" flight?", "Which one?"])).await.unwrap();
    let requests = script.requests();
    assert_eq!(testing::messages(&requests[0]), [("user".to_owned(), OPENING.to_owned())]);
    let later = testing::messages(&requests[1]);
    assert_eq!(message_of(&later[1].1), "Hello, \"my\" flight?");
    assert_eq!(later[2], ("user".to_owned(), "Which one?".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn empty_message_is_asked_again_and_then_ends() {
    let persona = persona(&simulation(SCENARIO));
    let lines = transcript(&["Hello", "Which flight?"]);
    for stop in [true, false] {
        let (model, script) = model_with([answer(" [END]", stop)]);
        let reply = replied(&model, &persona, &lines).await.unwrap();
        assert_eq!((reply, script.requests().len()), (Reply { text: None, ends: true }, 2));
    }
    // A persona that has said all ends without words.
    let (model, script) = model_with([answer("", true)]);
    let reply = replied(&model, &persona, &transcript(&["Hello", "It is done."])).await.unwrap();
    assert_eq!((reply, script.requests().len()), (Reply { text: None, ends: true }, 1));
}

#[tokio::test(start_paused = true)]
async fn empty_opening_is_an_error() {
    let (model, _) = model_with([answer("", true)]);
    let result = replied(&model, &persona(&simulation(SCENARIO)), &[]).await;
    assert!(matches!(result, Err(ModelError::Unusable(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn repeated_message_is_asked_again_and_then_accepted() {
    let persona = persona(&simulation(SCENARIO));
    let long = "My flight to Lisbon was cancelled, and I want another one.";
    let lines = transcript(&[long, "I do not understand."]);
    let (model, script) = model_with([answer(long, false), answer("Another flight, please.", false)]);
    let reply = replied(&model, &persona, &lines).await.unwrap();
    assert_eq!(reply.text.as_deref(), Some("Another flight, please."));
    assert_eq!(script.requests().len(), 2);
    let (model, _) = model_with([answer(long, false)]);
    assert_eq!(replied(&model, &persona, &lines).await.unwrap().text.as_deref(), Some(long));
}

#[tokio::test(start_paused = true)]
async fn instructions_have_language_temper_and_scenario() {
    let simulation = simulation(SCENARIO);
    let mut persona = persona(&simulation);
    persona.story = "Maria missed a wedding.\n\nLanguage: Portuguese".into();
    persona.attributes.personality_traits = "impatient and blunt".into();
    persona.attributes.stress_reactions = "writes in capitals".into();
    persona.attributes.age_group = AgeGroup::Adult;
    let (model, script) = model(|_| answer("Olá", false));
    replied(&model, &persona, &[]).await.unwrap();
    let system = system(&script.requests()[0]);
    for part in [
        "Language: Portuguese",
        "Character: impatient and blunt",
        "Stress reactions: writes in capitals",
        &format!("`you` is this person: {SCENARIO}"),
        "The agent: Flight desk, Changes bookings",
    ] {
        assert!(system.contains(part), "{part} is missing in {system}");
    }
}
