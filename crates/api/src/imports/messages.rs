//! The messages of an imported conversation, in the format of OpenAI's chat completions.

use onerun_domain::{ImportedMessage, LeftOutMessages, MessageText, NewImport, Role};
use serde_json::{Map, Value, json};

use crate::{
    fields::{Errors, Field, List},
    json::join,
};

/// The maximum number of parts of a message.
const MAX_PARTS: usize = 50;

/// The types of parts whose text is what somebody said, each with the member that holds it. The first is that of chat
/// completions and of exports, the next two are those of OpenAI's responses.
const TEXT_PARTS: [(&str, &str); 4] =
    [("text", "text"), ("input_text", "text"), ("output_text", "text"), (REFUSAL, REFUSAL)];

/// The member, and the type of a part, that holds an agent's refusal to answer.
const REFUSAL: &str = "refusal";

/// The messages of a conversation.
pub(super) struct Messages {
    /// The messages of person and agent, at least one.
    pub(super) said: Vec<ImportedMessage>,
    /// How many others there were.
    pub(super) left_out: LeftOutMessages,
}

impl Field for Messages {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let List(read) = List::<Message, 1, { NewImport::MAX_MESSAGES }>::read(value, pointer, errors)?;
        let (mut said, mut left_out) = (Vec::new(), LeftOutMessages::default());
        for message in read {
            match message {
                Message::Said(message) => said.push(message),
                Message::System => left_out.system += 1,
                Message::Tool => left_out.tool += 1,
            }
        }
        if said.is_empty() {
            errors.push(pointer, "must have a message of `user` or `assistant` with a text, and has none");
            return None;
        }
        Some(Self { said, left_out })
    }

    fn schema() -> Value {
        List::<Message, 1, { NewImport::MAX_MESSAGES }>::schema()
    }
}

/// One message.
enum Message {
    /// Person or agent said it.
    Said(ImportedMessage),
    /// Instructions to the agent.
    System,
    /// A call of a tool, or its result.
    Tool,
}

impl Field for Message {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let Value::Object(mut message) = value else {
            errors.push(pointer, "must be an object with `role` and `content`");
            return None;
        };
        let role = match message.remove("role").as_ref().and_then(Value::as_str) {
            Some("system" | "developer") => return Some(Self::System),
            Some("tool" | "function") => return Some(Self::Tool),
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => {
                let roles = "user, assistant, system, developer, tool, function";
                errors.push(&join(pointer, "role"), format!("must be one of {roles}"));
                return None;
            }
        };
        let calls_tools = role == Role::Assistant && calls_tools(&message);
        let pointer = &join(pointer, "content");
        let content = match message.remove("content").unwrap_or_default() {
            // Some programs write an empty text beside the calls.
            Value::String(text) if text.is_empty() && calls_tools => return Some(Self::Tool),
            Value::Array(parts) if parts.is_empty() && calls_tools => return Some(Self::Tool),
            text @ Value::String(_) => vec![MessageText::read(text, pointer, errors)?],
            parts @ Value::Array(_) => {
                let List(parts) = List::<Part, 1, MAX_PARTS>::read(parts, pointer, errors)?;
                parts.into_iter().map(|Part(text)| text).collect()
            }
            Value::Null => match message.remove(REFUSAL) {
                Some(refusal @ Value::String(_)) if role == Role::Assistant => {
                    vec![MessageText::read(refusal, pointer, errors)?]
                }
                _ if calls_tools => return Some(Self::Tool),
                _ => {
                    errors.push(pointer, "is required: a text, or a list of parts with a text each");
                    return None;
                }
            },
            _ => {
                errors.push(pointer, "must be a text, or a list of parts with a text each");
                return None;
            }
        };
        Some(Self::Said(ImportedMessage { role, content }))
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "role": {
                    "type": "string",
                    "enum": ["user", "assistant", "system", "developer", "tool", "function"],
                },
                "content": {
                    "anyOf": [
                        MessageText::schema(),
                        { "type": "array", "items": Part::schema(), "minItems": 1, "maxItems": MAX_PARTS },
                        { "type": "null" },
                    ],
                    "description": "The text, or text parts. Null if the agent only called tools.",
                },
                "refusal": {
                    "type": ["string", "null"],
                    "description": "The agent's words if it refused to answer and `content` is null.",
                },
            },
            "required": ["role"],
            "additionalProperties": true,
        })
    }
}

/// Whether an agent's message calls tools.
fn calls_tools(message: &Map<String, Value>) -> bool {
    message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
        || message.get("function_call").is_some_and(Value::is_object)
}

/// A part of a message.
struct Part(MessageText);

impl Field for Part {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let Value::Object(mut part) = value else {
            errors.push(pointer, "must be an object with `type` and `text`");
            return None;
        };
        let kind = part.remove("type");
        let kind = kind.as_ref().and_then(Value::as_str);
        let Some((_, member)) = TEXT_PARTS.iter().find(|(known, _)| Some(*known) == kind) else {
            errors.push(
                &join(pointer, "type"),
                "must be `text`: only text can be judged, so leave out images, audio and files, or describe them in words",
            );
            return None;
        };
        let pointer = &join(pointer, member);
        let Some(text) = part.remove(*member) else {
            errors.push(pointer, "is required");
            return None;
        };
        MessageText::read(text, pointer, errors).map(Self)
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "type": { "type": "string", "enum": TEXT_PARTS.map(|(kind, _)| kind) },
                "text": MessageText::schema(),
                "refusal": MessageText::schema(),
            },
            "required": ["type"],
            "additionalProperties": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fields::{Fields, input};

    input! {
        struct Body {
            messages: Messages = required("The messages."),
        }
    }

    fn read(messages: &Value) -> Result<Messages, Vec<String>> {
        match Fields::read_root::<Body>(json!({ "messages": messages })) {
            Ok(body) => Ok(body.messages),
            Err(crate::ApiError::Invalid(errors)) => Err(errors
                .into_iter()
                .map(|error| format!("{:?} {}", error.location, error.detail))
                .collect()),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn said(messages: &Value) -> Vec<(&'static str, Vec<String>)> {
        let read = read(messages).unwrap_or_else(|errors| panic!("{errors:?}"));
        let texts = |message: &ImportedMessage| {
            message.content.iter().map(|text| text.as_str().to_owned()).collect::<Vec<_>>()
        };
        read.said.iter().map(|message| (message.role.as_str(), texts(message))).collect()
    }

    #[test]
    fn words_of_both_sides_are_kept_in_order_and_in_parts() {
        let messages = json!([
            { "role": "user", "content": "Hello?", "name": "Ada" },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "input_text", "text": "b" }] },
            { "role": "assistant", "content": "", "refusal": null, "audio": null },
            { "role": "assistant", "content": null, "refusal": "I cannot help with that." },
            { "role": "assistant", "content": [{ "type": "refusal", "refusal": "No." }] },
            { "role": "assistant", "content": "One moment.", "tool_calls": [{ "id": "call_1" }] },
        ]);
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            said(&messages),
            [
                ("user", texts(&["Hello?"])),
                ("user", texts(&["a", "b"])),
                ("assistant", texts(&[""])),
                ("assistant", texts(&["I cannot help with that."])),
                ("assistant", texts(&["No."])),
                ("assistant", texts(&["One moment."])),
            ]
        );
    }

    #[test]
    fn instructions_and_tools_are_left_out_and_counted() {
        let messages = json!([
            { "role": "system", "content": "You are kind." },
            { "role": "developer", "content": [{ "type": "image_url" }] },
            { "role": "user", "content": "Where is my parcel?" },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "call_1" }] },
            { "role": "assistant", "content": "", "tool_calls": [{ "id": "call_2" }] },
            { "role": "assistant", "content": [], "function_call": { "name": "find" } },
            { "role": "tool", "tool_call_id": "call_1", "content": "{}" },
            { "role": "function", "name": "find", "content": null },
        ]);
        let read = read(&messages).unwrap();
        assert_eq!((read.said.len(), read.left_out), (1, LeftOutMessages { system: 2, tool: 5 }));
    }

    #[test]
    fn messages_without_text_are_refused_with_their_place() {
        let errors = read(&json!([
            { "role": "user", "content": [{ "type": "text", "text": "See:" }, { "type": "image_url", "image_url": {} }] },
            { "role": "user", "content": null },
            { "role": "assistant", "tool_calls": [] },
            { "role": "user", "content": "", "tool_calls": [{}] },
            { "role": "user", "tool_calls": [{}] },
            { "role": "bot", "content": "Hi." },
            { "role": 7 },
            "Hi.",
            { "role": "user", "content": 7 },
            { "role": "user", "content": [] },
            { "role": "user", "content": ["Hi."] },
            { "role": "user", "content": [{ "type": "text" }] },
            { "role": "user", "content": [{ "type": "text", "text": "\u{1b}[2J" }] },
            { "role": "user", "content": "a".repeat(32_001) },
        ]))
        .err()
        .unwrap();
        let places: Vec<_> = errors.iter().map(|error| error.split('"').nth(1).unwrap()).collect();
        assert_eq!(
            places,
            [
                "/messages/0/content/1/type",
                "/messages/1/content",
                "/messages/2/content",
                "/messages/4/content",
                "/messages/5/role",
                "/messages/6/role",
                "/messages/7",
                "/messages/8/content",
                "/messages/9/content",
                "/messages/10/content/0",
                "/messages/11/content/0/text",
                "/messages/12/content/0/text",
                "/messages/13/content",
            ]
        );
    }

    #[test]
    fn conversation_in_which_nobody_speaks_is_refused() {
        for messages in [json!([]), json!(null), json!({}), json!([{ "role": "system", "content": "Hi." }])] {
            assert!(read(&messages).is_err(), "{messages}");
        }
        assert!(read(&Value::Array(vec![json!({ "role": "user", "content": "a" }); 1_000])).is_ok());
        assert!(read(&Value::Array(vec![json!({ "role": "user", "content": "a" }); 1_001])).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let words = prop_oneof![
            "[a-z]{0,3}",
            Just("user".to_owned()),
            Just("assistant".to_owned()),
            Just("tool".to_owned()),
            Just("text".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            words.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let names = prop_oneof![
                Just("role"),
                Just("content"),
                Just("type"),
                Just("text"),
                Just("refusal"),
                Just("tool_calls")
            ];
            let names = names.prop_map(str::to_owned);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(names, inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused_with_a_place(messages in value()) {
            let count = messages.as_array().map(Vec::len);
            match read(&messages) {
                Ok(read) => {
                    let LeftOutMessages { system, tool } = read.left_out;
                    prop_assert_eq!(Some(read.said.len() + (system + tool) as usize), count);
                    prop_assert!(read.said.iter().all(|message| !message.content.is_empty()));
                }
                Err(errors) => prop_assert!(!errors.is_empty()),
            }
        }
    }
}
