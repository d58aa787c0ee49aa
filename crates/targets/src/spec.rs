//! The description of how to reach an agent, as a user writes it.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use crate::{
    env_text::{EnvText, check_variable},
    excerpt::excerpt,
    path::JsonPath,
    template::Template,
};

/// How to reach an agent.
///
/// Every value was parsed, so an invalid description does not deserialize, and the error is at its field.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum TargetSpec {
    /// An API that is compatible with OpenAI's chat completions.
    OpenAi(OpenAiSpec),
    /// Any HTTP endpoint that takes and returns JSON.
    Http(HttpSpec),
    /// A command that speaks JSON lines on its standard input and output.
    Command(CommandSpec),
    /// Workers outside hold the conversations.
    Workers,
}

impl<'de> Deserialize<'de> for TargetSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = TargetSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a target: {FORMS}")
            }

            fn visit_str<E: de::Error>(self, kind: &str) -> Result<TargetSpec, E> {
                match Kind::parse(kind) {
                    Some(Kind::Workers) => Ok(TargetSpec::Workers),
                    Some(_) => Err(E::custom(format!("`{kind}` needs settings: write {FORMS}"))),
                    None => Err(E::custom(unknown_kind(kind))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<TargetSpec, A::Error> {
                let Some(kind) = members.next_key::<Kind>()? else {
                    return Err(de::Error::custom(format!("the target is missing: write {FORMS}")));
                };
                let target = match kind {
                    Kind::OpenAi => TargetSpec::OpenAi(members.next_value()?),
                    Kind::Http => TargetSpec::Http(members.next_value()?),
                    Kind::Command => TargetSpec::Command(members.next_value()?),
                    Kind::Workers => {
                        return Err(de::Error::custom("`workers` has no settings: write `target: workers`"));
                    }
                };
                match members.next_key::<Kind>()? {
                    None => Ok(target),
                    Some(_) => Err(de::Error::custom("a target has one kind: remove the others")),
                }
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

/// The forms of a target, for errors.
const FORMS: &str = "`{openai: {url: …, model: …}}`, `{http: {url: …, body: …, reply: …}}`, `{command: [python, agent.py]}` or \
    `workers`";

/// The kinds of targets.
#[derive(Deserialize)]
#[serde(try_from = "String")]
enum Kind {
    OpenAi,
    Http,
    Command,
    Workers,
}

impl Kind {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "openai" => Some(Self::OpenAi),
            "http" => Some(Self::Http),
            "command" => Some(Self::Command),
            "workers" => Some(Self::Workers),
            _ => None,
        }
    }
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        Self::parse(&word).ok_or_else(|| unknown_kind(&word))
    }
}

fn unknown_kind(word: &str) -> String {
    format!("`{}` is not a kind of target: write {FORMS}", excerpt(word))
}

/// An API that is compatible with OpenAI's chat completions. It receives the whole conversation each turn.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with `url` and `model`")]
pub struct OpenAiSpec {
    /// The base URL, such as `http://localhost:8000/v1`. `/chat/completions` is appended unless it is there.
    pub url: UrlText,
    /// The model to name in each request.
    pub model: String,
    /// The environment variable with the API key, which is sent as a bearer token.
    #[serde(default)]
    pub api_key_env: Option<VariableName>,
    /// A system message before the conversation.
    #[serde(default)]
    pub system: Option<String>,
    /// Further headers. `${env:NAME}` stands for an environment variable.
    #[serde(default)]
    pub headers: Headers,
    /// How long one reply may take, in seconds.
    #[serde(default)]
    pub timeout_seconds: Timeout,
}

/// Any HTTP endpoint that takes and returns JSON.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object with `url`, `body` and `reply`")]
pub struct HttpSpec {
    /// The URL of the endpoint.
    pub url: UrlText,
    /// The method.
    #[serde(default)]
    pub method: HttpMethod,
    /// Headers. `${env:NAME}` stands for an environment variable.
    #[serde(default)]
    pub headers: Headers,
    /// The document to send each turn. Its strings may have the expressions `message`, `messages`,
    /// `agent_id`, `conversation_id`, `simulation_id`, `attempt`, `turn` and `metadata` between `{{` and `}}`.
    pub body: Template,
    /// Where the reply is in the response: `$.output[0].text` or the JSON pointer `/output/0/text`.
    pub reply: JsonPath,
    /// Where the response says that the agent ends the conversation. The value must be true or false.
    #[serde(default)]
    pub end: Option<JsonPath>,
    /// How long one reply may take, in seconds.
    #[serde(default)]
    pub timeout_seconds: Timeout,
}

/// The method of a request with a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// `POST`.
    #[default]
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
}

impl From<HttpMethod> for http::Method {
    fn from(method: HttpMethod) -> Self {
        match method {
            HttpMethod::Post => Self::POST,
            HttpMethod::Put => Self::PUT,
            HttpMethod::Patch => Self::PATCH,
        }
    }
}

/// A command that holds one conversation per process. Either a list of the program and its arguments, or an
/// object.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandSpec {
    /// The program and its arguments; not empty. No shell is involved.
    pub run: Vec<String>,
    /// Environment variables in addition to those of this process. `${env:NAME}` stands for one of those.
    pub env: BTreeMap<VariableName, EnvText>,
    /// The working directory, relative to that of this process.
    pub cwd: Option<PathBuf>,
    /// How long one reply may take, in seconds.
    pub timeout_seconds: Timeout,
}

/// The object form of a [`CommandSpec`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CommandObject {
    /// The program and its arguments.
    run: CommandLine,
    /// Environment variables in addition to those of onerun. `${env:NAME}` stands for one of those.
    #[serde(default)]
    env: BTreeMap<VariableName, EnvText>,
    /// The working directory, relative to that of onerun.
    #[serde(default)]
    cwd: Option<PathBuf>,
    /// How long one reply may take, in seconds.
    #[serde(default)]
    timeout_seconds: Timeout,
}

/// A program and its arguments.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>")]
#[schemars(extend("minItems" = 1))]
struct CommandLine(Vec<String>);

impl TryFrom<Vec<String>> for CommandLine {
    type Error = &'static str;

    fn try_from(words: Vec<String>) -> Result<Self, Self::Error> {
        if words.first().is_none_or(String::is_empty) {
            return Err("must start with a program, such as `[python, agent.py]`");
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err("must not contain a null character");
        }
        Ok(Self(words))
    }
}

impl From<CommandObject> for CommandSpec {
    fn from(object: CommandObject) -> Self {
        let CommandObject { run: CommandLine(run), env, cwd, timeout_seconds } = object;
        Self { run, env, cwd, timeout_seconds }
    }
}

impl<'de> Deserialize<'de> for CommandSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = CommandSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list such as `[python, agent.py]`, or an object with `run`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, words: A) -> Result<CommandSpec, A::Error> {
                let CommandLine(run) =
                    CommandLine::deserialize(de::value::SeqAccessDeserializer::new(words))?;
                Ok(CommandSpec { run, env: BTreeMap::new(), cwd: None, timeout_seconds: Timeout::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<CommandSpec, A::Error> {
                let object = CommandObject::deserialize(de::value::MapAccessDeserializer::new(members))?;
                Ok(object.into())
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for CommandSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CommandSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let list = generator.subschema_for::<CommandLine>();
        let object = generator.subschema_for::<CommandObject>();
        json_schema!({
            "description": "A command that speaks JSON lines: the program and its arguments, or an object.",
            "oneOf": [list, object],
        })
    }
}

/// The name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct VariableName(String);

impl VariableName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for VariableName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        check_variable(&name)?;
        Ok(Self(name))
    }
}

/// An http or https URL, in which `${env:NAME}` stands for an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "EnvText")]
#[schemars(with = "String")]
pub struct UrlText(pub(crate) EnvText);

impl TryFrom<EnvText> for UrlText {
    type Error = String;

    fn try_from(text: EnvText) -> Result<Self, String> {
        // A URL with references can be checked only when they are replaced.
        if text.is_literal() {
            crate::endpoint::parse_url(&text.to_string())?;
        }
        Ok(Self(text))
    }
}

impl fmt::Display for UrlText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Headers of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "BTreeMap<String, EnvText>")]
#[schemars(with = "BTreeMap<String, String>")]
pub struct Headers(pub(crate) BTreeMap<String, EnvText>);

impl Headers {
    const MAX: usize = 32;
}

impl TryFrom<BTreeMap<String, EnvText>> for Headers {
    type Error = String;

    fn try_from(headers: BTreeMap<String, EnvText>) -> Result<Self, String> {
        if headers.len() > Self::MAX {
            return Err(format!("must be at most {} headers", Self::MAX));
        }
        for (name, value) in &headers {
            let parsed = http::HeaderName::try_from(name.as_str())
                .map_err(|_| format!("`{}` is not the name of a header", excerpt(name)))?;
            if ["connection", "content-length", "transfer-encoding"].contains(&parsed.as_str()) {
                return Err(format!("`{parsed}` is set by onerun; leave it out"));
            }
            if value.is_literal() && http::HeaderValue::try_from(value.to_string()).is_err() {
                return Err(format!("the value of `{parsed}` is not one line of text"));
            }
        }
        Ok(Self(headers))
    }
}

/// How long one reply may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "u64")]
#[schemars(extend("minimum" = 1, "maximum" = Self::MAX))]
pub struct Timeout(u16);

impl Timeout {
    const MAX: u16 = 600;

    /// The duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self(60)
    }
}

impl TryFrom<u64> for Timeout {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        match u16::try_from(seconds) {
            Ok(seconds) if (1..=Self::MAX).contains(&seconds) => Ok(Self(seconds)),
            _ => Err(format!("must be from 1 to {} seconds", Self::MAX)),
        }
    }
}

#[cfg(test)]
#[path = "spec/tests.rs"]
mod tests;
