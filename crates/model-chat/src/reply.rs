//! Writes a persona's next message.

mod plain;
mod question;

use std::fmt::Write as _;

use onerun_domain::{Item, Redaction, Role, derive_seed};
use onerun_engine::{ModelError, Reply, ReplyRequest};
use serde::Deserialize;
use serde_json::Value;

use self::{plain::plain, question::awaits_answer};
use crate::{
    ask::{Asked, Repair, Try},
    chat::{ChatMessage, ChatRequest, ChatRole},
    schema::{Kind, Property, Schema},
};

/// Reasoning counts as output, so the limit is far above the length of a message.
const MAX_TOKENS: u32 = 4_000;

const SCHEMA: Schema = Schema {
    name: "reply",
    properties: &[
        Property::new("message", Kind::Text)
            .described("The person's next message; empty if the person says nothing more."),
        Property::new("stop", Kind::Boolean)
            .described("Whether the person ends the conversation with this message."),
        Property::new(
            "reason",
            Kind::Word(&["continues", "goal_completed", "gave_up", "transferred", "out_of_scope"]),
        ),
    ],
};

/// The first message that the model sees. The persona's own opening stays in the model's context, and most providers
/// demand that the user begins.
const OPENING: &str = "(You are connected to the agent. You write first.)";

const RULES: &str = "\
You play a person who chats with a software agent, to test it. You write only this person's messages, never the agent's.

How to play:
- Write as this person writes in a chat: their manner, their language, usually one to three sentences. No stage directions, \
no labels, no quotation marks around the message.
- Begin with what you want, not with all you know. Tell further facts when the agent asks for them. Give exactly the values \
below; if you are asked for something that is not given, say that you do not have it. Never invent a value.
- You are not the agent: do not offer help, do not carry out what you asked for, do not confirm on the agent's behalf.
- If the agent repeats one of your facts wrongly, correct it.
- Do not repeat a message that you have written. Never mention that this is a test or that you are a model.

When to stop (`stop`: true, with a `reason`):
- `goal_completed`: the agent has said that what you want is done, not only that it will be done.
- `gave_up`: the agent clearly cannot or will not help, and you have tried once more.
- `transferred`: the agent hands you over to a human.
- `out_of_scope`: the conversation has left your subject for good.
In all other cases `stop` is false and `reason` is `continues`. While the agent asks you for something that it needs in order \
to go on, such as a confirmation, answer it and do not stop yet.

Answer with one JSON object with the members `message`, `stop` and `reason`.";

/// A reply as the model writes it.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    message: Option<String>,
    stop: bool,
}

/// Writes the persona's next message.
pub(crate) async fn reply(asked: &Asked<'_>, request: &ReplyRequest<'_>) -> Result<Reply, ModelError> {
    let ReplyRequest { simulation, persona, conversation_seq, transcript, .. } = *request;
    let path = [persona.seq.to_string(), conversation_seq.to_string(), transcript.len().to_string()];
    let seed = derive_seed(simulation.seed, &["chat", "reply", &path[0], &path[1], &path[2]]);
    let chat = ChatRequest {
        system: instructions(asked.redaction, request),
        messages: messages(asked.redaction, transcript),
        questions: Vec::new(),
        schema: Some(&SCHEMA),
        max_tokens: MAX_TOKENS,
        temperature: Some(0.8),
        seed: Some(seed >> 33),
    };
    let opens = transcript.is_empty();
    let is_asked = awaits_answer(transcript);
    let check = |written: Written, attempt| {
        let text = plain(&written.message.unwrap_or_default(), &persona.summary);
        let fault = if text.is_empty() && opens {
            return Err("`message` is empty, but this person writes first".to_owned());
        } else if text.is_empty() && is_asked {
            Some("`message` is empty, but the agent has asked this person something")
        } else if text.is_empty() && !written.stop {
            Some("`message` must not be empty unless `stop` is true")
        } else if repeats(&text, transcript) {
            Some("`message` repeats an earlier message word for word; write what this person says next")
        } else {
            None
        };
        // An error would end the conversation for the worker, so the second answer is accepted: a person who
        // says nothing ends the conversation, and a person may repeat a message.
        if let Some(fault) = fault.filter(|_| attempt == Try::First) {
            return Err(fault.to_owned());
        }
        // A person who stops while the agent waits would leave it without the answer that it needs.
        let ends = text.is_empty() || (written.stop && !opens && !is_asked);
        Ok(Reply { text: Some(text).filter(|text| !text.is_empty()), ends })
    };
    Ok(asked.ask(chat, Repair::WithAnswer, check).await?.answer)
}

fn instructions(redaction: &Redaction, request: &ReplyRequest<'_>) -> String {
    let ReplyRequest { simulation, agent, persona, .. } = *request;
    let mut text = format!(
        "{RULES}\n\nThe person:\n{}\n\n{}\n",
        redaction.redact(&persona.summary),
        redaction.redact(&persona.story)
    );
    let attributes = &persona.attributes;
    for (name, value) in [
        ("Goal", &persona.purpose),
        ("Speech style", &attributes.speech_style),
        ("Speech patterns", &attributes.speech_patterns),
        ("Character", &attributes.personality_traits),
        ("Behaviour", &attributes.typical_behavior),
        ("Stress triggers", &attributes.stress_triggers),
        ("Stress reactions", &attributes.stress_reactions),
    ] {
        if !value.trim().is_empty() {
            _ = writeln!(text, "{name}: {}", redaction.redact(value));
        }
    }
    _ = write!(
        text,
        "\nThe situation, in which `you` is this person: {}\nThe agent: {}",
        redaction.redact(simulation.scenario.as_str()),
        redaction.redact(agent.name.as_str())
    );
    if let Some(description) = &agent.description {
        _ = write!(text, ", {}", redaction.redact(description.as_str()));
    }
    text
}

/// The transcript as the model sees it: its own messages are the assistant's, in the form in which it writes them, so
/// that it keeps to that form. Messages of one side in a row are joined, so that turns alternate; nothing is left out.
fn messages(redaction: &Redaction, transcript: &[Item]) -> Vec<ChatMessage> {
    let mut messages = Vec::with_capacity(transcript.len() + 1);
    if transcript.first().is_none_or(|first| first.role == Role::User) {
        messages.push(ChatMessage { role: ChatRole::User, text: OPENING.to_owned() });
    }
    for side in transcript.chunk_by(|one, next| one.role == next.role) {
        let texts: Vec<_> = side.iter().map(|item| redaction.redact(&item.text()).into_owned()).collect();
        let text = texts.join("\n\n");
        messages.push(match side[0].role {
            Role::User => ChatMessage { role: ChatRole::Assistant, text: as_answer(&text) },
            Role::Assistant => ChatMessage { role: ChatRole::User, text },
        });
    }
    messages
}

/// An earlier message as the model answered. It did not stop, because the conversation continued.
fn as_answer(text: &str) -> String {
    format!(r#"{{"message": {}, "stop": false, "reason": "continues"}}"#, Value::from(text))
}

fn repeats(text: &str, transcript: &[Item]) -> bool {
    /// Short messages, such as "Yes, please.", may be said twice.
    const SHORT: usize = 40;
    text.chars().count() > SHORT
        && transcript.iter().any(|item| item.role == Role::User && item.text().trim() == text)
}

#[cfg(test)]
mod tests;
