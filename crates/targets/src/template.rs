//! JSON documents with expressions.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use minijinja::{Environment, UndefinedBehavior};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use crate::excerpt::excerpt;

/// The maximum length of a string with expressions, in bytes.
const MAX_SOURCE: usize = 4096;

/// The maximum number of strings and containers in a template.
const MAX_VALUES: usize = 1000;

/// The maximum nesting of a template.
const MAX_DEPTH: usize = 32;

/// The work that one string may cause, in the template engine's unit: an instruction, or 64 bytes of intermediate data.
const FUEL: u64 = 10_000;

/// The maximum length of all texts and values that expressions put into one document, in bytes as JSON.
const MAX_RENDERED: usize = 4 * 1024 * 1024;

/// The variables of a template.
#[derive(Serialize)]
pub(crate) struct Variables<'a> {
    pub(crate) message: &'a str,
    pub(crate) messages: &'a [TemplateMessage<'a>],
    pub(crate) agent_id: &'a str,
    pub(crate) conversation_id: &'a str,
    pub(crate) simulation_id: &'a str,
    pub(crate) attempt: u32,
    pub(crate) turn: usize,
    pub(crate) metadata: &'a serde_json::Map<String, Value>,
}

/// The names of [`Variables`].
const NAMES: [&str; 8] =
    ["message", "messages", "agent_id", "conversation_id", "simulation_id", "attempt", "turn", "metadata"];

/// A message in the form that chat APIs use.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct TemplateMessage<'a> {
    pub(crate) role: &'static str,
    pub(crate) content: &'a str,
}

/// Strict about names. Filters that could multiply an agent's words are left out.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    use minijinja::filters;
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("string", filters::string);
    environment.add_filter("tojson", filters::tojson);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment
});

/// A JSON value whose strings may have expressions.
///
/// A string that is one expression, such as `{{ messages }}`, becomes the expression's value. In any other
/// string, expressions are replaced by their text. Keys are unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Value);

impl Template {
    /// The document for one turn. Fails with the place and the cause.
    pub(crate) fn render(&self, variables: &Variables<'_>) -> Result<Value, String> {
        let context = minijinja::Value::from(minijinja::value::Serde(variables));
        Rendering { context, place: String::new(), left: MAX_RENDERED }.render(&self.0)
    }
}

/// A document that is being rendered.
struct Rendering {
    context: minijinja::Value,
    /// The place in the document, for errors.
    place: String,
    /// How many bytes expressions may still add.
    left: usize,
}

impl Rendering {
    fn render(&mut self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => match Source::of(text) {
                Source::Text => value.clone(),
                source => {
                    self.evaluate(&source).map_err(|problem| format!("{}: {problem}", show(&self.place)))?
                }
            },
            Value::Array(elements) => {
                let render_at = |(index, element)| self.render_at(&format!("[{index}]"), element);
                Value::Array(elements.iter().enumerate().map(render_at).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let render_at = |(name, member): (&String, &Value)| {
                    self.render_at(&format!(".{name}"), member).map(|value| (name.clone(), value))
                };
                Value::Object(members.iter().map(render_at).collect::<Result<_, _>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    /// Renders a value that is one step deeper.
    fn render_at(&mut self, step: &str, value: &Value) -> Result<Value, String> {
        let length = self.place.len();
        self.place.push_str(step);
        let rendered = self.render(value);
        self.place.truncate(length);
        rendered
    }

    fn evaluate(&mut self, source: &Source<'_>) -> Result<Value, String> {
        let mut bounded = Bounded { bytes: Vec::new(), left: self.left };
        let written = source.write(&self.context, &mut bounded);
        self.left = bounded.left;
        match written {
            Ok(Form::Json) => serde_json::from_slice(&bounded.bytes).map_err(|error| error.to_string()),
            Ok(Form::Text) => {
                String::from_utf8(bounded.bytes).map(Value::String).map_err(|error| error.to_string())
            }
            Err(_) if bounded.left == 0 => Err(format!(
                "the document has more than {} MiB; refer to the conversation less often",
                MAX_RENDERED / (1024 * 1024)
            )),
            Err(problem) => Err(problem),
        }
    }
}

/// Takes as many bytes as are left.
struct Bounded {
    bytes: Vec<u8>,
    left: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            self.left = 0;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.left = left;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The form in which a source writes its value.
enum Form {
    Json,
    Text,
}

/// Calls a function with the place one step deeper.
fn at<T>(place: &mut String, step: &str, visit: impl FnOnce(&mut String) -> T) -> T {
    let length = place.len();
    place.push_str(step);
    let result = visit(place);
    place.truncate(length);
    result
}

fn show(place: &str) -> String {
    if place.is_empty() { "the template".to_owned() } else { format!("`{}`", excerpt(place)) }
}

/// A string of a template.
enum Source<'a> {
    /// Without expressions.
    Text,
    /// One expression, whose value replaces the string.
    Expression(&'a str),
    /// Text with expressions.
    Mixed(&'a str),
}

impl<'a> Source<'a> {
    fn of(text: &'a str) -> Self {
        let trimmed = text.trim();
        let inner = trimmed.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        match inner {
            // `{{ a }} and {{ b }}` is no single expression, and `{{ {"a": {}} }}` is one.
            Some(inner) if !inner.contains("}}") || ENVIRONMENT.compile_expression_owned(inner).is_ok() => {
                Self::Expression(inner)
            }
            _ if ["{{", "{%", "{#"].iter().any(|start| text.contains(start)) => Self::Mixed(text),
            _ => Self::Text,
        }
    }

    fn write(&self, context: &minijinja::Value, output: &mut Bounded) -> Result<Form, String> {
        match self {
            Self::Text => Err("has no expression".to_owned()),
            Self::Expression(source) => {
                let value = ENVIRONMENT
                    .compile_expression_owned(*source)
                    .and_then(|expression| expression.eval(context.clone()))
                    .map_err(|error| because(&error))?;
                if value.is_undefined() {
                    return Err("the expression has no value".to_owned());
                }
                serde_json::to_writer(output, &value).map_err(|error| excerpt(&error.to_string()))?;
                Ok(Form::Json)
            }
            Self::Mixed(source) => {
                ENVIRONMENT
                    .template_from_str(source)
                    .and_then(|template| template.render_captured_to(context, output).map(drop))
                    .map_err(|error| because(&error))?;
                Ok(Form::Text)
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let names = match self {
            Self::Text => return Ok(()),
            Self::Expression(source) => ENVIRONMENT
                .compile_expression_owned(*source)
                .map_err(|error| because(&error))?
                .undeclared_variables(false),
            Self::Mixed(source) => {
                if source.contains("{%") || source.contains("{#") {
                    return Err("has a statement or a comment; only `{{ … }}` is supported".to_owned());
                }
                ENVIRONMENT
                    .template_from_str(source)
                    .map_err(|error| because(&error))?
                    .undeclared_variables(false)
            }
        };
        match names.iter().find(|name| !NAMES.contains(&name.as_str())) {
            Some(name) => {
                Err(format!("unknown variable `{}`; there are {}", excerpt(name), NAMES.join(", ")))
            }
            None => Ok(()),
        }
    }
}

/// The cause of an error. Its position is in one string, so it is left out.
fn because(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {}", error.kind(), excerpt(detail)),
        None => error.kind().to_string(),
    }
}

impl TryFrom<Value> for Template {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        check(&value, &mut String::new(), 0, &mut 0)?;
        Ok(Self(value))
    }
}

fn check(value: &Value, place: &mut String, depth: usize, values: &mut usize) -> Result<(), String> {
    *values += 1;
    if *values > MAX_VALUES || depth > MAX_DEPTH {
        return Err(format!("must have at most {MAX_VALUES} values in {MAX_DEPTH} levels"));
    }
    match value {
        Value::String(text) if text.len() > MAX_SOURCE && !matches!(Source::of(text), Source::Text) => {
            Err(format!("{}: must have at most {MAX_SOURCE} bytes", show(place)))
        }
        Value::String(text) => {
            Source::of(text).check().map_err(|problem| format!("{}: {problem}", show(place)))
        }
        Value::Array(elements) => elements.iter().enumerate().try_for_each(|(index, element)| {
            at(place, &format!("[{index}]"), |place| check(element, place, depth + 1, values))
        }),
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            at(place, &format!(".{name}"), |place| check(member, place, depth + 1, values))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Template {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A JSON document. A string that is one expression, such as `{{ messages }}`, becomes the expression's value; other strings are rendered as text.",
        })
    }
}

#[cfg(test)]
#[path = "template/tests.rs"]
mod tests;
