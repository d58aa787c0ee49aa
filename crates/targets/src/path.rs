//! Where the reply is in a JSON document.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::excerpt::excerpt;

/// The maximum length of a path in bytes.
const MAX: usize = 512;

/// A path to one value in a JSON document: `$.output[0].text`, `$['a key']`, or the JSON pointer
/// (RFC 6901) `/output/0/text`. A negative index counts from the end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct JsonPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A member of an object.
    Member(String),
    /// An element of an array.
    Element(i64),
    /// A part of a pointer: a member, or an element if it is a number.
    Either(String),
}

impl JsonPath {
    /// The value at this path.
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(document, |value, step| match (step, value) {
            (Step::Member(name) | Step::Either(name), Value::Object(members)) => members.get(name),
            (Step::Element(index), Value::Array(elements)) => {
                let index = if *index < 0 { i64::try_from(elements.len()).ok()? + index } else { *index };
                elements.get(usize::try_from(index).ok()?)
            }
            (Step::Either(name), Value::Array(elements)) => elements.get(name.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl TryFrom<String> for JsonPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > MAX {
            return Err(format!("a path must have at most {MAX} bytes"));
        }
        let steps = if let Some(path) = text.strip_prefix('$') {
            path_steps(path)
        } else if text.is_empty() || text.starts_with('/') {
            Some(text.split('/').skip(1).map(pointer_step).collect())
        } else {
            None
        };
        match steps {
            Some(steps) => Ok(Self { text, steps }),
            None => Err(format!(
                "`{}` is not a path to one value; write it as `$.output[0].text` or `/output/0/text`",
                excerpt(&text)
            )),
        }
    }
}

/// A part of a JSON pointer, in which `~1` stands for `/` and `~0` for `~`.
fn pointer_step(part: &str) -> Step {
    Step::Either(part.replace("~1", "/").replace("~0", "~"))
}

/// The steps of `.member`, `[0]` and `['member']`.
fn path_steps(mut path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !path.is_empty() {
        if let Some(rest) = path.strip_prefix('.') {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let is_name = |char: char| char.is_alphanumeric() || char == '_' || char == '-';
            if name.is_empty() || !name.chars().all(is_name) {
                return None;
            }
            steps.push(Step::Member(name.to_owned()));
            path = rest;
        } else {
            let rest = path.strip_prefix('[')?;
            let quote = rest.chars().next().filter(|char| matches!(char, '\'' | '"'));
            if let Some(quote) = quote {
                let (name, rest) = rest[1..].split_once(quote)?;
                steps.push(Step::Member(name.to_owned()));
                path = rest.strip_prefix(']')?;
            } else {
                let (index, rest) = rest.split_once(']')?;
                steps.push(Step::Element(index.parse().ok()?));
                path = rest;
            }
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn find(path: &str, document: &Value) -> Option<Value> {
        JsonPath::try_from(path.to_owned()).unwrap().find(document).cloned()
    }

    #[test]
    fn value_is_found_by_path_and_pointer() {
        let document = json!({ "output": [{ "text": "a" }, { "text": "b" }], "a/b~": 1, "x y": { "0": 2 } });
        for (path, value) in [
            ("$.output[0].text", json!("a")),
            ("$.output[-1].text", json!("b")),
            ("$['output'][1][\"text\"]", json!("b")),
            ("/output/1/text", json!("b")),
            ("/a~1b~0", json!(1)),
            ("$['a/b~']", json!(1)),
            ("$['x y']['0']", json!(2)),
            ("/x y/0", json!(2)),
        ] {
            assert_eq!(find(path, &document), Some(value), "{path}");
        }
        assert_eq!(find("$", &document), Some(document.clone()));
        assert_eq!(find("", &document), Some(document.clone()));
    }

    #[test]
    fn missing_value_is_not_found() {
        let document = json!({ "output": ["a"] });
        for path in
            ["$.output[1]", "$.output[-2]", "$.output.text", "$.other", "/output/-1", "/output/x", "$[0]"]
        {
            assert_eq!(find(path, &document), None, "{path}");
        }
    }

    #[test]
    fn malformed_path_is_refused() {
        for path in [
            "output", "$output", "$.", "$..text", "$.a.", "$[", "$[a]", "$['a'", "$[*]", "$.*", "$[?@.a]",
            "$[0:2]",
        ] {
            assert!(JsonPath::try_from(path.to_owned()).is_err(), "{path}");
        }
    }
}
