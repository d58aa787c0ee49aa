//! Reads conversations from JSON lines: those of chat completions, and those of an export.

use onerun_domain::{EndReason, Name};
use serde_json::{Map, Value, json};

use crate::text::plain;

/// The members of a conversation that the API takes.
const FIELDS: [&str; 4] = ["messages", "case", "end_reason", "metadata"];

/// Members that stand beside `messages` in files for OpenAI's fine-tuning, and say nothing about the conversation.
const IGNORED: [&str; 3] = ["tools", "functions", "parallel_tool_calls"];

/// The conversations of a file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Conversations {
    /// Each as the API takes it.
    pub(super) bodies: Vec<Value>,
    /// The number of the line of each, from 1.
    pub(super) lines: Vec<usize>,
    /// The number of exported conversations that did not end, or have no messages.
    pub(super) left_out: u64,
}

/// A conversation of an export, whose messages are on the next lines.
struct Exported {
    line: usize,
    id: String,
    /// The place in the simulation, whose last conversation comes first in an export.
    place: u64,
    is_held: bool,
    body: Map<String, Value>,
    messages: Vec<Value>,
}

/// Reads the lines, or returns the error of each wrong one.
pub(super) fn read(text: &str) -> Result<Conversations, Vec<String>> {
    let mut found = Conversations::default();
    let (mut exported, mut errors) = (Vec::<Exported>::new(), Vec::new());
    for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        if let Err(error) = read_line(line, number, &mut found, &mut exported) {
            errors.push(format!("line {number}: {error}"));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    exported.sort_by_key(|one| one.place);
    for one in exported {
        if !one.is_held || one.messages.is_empty() {
            found.left_out += 1;
            continue;
        }
        let mut body = one.body;
        body.insert("messages".to_owned(), Value::Array(one.messages));
        found.bodies.push(Value::Object(body));
        found.lines.push(one.line);
    }
    Ok(found)
}

fn read_line(
    line: &str,
    number: usize,
    found: &mut Conversations,
    exported: &mut Vec<Exported>,
) -> Result<(), String> {
    // The message of the parser repeats no words of the line.
    let value: Value = serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))?;
    let Value::Object(mut object) = value else {
        return Err("must be an object with `messages`".to_owned());
    };
    if let Some(conversation) = object.get("conversation") {
        exported.push(exported_conversation(number, conversation)?);
        return Ok(());
    }
    if let Some(item) = object.get("item") {
        let last = exported.last_mut().filter(|last| item["conversation_id"].as_str() == Some(&last.id));
        let last = last.ok_or("has a message whose conversation is not on a line before it")?;
        last.messages.push(json!({ "role": item["role"], "content": item["content"] }));
        return Ok(());
    }
    if !object.contains_key("messages") {
        return Err("has neither `messages` nor, as in an export, `conversation` or `item`".to_owned());
    }
    object.retain(|name, _| !IGNORED.contains(&name.as_str()));
    if let Some(unknown) = object.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let known = FIELDS.join(", ");
        return Err(format!(
            "`{}` is none of the fields {known}; put your own data into `metadata`",
            plain(unknown)
        ));
    }
    found.bodies.push(Value::Object(object));
    found.lines.push(number);
    Ok(())
}

fn exported_conversation(line: usize, conversation: &Value) -> Result<Exported, String> {
    let id = conversation["id"].as_str().ok_or("has a `conversation` without `id`")?;
    let mut body = Map::new();
    let case = conversation["persona"]["summary"].as_str().map(case).unwrap_or_default();
    if !case.trim().is_empty() {
        body.insert("case".to_owned(), case.into());
    }
    let end = conversation["end_reason"].as_str().and_then(EndReason::parse);
    let end = end.filter(|end| EndReason::OF_HELD.contains(end));
    if let Some(end) = end {
        body.insert("end_reason".to_owned(), end.as_str().into());
    }
    body.insert("metadata".to_owned(), json!({ "conversation_id": id }));
    Ok(Exported {
        line,
        id: id.to_owned(),
        place: conversation["seq_id"].as_u64().unwrap_or(u64::MAX),
        is_held: end.is_some() && conversation["status"] == "ended",
        body,
        messages: Vec::new(),
    })
}

/// A persona's summary as a case: one line of bounded length, without characters that a name must not have.
fn case(summary: &str) -> String {
    let line: String = summary.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    plain(line.trim()).chars().take(Name::MAX_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_chat_completions_are_taken_as_they_are() {
        let text = "\u{feff}{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[]}\r\n\n  \n\
                    {\"case\":\"x\",\"metadata\":{\"n\":1.50},\"end_reason\":\"persona_decided\",\"messages\":7}";
        let found = read(text).unwrap();
        assert_eq!((found.lines, found.left_out), (vec![1, 4], 0));
        assert_eq!(found.bodies[0], json!({ "messages": [{ "role": "user", "content": "a" }] }));
        let second = r#"{"case":"x","metadata":{"n":1.50},"end_reason":"persona_decided","messages":7}"#;
        assert_eq!(found.bodies[1], serde_json::from_str::<Value>(second).unwrap());
    }

    #[test]
    fn wrong_lines_are_all_named_by_their_number() {
        let text = "{\n[]\n{}\n{\"messages\":[],\"model\u{202e}\":1}\n{\"item\":{\"conversation_id\":\"a\"}}\n{\"conversation\":{}}";
        let errors = read(text).unwrap_err();
        let starts = [
            "line 1: is not",
            "line 2: must",
            "line 3: has",
            "line 4: `model\\u{202E}`",
            "line 5: has",
            "line 6: has",
        ];
        assert_eq!(errors.len(), starts.len(), "{errors:?}");
        for (error, start) in errors.iter().zip(starts) {
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn export_is_read_in_the_order_of_its_conversations() {
        let conversation = |id: &str, seq: u32, status: &str, end: Value| {
            let persona = json!({ "summary": format!("{}\nof {id}", "Ada") });
            json!({ "conversation": { "id": id, "seq_id": seq, "status": status, "end_reason": end, "persona": persona } })
        };
        let item = |id: &str, words: &str| {
            let content = json!([{ "type": "text", "text": words }]);
            json!({ "item": { "conversation_id": id, "role": "user", "content": content } })
        };
        let lines = [
            conversation("c", 3, "failed", json!("lease_expired")),
            item("c", "lost"),
            conversation("b", 2, "ended", json!("persona_decided")),
            item("b", "one"),
            item("b", "two"),
            conversation("a", 1, "ended", json!("agent_decided")),
            item("a", "first"),
            conversation("d", 4, "ended", json!("agent_decided")),
        ];
        let text: Vec<_> = lines.iter().map(Value::to_string).collect();
        let found = read(&text.join("\n")).unwrap();
        assert_eq!((found.lines, found.left_out), (vec![6, 3], 2));
        let (first, second) = (&found.bodies[0], &found.bodies[1]);
        assert_eq!((&first["case"], &first["end_reason"]), (&json!("Ada of a"), &json!("agent_decided")));
        assert_eq!(second["messages"].as_array().unwrap().len(), 2);
        assert_eq!(second["metadata"], json!({ "conversation_id": "b" }));
        assert_eq!(
            second["messages"][1],
            json!({ "role": "user", "content": [{ "type": "text", "text": "two" }] })
        );
    }
}
