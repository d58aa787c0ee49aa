//! Narrower schemas for a small model.
//!
//! A model of 135 million parameters does not know when a list or a text is long enough, cannot number its verdicts,
//! and does not give a score that fits its verdict. The grammar that llama.cpp makes of a schema does that for it. All
//! texts and choices are the model's own.

use serde_json::{Value, json};

use super::{Prompt, Role, Wire};

/// The most characters of a text.
const TEXT: usize = 40;

/// The most items of a list.
const LIST: usize = 1;

/// The body of a prompt with a narrower schema. `None` if it has no schema.
pub(super) fn body(prompt: &Prompt) -> Option<Value> {
    let schema = schema(prompt)?;
    let mut body = prompt.body.clone();
    let place = match (prompt.wire, prompt.is_tool) {
        (Wire::ChatCompletions, _) => body.pointer_mut("/response_format/json_schema/schema"),
        (Wire::Messages, true) => body.pointer_mut("/tools/0/input_schema"),
        (Wire::Messages, false) => body.pointer_mut("/output_config/format/schema"),
        (Wire::Converse, true) => body.pointer_mut("/toolConfig/tools/0/toolSpec/inputSchema/json"),
        (Wire::Converse, false) => body.pointer_mut("/outputConfig/textFormat/structure/jsonSchema/schema"),
    };
    let is_text = prompt.wire == Wire::Converse && !prompt.is_tool;
    *place? = if is_text { schema.to_string().into() } else { schema };
    Some(body)
}

/// The narrower schema of a prompt.
pub(super) fn schema(prompt: &Prompt) -> Option<Value> {
    let mut schema = prompt.schema.clone()?;
    let item = schema.pointer("/properties/verdicts/items").cloned();
    // A narrow schema has no `items`. Converse's server asks through a second provider, which gets one.
    if let Some(item) = item.filter(|_| Role::of(prompt) == Some(Role::Judge)) {
        let of = |verdict: &str, scores: &[u8], number: usize| {
            let mut item = item.clone();
            item["properties"]["objective"] = json!({ "const": number });
            item["properties"]["verdict"] = json!({ "const": verdict });
            item["properties"]["score"] = json!({ "enum": scores });
            item
        };
        let verdicts: Vec<Value> = (1..=prompt.objectives())
            .map(|number| {
                let choices = [
                    of("passed", &[3, 4, 5], number),
                    of("failed", &[0, 1, 2], number),
                    of("inconclusive", &[0], number),
                ];
                json!({ "anyOf": choices })
            })
            .collect();
        schema["properties"]["verdicts"] = json!({ "type": "array", "prefixItems": verdicts });
    }
    shorten(&mut schema);
    Some(schema)
}

/// Bounds all texts and lists of a schema.
fn shorten(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("type") == Some(&json!("string")) && !fields.contains_key("enum") {
                fields.insert("minLength".to_owned(), 1.into());
                fields.insert("maxLength".to_owned(), TEXT.into());
            }
            if fields.get("type") == Some(&json!("array")) && fields.contains_key("items") {
                fields.insert("maxItems".to_owned(), LIST.into());
            }
            fields.values_mut().for_each(shorten);
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;
    use crate::provider::PROVIDER_KEY;

    /// The prompt of a judge, with this schema.
    fn prompt(schema: &Value) -> Prompt {
        let body = json!({
            "model": "test",
            "messages": [{ "role": "user", "content": "{\"criteria\":\"The agent helps.\",\"objective\":1}" }],
            "response_format": {
                "type": "json_schema",
                "json_schema": { "name": "verdicts", "strict": true, "schema": schema },
            },
        });
        let request = Request::post("/v1/chat/completions")
            .header("authorization", format!("Bearer {PROVIDER_KEY}"))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))
            .unwrap();
        Prompt::read(&request).unwrap_or_else(|rejection| panic!("{}", rejection.reason))
    }

    #[test]
    fn narrow_schema_stays_as_it_is() {
        let verdict = json!({
            "type": "object",
            "properties": {
                "objective": { "type": "integer" },
                "reasoning": { "type": "string" },
                "verdict": { "type": "string", "enum": ["passed", "failed", "inconclusive"] },
                "score": { "type": "integer", "enum": [0, 1, 2, 3, 4, 5] },
            },
            "required": ["objective", "reasoning", "verdict", "score"],
            "additionalProperties": false,
        });
        let wide = json!({
            "type": "object",
            "properties": { "verdicts": { "type": "array", "items": verdict } },
            "required": ["verdicts"],
            "additionalProperties": false,
        });
        let narrow = schema(&prompt(&wide)).unwrap();
        let choice = &narrow["properties"]["verdicts"]["prefixItems"][0]["anyOf"][1];
        assert_eq!(choice["properties"]["objective"], json!({ "const": 1 }));
        assert_eq!(choice["required"], verdict["required"]);
        assert_eq!(schema(&prompt(&narrow)).unwrap(), narrow);
    }
}
