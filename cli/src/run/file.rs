//! The file of a run, as a user writes it: YAML or JSON.
//!
//! Every value is parsed while the file is read, so that a wrong one is reported with its line and column.

mod personas;
mod values;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::Context;
use jiff::civil::Date;
use onerun_domain::{Criteria, Description, ModelName, Name, Scenario};
use onerun_report::Gate;
use onerun_targets::TargetSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::{input, yaml};
pub(crate) use personas::PersonasSpec;
pub(crate) use values::{Count, Key, Keyed, SeedNumber, Turns};
use values::{parsed, parsed_option, text_or_object};

/// The maximum size of the file in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// A run: agents in front of personas, and objectives that their conversations must meet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunFile {
    /// The name of the run. The names of its agents, objectives and simulations on the server start with it.
    #[serde(deserialize_with = "parsed::<Name, _>")]
    #[schemars(with = "String", length(min = 1, max = 200))]
    pub(crate) name: Name,
    /// The agent under test. Write either this or `agents`.
    #[serde(default)]
    pub(crate) agent: Option<AgentSpec>,
    /// Several agents, which meet the same personas with the same seeds. The first one's personas are generated.
    #[serde(default)]
    pub(crate) agents: Keyed<AgentSpec>,
    /// The situations that the personas are in.
    pub(crate) scenarios: Keyed<ScenarioSpec>,
    /// The properties of a good conversation.
    pub(crate) objectives: Keyed<ObjectiveSpec>,
    /// The number of conversations of each scenario with each agent. By default 10, or one with each persona if
    /// `personas` has them.
    #[serde(default)]
    pub(crate) conversations: Option<Count>,
    /// The personas of each scenario, who share the conversations evenly: their number, or the personas themselves. By
    /// default every conversation has a generated persona of its own.
    #[serde(default)]
    pub(crate) personas: Option<PersonasSpec>,
    /// The maximum number of messages in a conversation, of both sides together.
    #[serde(default = "default_turns")]
    pub(crate) max_turns: Turns,
    /// The seed of everything that is generated. The seed of each scenario follows from it and from the scenario's key.
    #[serde(default)]
    pub(crate) seed: SeedNumber,
    /// The models; the server's by default.
    #[serde(default)]
    pub(crate) models: ModelsSpec,
    /// The conditions of the verdict `pass`. Without any, every conversation must pass.
    #[serde(default)]
    pub(crate) gates: Vec<Gate>,
    /// The file with the approved baseline, relative to this file.
    #[serde(default)]
    pub(crate) baseline: Option<String>,
    /// Results that are shown but do not count, until a date.
    #[serde(default)]
    pub(crate) quarantine: Vec<QuarantineSpec>,
    /// Limits of the run.
    #[serde(default)]
    pub(crate) limits: LimitsSpec,
    /// Values to attach to every simulation. Agents receive them.
    #[serde(default)]
    pub(crate) metadata: Map<String, Value>,
}

fn default_turns() -> Turns {
    Turns::of(12)
}

/// An agent under test.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentSpec {
    /// How to reach the agent.
    pub(crate) target: TargetSpec,
    /// The agent's purpose, which personas are told.
    #[serde(default, deserialize_with = "parsed_option::<Description, _>")]
    #[schemars(with = "Option<String>", length(max = 10_000))]
    pub(crate) description: Option<Description>,
}

/// A situation that personas are in: a text, or an object.
#[derive(Debug)]
pub(crate) struct ScenarioSpec {
    pub(crate) text: Scenario,
    pub(crate) conversations: Option<Count>,
    pub(crate) personas: Option<PersonasSpec>,
    pub(crate) max_turns: Option<Turns>,
    pub(crate) objectives: Option<Vec<Spanned<Key>>>,
}

/// A situation that personas are in, with settings of its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScenarioObject {
    /// The situation.
    #[serde(deserialize_with = "parsed::<Scenario, _>")]
    #[schemars(with = "String", length(min = 1, max = 20_000))]
    text: Scenario,
    /// The number of conversations with each agent.
    #[serde(default)]
    conversations: Option<Count>,
    /// The personas: their number, or the personas themselves.
    #[serde(default)]
    personas: Option<PersonasSpec>,
    /// The maximum number of messages in a conversation.
    #[serde(default)]
    max_turns: Option<Turns>,
    /// The keys of the objectives. By default all of them.
    #[serde(default)]
    #[schemars(with = "Option<Vec<Key>>", length(min = 1, max = 50))]
    objectives: Option<Vec<Spanned<Key>>>,
}

impl<'de> Deserialize<'de> for ScenarioSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_object(
            deserializer,
            "the text of the scenario, or an object with `text`",
            |text| Scenario::parse(text).map(Self::of),
            |ScenarioObject { text, conversations, personas, max_turns, objectives }| Self {
                conversations,
                personas,
                max_turns,
                objectives,
                ..Self::of(text)
            },
        )
    }
}

impl ScenarioSpec {
    fn of(text: Scenario) -> Self {
        Self { text, conversations: None, personas: None, max_turns: None, objectives: None }
    }
}

/// A property of a good conversation: the criteria, or an object.
#[derive(Debug)]
pub(crate) struct ObjectiveSpec {
    pub(crate) name: Option<Name>,
    pub(crate) criteria: Criteria,
}

/// A property of a good conversation, with a name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ObjectiveObject {
    /// The name in reports; the key by default.
    #[serde(default, deserialize_with = "parsed_option::<Name, _>")]
    #[schemars(with = "Option<String>", length(min = 1, max = 200))]
    name: Option<Name>,
    /// The criteria: prose, `check:` lines, or both.
    #[serde(deserialize_with = "parsed::<Criteria, _>")]
    #[schemars(with = "String", length(min = 1, max = 10_000))]
    criteria: Criteria,
}

impl<'de> Deserialize<'de> for ObjectiveSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_object(
            deserializer,
            "the criteria, or an object with `criteria`",
            |criteria| Criteria::parse(criteria).map(|criteria| Self { name: None, criteria }),
            |ObjectiveObject { name, criteria }| Self { name, criteria },
        )
    }
}

/// The models of the simulations, each `offline` or `provider:model`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelsSpec {
    /// Generates the personas.
    #[serde(default, deserialize_with = "parsed_option::<ModelName, _>")]
    #[schemars(with = "Option<String>")]
    pub(crate) persona: Option<ModelName>,
    /// Writes the personas' messages.
    #[serde(default, deserialize_with = "parsed_option::<ModelName, _>")]
    #[schemars(with = "Option<String>")]
    pub(crate) reply: Option<ModelName>,
    /// Judges conversations against prose criteria.
    #[serde(default, deserialize_with = "parsed_option::<ModelName, _>")]
    #[schemars(with = "Option<String>")]
    pub(crate) judge: Option<ModelName>,
}

/// A case or objective whose results do not count for a while.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantineSpec {
    /// The key of the case: that of the scenario, or `scenario@agent` with several agents.
    pub(crate) case: String,
    /// The key of the objective. By default the whole case is in quarantine.
    #[serde(default)]
    pub(crate) objective: Option<String>,
    /// Who resolves it.
    #[serde(deserialize_with = "parsed::<Name, _>")]
    #[schemars(with = "String", length(min = 1, max = 200))]
    pub(crate) owner: Name,
    /// The last day, in UTC, such as `2027-01-31`. Afterwards the results count again.
    #[schemars(with = "String", extend("format" = "date"))]
    pub(crate) until: Date,
    /// Why.
    #[serde(deserialize_with = "parsed::<Name, _>")]
    #[schemars(with = "String", length(min = 1, max = 200))]
    pub(crate) reason: Name,
}

/// Limits of a run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsSpec {
    /// The cost of calls to models, in US dollars, at which simulations fail. The simulations share it in proportion to
    /// their conversations.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub(crate) max_cost_usd: Option<f64>,
    /// The time after which a simulation expires, in seconds; 3,600 by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub(crate) expires_in_seconds: Option<u32>,
    /// How many conversations are held with each agent at once; 10 by default.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub(crate) concurrency: Option<u16>,
}

/// A file with its text, for excerpts.
pub(crate) struct Source {
    /// The path as the user wrote it.
    pub(crate) path: String,
    directory: PathBuf,
    text: String,
}

impl Source {
    /// Reads a file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path)
            .with_context(|| format!("cannot read {name}; `onerun init` writes an example"))?;
        let text = input::read_bounded(file, &name, MAX_FILE)?;
        Ok(Self { path: name, directory: path.parent().unwrap_or(Path::new("")).to_owned(), text })
    }

    /// A file with this path and text.
    #[cfg(test)]
    pub(crate) fn of(path: &str, text: &str) -> Self {
        let directory = Path::new(path).parent().unwrap_or(Path::new("")).to_owned();
        Self { path: path.to_owned(), directory, text: text.to_owned() }
    }

    /// The directory that paths in the file are relative to.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Parses the file. The error has the place and an excerpt.
    pub(crate) fn parse(&self) -> anyhow::Result<RunFile> {
        yaml::parse(&self.text).map_err(|problem| match problem.place {
            Some((line, column)) => anyhow::anyhow!(self.at(line, column, &problem.message)),
            None => anyhow::anyhow!("{}: {problem}", self.path),
        })
    }

    /// A message with its place, the line and a caret.
    pub(crate) fn at(&self, line: u64, column: u64, message: &str) -> String {
        let place = format!("{}:{line}:{column}: {message}", self.path);
        let wanted = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(excerpt) = self.text.lines().nth(wanted) else { return place };
        let before = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
        // The caret stays within a line that is shown to its end.
        let cut: String = excerpt.chars().take(MAX_EXCERPT).collect();
        let caret = before.min(cut.chars().count());
        format!("{place}\n  {cut}\n  {:caret$}^", "")
    }
}

/// The maximum number of characters of a line in an error.
const MAX_EXCERPT: usize = 200;

mod schema {
    //! Schemas of the types with two forms.

    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{ObjectiveObject, ObjectiveSpec, ScenarioObject, ScenarioSpec};

    fn text_or<T: JsonSchema>(generator: &mut SchemaGenerator, max: usize, words: &str) -> Schema {
        let object = generator.subschema_for::<T>();
        json_schema!({
            "description": words,
            "oneOf": [{ "type": "string", "minLength": 1, "maxLength": max }, object],
        })
    }

    impl JsonSchema for ScenarioSpec {
        fn schema_name() -> Cow<'static, str> {
            "Scenario".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            text_or::<ScenarioObject>(
                generator,
                20_000,
                "A situation that personas are in: a text, or an object.",
            )
        }
    }

    impl JsonSchema for ObjectiveSpec {
        fn schema_name() -> Cow<'static, str> {
            "Objective".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let words = "A property of a good conversation: the criteria, or an object.";
            text_or::<ObjectiveObject>(generator, 10_000, words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: &str = "name: Desk\nagent: {target: {command: [./agent]}}\nscenarios: {refund: A broken kettle.}\n\
        objectives: {polite: 'check: agent never says /no/'}\n";

    fn parse(text: &str) -> Result<RunFile, String> {
        Source::of("onerun.yaml", text).parse().map_err(|error| error.to_string())
    }

    #[test]
    fn shortest_file_has_defaults() {
        let file = parse(SHORTEST).unwrap();
        assert_eq!((file.max_turns.get(), file.seed.get()), (12, 0));
        assert!(
            file.conversations.is_none()
                && file.gates.is_empty()
                && file.personas.is_none()
                && file.agents.is_empty()
        );
    }

    #[test]
    fn json_is_read_too() {
        let json = r#"{"name": "Desk", "agents": {"a": {"target": "workers"}}, "scenarios": {"refund": {"text": "A \u00e9.",
            "conversations": 3, "objectives": ["polite"]}}, "objectives": {"polite": {"name": "P", "criteria": "x"}},
            "gates": [{"pass_rate": {"min": 0.5}}]}"#;
        let file = parse(json).unwrap();
        assert_eq!(file.scenarios.iter().next().unwrap().1.text.as_str(), "A \u{e9}.");
        assert_eq!(file.gates[0].text(), "pass rate of all trials \u{2265} 50%");
    }

    #[test]
    fn wrong_value_is_reported_with_its_place_and_line() {
        let with = |more: &str| parse(&format!("{SHORTEST}{more}")).unwrap_err();
        for (more, place, message) in [
            ("conversatoins: 3\n", "onerun.yaml:5:1: ", "conversatoins"),
            ("conversations: 0\n", "onerun.yaml:5:16: ", "must be an integer from 1 to 10000"),
            ("conversations: many\n", "onerun.yaml:5:16: ", "must be a whole number"),
            ("max_turns: 500\n", "onerun.yaml:5:12: ", "must be an integer from 1 to 200"),
            ("seed: -1\n", "onerun.yaml:5:7: ", "must be a whole number, not below 0"),
            ("name: Twice\n", "onerun.yaml:5:1: ", "name"),
            ("gates:\n- pass_rate: {mni: 1}\n", "onerun.yaml:6:15: ", "mni"),
            ("gates:\n- pass_rate: {min: 1, onn: rate}\n", "onerun.yaml:6:23: ", "onn"),
            ("quarantine: [{case: a, owner: b, until: soon, reason: c}]\n", "onerun.yaml:5:41: ", ""),
            ("models: {judge: gpt}\n", "onerun.yaml:5:17: ", "provider"),
            ("agents:\n  A b: {target: workers}\n", "onerun.yaml:6:3: ", "lower-case"),
            ("agents:\n  a: workers\n", "onerun.yaml:6:6: ", "must be an object with fields"),
            ("baseline: [a]\n", "onerun.yaml:5:11: ", "must be a text"),
            ("gates: {pass_rate: {min: 1}}\n", "onerun.yaml:5:8: ", "must be a list"),
            ("personas: 0\n", "onerun.yaml:5:11: ", "must be an integer from 1 to 10000"),
            ("personas: many\n", "onerun.yaml:5:1: ", "expected a number, or a list of personas"),
            ("personas: []\n", "onerun.yaml:5:11: ", "must have 1 to 100 values"),
            ("personas: [Ada]\n", "onerun.yaml:5:12: ", "must be an object with fields"),
            ("personas:\n- {summary: Ada.}\n", "onerun.yaml:6:4: ", "missing field `purpose`"),
            ("personas:\n- {summary: Ada., purpose: ' '}\n", "onerun.yaml:6:28: ", "must not be empty"),
            ("personas:\n- {summary: Ada., purpose: b, storry: c}\n", "onerun.yaml:6:31: ", "`storry`"),
            (
                "personas:\n- {summary: A., purpose: b, attributes: {mood: c}}\n",
                "onerun.yaml:6:42: ",
                "`mood`",
            ),
            (
                "personas:\n- {summary: A., purpose: b, attributes: {age_group: old}}\n",
                "onerun.yaml:6:53: ",
                "teen, young_adult, adult, senior",
            ),
        ] {
            let error = with(more);
            assert!(error.starts_with(place) && error.contains(message), "{more}: {error}");
            let line = more.lines().last().unwrap();
            assert!(error.contains(&format!("\n  {line}\n  ")) && error.ends_with('^'), "{more}: {error}");
        }
        let error =
            parse("name: Desk\nscenarios: {a: b}\nobjectives: {a: 'check: agent sais /x/'}\n").unwrap_err();
        assert!(error.starts_with("onerun.yaml:3:17: ") && error.contains("check: agent says"), "{error}");
        let error = parse("name: Desk\nscenarios: {a: b}\n").unwrap_err();
        assert!(error.contains("missing field `objectives`"), "{error}");
        assert!(parse("name: [\n").is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn malformed_target_is_reported_with_place_and_next_step() {
        const FORMS: &str = "`{command: [python, agent.py]}` or `workers`";
        for (target, column, message) in [
            ("workers: {}", 18, "write nested fields in braces or on lines of their own"),
            ("{workers: {}}", 11, "`workers` has no settings: write `target: workers`"),
            ("worker", 11, FORMS),
            ("http://localhost:8000", 11, FORMS),
            ("{url: http://localhost:8000}", 12, FORMS),
            ("[python, agent.py]", 3, FORMS),
            ("{}", 11, FORMS),
            ("", 3, FORMS),
            ("5", 3, FORMS),
            ("command", 11, "`command` needs settings: write "),
            ("{command: [a], http: {}}", 11, "a target has one kind: remove the others"),
            ("{command: [a], env: {}}", 26, "`env` is not a kind of target"),
            (
                "{command: python agent.py}",
                12,
                "a list such as `[python, agent.py]`, or an object with `run`",
            ),
            ("{command: {run: python}}", 27, "must be a list"),
            ("{command: {env: {}}}", 22, "missing field `run`"),
            ("{openai: http://localhost:8000}", 20, "must be an object with fields"),
            ("{openai: {url: http://localhost:8000}}", 21, "missing field `model`"),
            ("{openai: {url: localhost, model: m}}", 26, "write it as `http://localhost:8000/chat`"),
            ("{http: }", 16, "must be an object with fields"),
            ("{http: {url: http://a, reply: $.a}}", 34, "missing field `body`"),
            ("{http: {url: http://a, body: {}, reply: a}}", 51, "write it as `$.output[0].text`"),
            ("{http: {url: http://a, body: {a: '{{b}}'}, reply: $.a}}", 40, "unknown variable `b`"),
        ] {
            let error = parse(&format!("name: Desk\nagent:\n  target: {target}\n")).unwrap_err();
            let place = format!("onerun.yaml:3:{column}: ");
            assert!(error.starts_with(&place) && error.contains(message), "{target}: {error}");
        }
    }

    #[test]
    fn personas_of_the_file_have_the_defaults_of_the_api() {
        let file = parse(&format!("{SHORTEST}personas: [{{summary: Ada., purpose: To ask.}}]\n")).unwrap();
        let Some(PersonasSpec::Explicit(personas)) = file.personas else { panic!("{:?}", file.personas) };
        let attributes = &personas[0].attributes;
        assert_eq!((personas[0].summary.as_str(), personas[0].story.as_str()), ("Ada.", ""));
        let given = ["age_group", "version", "habits"].map(|name| attributes[name].as_str());
        assert_eq!((given, attributes.len()), (["adult", "1", ""], 14));
    }

    #[test]
    fn schema_has_the_bounds_of_every_value() {
        let schema = schemars::schema_for!(RunFile).to_value();
        for (name, bound, value) in [
            ("Count", "minimum", 1.into()),
            ("Count", "maximum", 10_000.into()),
            ("Turns", "maximum", 200.into()),
            ("SeedNumber", "maximum", 9_007_199_254_740_991_u64.into()),
            ("Key", "maxLength", 60.into()),
            ("Key", "pattern", "^[a-z0-9][a-z0-9_-]*$".into()),
            ("Detail", "maxLength", 4_000.into()),
            ("Timeout", "minimum", 1.into()),
            ("Timeout", "maximum", 600.into()),
            ("CommandLine", "minItems", 1.into()),
        ] {
            let value: Value = value;
            assert_eq!(schema["$defs"][name][bound], value, "{bound} of {name}");
        }
    }

    #[test]
    fn alias_bomb_is_refused() {
        let mut bomb = "metadata:\n  a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let last = format!("*a{}", level - 1);
            bomb.extend([format!("  a{level}: &a{level} [{}]\n", vec![last; 9].join(","))]);
        }
        assert!(parse(&format!("{SHORTEST}{bomb}")).is_err());
        let deep = format!("{SHORTEST}metadata: {{a: {}{}}}\n", "[".repeat(5_000), "]".repeat(5_000));
        assert!(parse(&deep).is_err());
    }
}
