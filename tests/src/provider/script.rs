//! Scripts for a provider that plays OneRun's simulations.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{Prompt, Reply};

/// The purpose of a prompt, by the members of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A persona.
    Persona,
    /// A persona's message.
    Message,
    /// Verdicts on a conversation.
    Judge,
}

impl Role {
    /// The purpose of a prompt. `None` if it has no schema, or another one.
    pub fn of(prompt: &Prompt) -> Option<Self> {
        let properties = prompt.schema.as_ref()?["properties"].as_object()?;
        let by_member = [("story", Self::Persona), ("stop", Self::Message), ("verdicts", Self::Judge)];
        by_member.into_iter().find(|(member, _)| properties.contains_key(*member)).map(|(_, role)| role)
    }
}

/// Plays all parts: personas of different circumstances, messages that never repeat and end after the agent's third,
/// and verdicts that all pass.
pub fn play(prompt: &Prompt) -> Reply {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    match Role::of(prompt) {
        Some(Role::Persona) => persona(number).into(),
        Some(Role::Message) => {
            let turns = prompt.messages.iter().filter(|message| message.role == "user").count();
            let stops = turns > 3;
            json!({
                "message": format!("Message {number} about the kettle."),
                "stop": stops,
                "reason": if stops { "goal_completed" } else { "continues" },
            })
            .into()
        }
        Some(Role::Judge) => verdicts(prompt, "passed").into(),
        None => "I do not know what to do.".into(),
    }
}

fn persona(number: u64) -> Value {
    // Other words for each number, because personas of a simulation must differ.
    let words: Vec<String> = (0..24).map(|place| format!("word{}", number * 24 + place)).collect();
    json!({
        "summary": format!("Person {number}, 40, an invented {}", words[0]),
        "age_group": "adult",
        "occupation": words[1],
        "story": format!("The kettle broke. {}.", words.join(" ")),
        "goal": format!("A refund for {}.", words[2]),
        "knows": [format!("The kettle is from {}.", words[3])],
        "tells_when_asked": [format!("The order number is {number}.")],
        "stops_when": "The refund is confirmed.",
        "language": "English",
    })
}

/// One verdict on each objective of a prompt.
pub fn verdicts(prompt: &Prompt, verdict: &str) -> Value {
    let verdicts: Vec<Value> = (1..=prompt.objectives())
        .map(|number| {
            json!({
                "objective": number,
                "requirement": "The agent does what the objective says.",
                "reasoning": "The transcript shows it.",
                "quotes": [],
                "verdict": verdict,
                "score": if verdict == "passed" { 5 } else { 0 },
            })
        })
        .collect();
    json!({ "verdicts": verdicts })
}

/// A judge that does what it reads: if `order` occurs outside of the transcript, all verdicts pass; otherwise all fail.
/// The transcript is what lies between `begin` and the first `end` after it.
pub fn obedient_judge(prompt: &Prompt, order: &str, [begin, end]: [&str; 2]) -> Reply {
    let text = prompt.last();
    let outside =
        match text.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1))) {
            Some((before, after)) => format!("{before}\n{after}"),
            None => text.to_owned(),
        };
    let obeys = prompt.system.contains(order) || outside.contains(order);
    verdicts(prompt, if obeys { "passed" } else { "failed" }).into()
}
