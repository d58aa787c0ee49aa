//! Writes a persona's next message.

use std::fmt::Write as _;

use onerun_domain::{Item, Persona, Role, derive_seed};
use onerun_engine::{ModelError, Reply, ReplyRequest};
use serde::Deserialize;

use crate::{
    ask::Asked,
    chat::{ChatMessage, ChatRequest, ChatRole, Schema},
};

/// Reasoning counts as output, so the limit is far above the length of a message.
const MAX_TOKENS: u32 = 4_000;

const SCHEMA: Schema = Schema {
    name: "reply",
    json: r#"{
        "type": "object",
        "properties": {
            "message": { "type": "string", "description": "The person's next message; empty if the person says nothing more." },
            "stop": { "type": "boolean", "description": "Whether the person ends the conversation with this message." },
            "reason": { "type": "string", "enum": ["continues", "goal_completed", "gave_up", "transferred", "out_of_scope"] }
        },
        "required": ["message", "stop", "reason"],
        "additionalProperties": false
    }"#,
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
above; if you are asked for something that is not given, say that you do not have it. Never invent a value.
- You are not the agent: do not offer help, do not carry out what you asked for, do not confirm on the agent's behalf.
- If the agent repeats one of your facts wrongly, correct it.
- Do not repeat a message that you have written. Never mention that this is a test or that you are a model.

When to stop (`stop`: true, with a `reason`):
- `goal_completed`: the agent has said that what you want is done, not only that it will be done.
- `gave_up`: the agent clearly cannot or will not help, and you have tried once more.
- `transferred`: the agent hands you over to a human. `out_of_scope`: the conversation has left your subject for good.
- Never stop while the agent asks you something that it needs in order to go on, such as a confirmation: answer first, with \
`stop`: false. In all other cases `stop` is false and `reason` is `continues`.

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
        system: instructions(request),
        messages: messages(transcript),
        schema: Some(&SCHEMA),
        max_tokens: MAX_TOKENS,
        temperature: Some(0.8),
        seed: Some(seed >> 33),
    };
    let opens = transcript.is_empty();
    let check = |written: Written| {
        let text = written.message.unwrap_or_default();
        let text = plain(&text, persona).to_owned();
        if text.is_empty() && (opens || !written.stop) {
            return Err("`message` must not be empty unless `stop` is true".to_owned());
        }
        if repeats(&text, transcript) {
            return Err(
                "`message` repeats an earlier message word for word; write what this person says next"
                    .to_owned(),
            );
        }
        Ok(Reply { text: Some(text).filter(|text| !text.is_empty()), ends: written.stop })
    };
    let mut reply = asked.ask(chat, check).await?.answer;
    // A model that stops here would leave the agent without the answer that it needs.
    if opens || (reply.text.is_some() && awaits_answer(transcript)) {
        reply.ends = false;
    }
    Ok(reply)
}

fn instructions(request: &ReplyRequest<'_>) -> String {
    let ReplyRequest { simulation, agent, persona, .. } = *request;
    let mut text = format!("{RULES}\n\nThe person:\n{}\n\n{}\n", persona.summary, persona.story);
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
            _ = writeln!(text, "{name}: {value}");
        }
    }
    _ = write!(text, "\nThe situation: {}\nThe agent: {}", simulation.scenario.as_str(), agent.name.as_str());
    if let Some(description) = &agent.description {
        _ = write!(text, ", {}", description.as_str());
    }
    text
}

/// The transcript as the model sees it: its own messages are the assistant's. Messages of one side in a row are joined,
/// so that turns alternate; nothing is left out.
fn messages(transcript: &[Item]) -> Vec<ChatMessage> {
    let mut messages = vec![ChatMessage { role: ChatRole::User, text: OPENING.to_owned() }];
    for item in transcript {
        let role = match item.role {
            Role::User => ChatRole::Assistant,
            Role::Assistant => ChatRole::User,
        };
        let text = item.text();
        match messages.last_mut() {
            // If the agent spoke first, the person did not.
            Some(last) if role == ChatRole::User && last.text == OPENING => last.text = text,
            Some(last) if last.role == role => {
                last.text.push_str("\n\n");
                last.text.push_str(&text);
            }
            _ => messages.push(ChatMessage { role, text }),
        }
    }
    messages
}

/// A message without a label, such as the person's name, and without quotation marks around it.
fn plain<'a>(text: &'a str, persona: &Persona) -> &'a str {
    let mut text = text.trim();
    let name = persona.summary.split([',', ' ']).next().unwrap_or_default();
    for label in ["User", "Customer", "Person", "Me", name] {
        if let Some(rest) = text.strip_prefix(label).and_then(|rest| rest.strip_prefix(':'))
            && !label.is_empty()
        {
            text = rest.trim_start();
        }
    }
    for (open, close) in [('"', '"'), ('“', '”')] {
        let inner = text.strip_prefix(open).and_then(|text| text.strip_suffix(close));
        if let Some(inner) = inner.filter(|inner| !inner.contains([open, close])) {
            text = inner.trim();
        }
    }
    text
}

fn repeats(text: &str, transcript: &[Item]) -> bool {
    /// Short messages, such as "Yes, please.", may be said twice.
    const SHORT: usize = 40;
    text.chars().count() > SHORT
        && transcript.iter().any(|item| item.role == Role::User && item.text().trim() == text)
}

/// Whether the agent's last message asks something that it needs an answer to. An offer of more help does not.
fn awaits_answer(transcript: &[Item]) -> bool {
    const OFFERS: [&str; 6] = [
        "anything else",
        "something else",
        "any other question",
        "other questions",
        "further assist",
        "help you with today",
    ];
    let Some(last) = transcript.last().filter(|item| item.role == Role::Assistant) else { return false };
    let text = last.text();
    let Some(end) = text.rfind(['?', '？', '؟']) else { return false };
    let start = text[..end]
        .rfind(['.', '!', '?', '\n', '。', '！', '？'])
        .map_or(0, |index| index + text[index..].chars().next().map_or(1, char::len_utf8));
    let question = text[start..end].to_lowercase();
    !OFFERS.iter().any(|offer| question.contains(offer))
}
