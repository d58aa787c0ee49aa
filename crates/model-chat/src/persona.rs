//! Generates personas.
//!
//! The offline model draws an outline by the persona's number: name, age, occupation, speech style, temper. No two
//! numbers have the same outline, so personas of one simulation differ, and a replacement differs from the rejected
//! one. The chat model writes the person's story around the outline. A story that is too similar to another one is
//! asked for again.

use std::fmt::Write as _;

use onerun_domain::{AgeGroup, PersonaAttributes, PersonaDraft, derive_seed};
use onerun_engine::{ModelError, PersonaRequest, is_similar};
use onerun_model_offline::outline;
use serde::Deserialize;

use crate::{
    ask::{Asked, Repair, Try},
    chat::{ChatMessage, ChatRequest, ChatRole},
    schema::{Kind, Property, Schema},
};

const MAX_TOKENS: u32 = 6_000;

/// The longest story with its lists, in characters: the engine cuts longer ones.
const MAX_STORY: usize = 4_000;

/// The maximum number of items in each of a persona's lists.
const MAX_FACTS: usize = 12;

const SCHEMA: Schema = Schema {
    name: "persona",
    properties: &[
        Property::new("summary", Kind::Text)
            .described("The person in one sentence: name, age, occupation, manner."),
        Property::new("age_group", Kind::Word(&["teen", "young_adult", "adult", "senior"])),
        Property::new("occupation", Kind::Text),
        Property::new("story", Kind::Text)
            .described("The person's situation and why they contact the agent, in three to six sentences."),
        Property::new("goal", Kind::Text)
            .described("What the person wants from this conversation, in one sentence."),
        Property::new("knows", Kind::Texts).described("Facts that the person may mention on their own."),
        Property::new("tells_when_asked", Kind::Texts)
            .described("Facts that the person tells only when asked, with exact values."),
        Property::new("stops_when", Kind::Text)
            .described("When the person ends the conversation: satisfied, or giving up."),
        Property::new("language", Kind::Text).described("The language that the person writes."),
    ],
};

const SYSTEM: &str = "\
You invent people who talk to a software agent in a test. You are given the agent, a scenario and the outline of a person. \
Write the person so that the scenario is true for them, from their own side.

Rules:
- The scenario decides what happened and what the person wants. Never replace its subject by another one. If it speaks to \
`you`, that is the person; write about them in the third person.
- Keep the name and the manner of the outline. Change age and occupation only if the scenario demands it.
- Make this person's circumstances specific: names, dates, numbers, places. Keep every value that the scenario gives. Invent \
exact values for everything else that the agent may ask for, such as ids or addresses, and list them under `tells_when_asked`.
- The person does not know how the agent works, and knows nothing about this test.
- Write in English, except that examples of the person's own words may be in their language. The person's language is \
English unless the scenario or the agent says otherwise.
- Answer with one JSON object with the members `summary`, `age_group` (`teen`, `young_adult`, `adult` or `senior`), \
`occupation`, `story`, `goal`, `knows` (a list), `tells_when_asked` (a list), `stops_when` and `language`.";

/// A persona as the model writes it.
#[derive(Deserialize)]
struct Written {
    summary: String,
    age_group: AgeGroup,
    occupation: String,
    story: String,
    goal: String,
    #[serde(default)]
    knows: Vec<String>,
    #[serde(default)]
    tells_when_asked: Vec<String>,
    #[serde(default)]
    stops_when: String,
    #[serde(default)]
    language: String,
}

/// Generates the persona of a number.
pub(crate) async fn persona(
    asked: &Asked<'_>,
    request: &PersonaRequest<'_>,
) -> Result<PersonaDraft, ModelError> {
    let PersonaRequest { simulation, agent, seq, others, .. } = *request;
    let outline = outline(simulation, agent, seq);
    let redact = |text| asked.redaction.redact(text);
    let mut text = format!("Agent: {}\n", redact(agent.name.as_str()));
    if let Some(description) = &agent.description {
        _ = writeln!(text, "What the agent is for: {}", redact(description.as_str()));
    }
    _ = write!(
        text,
        "Scenario: {}\n\nOutline of the person: {}\nSpeech: {}; {}\nCharacter: {}\nUnder stress: {}; {}\n",
        redact(simulation.scenario.as_str()),
        // The outline repeats words of the scenario.
        redact(&outline.summary),
        outline.attributes.speech_style,
        outline.attributes.speech_patterns,
        outline.attributes.personality_traits,
        outline.attributes.stress_triggers,
        outline.attributes.stress_reactions,
    );
    let chat = ChatRequest {
        system: SYSTEM.to_owned(),
        messages: vec![ChatMessage { role: ChatRole::User, text }],
        questions: Vec::new(),
        schema: Some(&SCHEMA),
        max_tokens: MAX_TOKENS,
        temperature: Some(1.0),
        // Some servers read seeds as signed 32-bit integers.
        seed: Some(derive_seed(simulation.seed, &["chat", "persona", &seq.to_string()]) >> 33),
    };
    let check = |written: Written, attempt| {
        for (name, text) in
            [("summary", &written.summary), ("story", &written.story), ("goal", &written.goal)]
        {
            if text.trim().is_empty() {
                return Err(format!("`{name}` must not be empty"));
            }
        }
        let draft = draft(&written, outline.attributes.clone());
        if attempt == Try::First && draft.story.chars().count() > MAX_STORY {
            return Err(format!("`story` and the lists together must have at most {MAX_STORY} characters"));
        }
        if let Some(other) = others.iter().find(|other| is_similar(&simulation.scenario, &draft, other)) {
            return Err(format!(
                "the person's circumstances are those of persona {} of this test; write another person, whose \
                 reasons, facts and values differ",
                other.seq
            ));
        }
        Ok(draft)
    };
    Ok(asked.ask(chat, Repair::WithAnswer, check).await?.answer)
}

/// The persona, whose story ends with what the model wrote about language, end and facts.
fn draft(written: &Written, mut attributes: PersonaAttributes) -> PersonaDraft {
    attributes.age_group = written.age_group;
    if !written.occupation.trim().is_empty() {
        attributes.occupation = one_line(&written.occupation);
    }
    let mut story = written.story.trim().to_owned();
    // A story that is too long loses its end, so the facts come last.
    for (title, text) in
        [("Language", &written.language), ("Ends the conversation when", &written.stops_when)]
    {
        if !text.trim().is_empty() {
            _ = write!(story, "\n\n{title}: {}", one_line(text));
        }
    }
    for (title, facts) in [("Knows", &written.knows), ("Tells only when asked", &written.tells_when_asked)] {
        let facts: Vec<_> = facts.iter().map(|fact| one_line(fact)).filter(|fact| !fact.is_empty()).collect();
        if !facts.is_empty() {
            _ = write!(story, "\n\n{title}:\n- {}", facts[..facts.len().min(MAX_FACTS)].join("\n- "));
        }
    }
    PersonaDraft { summary: one_line(&written.summary), story, purpose: one_line(&written.goal), attributes }
}

/// A text without line breaks, which would end an item of a list.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
