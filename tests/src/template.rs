//! The template as it is in the file, without resolved references.

use std::fs;

use serde_json::{Map, Value, json};
use yaml_serde::Value as Yaml;

use crate::process::workspace;

/// `template.yaml` as JSON, with short forms such as `!Ref` written out as `{"Ref": …}`.
pub fn read() -> Value {
    let path = workspace().join("template.yaml");
    let text = fs::read_to_string(&path).expect("template.yaml can be read");
    written_out(yaml_serde::from_str(&text).expect("template.yaml is YAML"))
}

/// The logical id of an operation's function: `get_whoami` is `GetWhoamiFunction`.
pub fn logical_id(operation: &str) -> String {
    let words: String = operation.split('_').map(capitalised).collect();
    words + "Function"
}

/// A word with a capital letter.
pub(crate) fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

fn written_out(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(is) => is.into(),
        Yaml::Number(number) => serde_json::to_value(number).expect("a number of JSON"),
        Yaml::String(text) => text.into(),
        Yaml::Sequence(values) => values.into_iter().map(written_out).collect(),
        Yaml::Mapping(entries) => {
            let member = |(name, value): (Yaml, Yaml)| {
                (name.as_str().expect("names are texts").to_owned(), written_out(value))
            };
            entries.into_iter().map(member).collect::<Map<_, _>>().into()
        }
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            match (tag.trim_start_matches('!'), written_out(tagged.value)) {
                ("Ref", name) => json!({ "Ref": name }),
                // `!GetAtt Table.Arn` is the table's attribute `Arn`.
                ("GetAtt", Value::String(path)) => {
                    let (name, attribute) = path.split_once('.').expect("an attribute of a resource");
                    json!({ "Fn::GetAtt": [name, attribute] })
                }
                (function, value) => json!({ format!("Fn::{function}"): value }),
            }
        }
    }
}
