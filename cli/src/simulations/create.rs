//! `onerun simulations create`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, value_parser};
use onerun_client::{
    ProjectClient,
    resource::{NewPersona, NewSimulation},
};
use serde_json::{Map, Value};

use crate::{
    creation::{Printing, print_warnings},
    input,
    project::{ProjectArgument, find_agent, find_objective, find_simulation},
    text::plain,
};

/// The maximum sizes of a file with a scenario and of one with personas, in bytes.
const MAX_SCENARIO: u64 = 128 * 1024;
const MAX_PERSONAS: u64 = 1024 * 1024;

/// The fields of a persona in a file.
const PERSONA_FIELDS: [&str; 4] = ["summary", "story", "purpose", "attributes"];

pub(super) const EXAMPLES: &str = "\
Examples:
  onerun simulations create Nightly --agent Refunds --objective Polite \\
    --scenario 'A customer wants the money back for a broken kettle.' \\
    --conversations 20 --personas 10 --auto-approve
  onerun simulations create Candidate --agent 'Refunds v2' --objective Polite \\
    --scenario-file scenario.txt --conversations 20 --personas 10 \\
    --personas-from Nightly
  onerun simulations create 'By hand' --agent Refunds --objective Polite \\
    --scenario-file scenario.txt --personas-file personas.json --auto-approve

A file of personas is a JSON array of objects with `summary` and `purpose`, and
if you like `story` and `attributes`; or what `onerun personas list --json`
prints.";

/// Options of `onerun simulations create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The simulation's name.
    name: String,
    #[command(flatten)]
    settings: Settings,
    /// Approve the personas, so that conversations start at once. Otherwise `onerun simulations approve` does.
    #[arg(long)]
    auto_approve: bool,
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    printing: Printing,
}

/// The settings of a new simulation, besides its name.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("situation").required(true),
    group = ArgGroup::new("people").required(true).multiple(true),
)]
pub(crate) struct Settings {
    /// The agent under test: its id or exact name.
    #[arg(long, value_name = "ID|NAME")]
    agent: String,
    /// The situation that the personas are in.
    #[arg(long, value_name = "TEXT", group = "situation")]
    scenario: Option<String>,
    /// Read the scenario from this file, or from standard input if it is `-`.
    #[arg(long, value_name = "FILE", group = "situation")]
    scenario_file: Option<PathBuf>,
    /// An objective to score conversations against: its id or exact name. Repeat it for several.
    #[arg(long = "objective", value_name = "ID|NAME")]
    objectives: Vec<String>,
    /// How many conversations to hold [default: one with each persona].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=10_000))]
    conversations: Option<u32>,
    /// How many personas to generate, or to copy with --personas-from.
    #[arg(long, value_name = "N", group = "people", value_parser = value_parser!(u32).range(1..=10_000))]
    personas: Option<u32>,
    /// Read the personas from this file, or from standard input if it is `-`, rather than generate them.
    #[arg(long, value_name = "FILE", group = "people", conflicts_with_all = ["personas", "personas_from"])]
    personas_file: Option<PathBuf>,
    /// Copy the personas of this simulation, so that two agents meet the same people: its id or exact name.
    #[arg(long, value_name = "ID|NAME", requires = "personas")]
    personas_from: Option<String>,
    /// The most messages of a conversation, of both sides together.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=200))]
    max_turns: u32,
    /// The seed of everything that is generated, for repeatable runs [default: random].
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// The contents of the files that settings name.
pub(crate) struct Inputs {
    scenario: String,
    personas: Vec<NewPersona>,
}

pub(super) async fn run(options: &Create) -> anyhow::Result<()> {
    let inputs = options.settings.read()?;
    let project = options.of.client().await?;
    let new = options.settings.simulation(&project, &options.name, inputs, options.auto_approve).await?;
    let created = project.create_simulation(&new).await?;
    print_warnings(&created.warnings);
    options.printing.print(&created.id, async || project.simulation(&created.id).get().await).await
}

impl Settings {
    /// Reads the files.
    pub(crate) fn read(&self) -> anyhow::Result<Inputs> {
        let is_stdin = |file: &Path| file.as_os_str() == "-";
        if self.scenario_file.as_deref().is_some_and(is_stdin)
            && self.personas_file.as_deref().is_some_and(is_stdin)
        {
            bail!("--scenario-file and --personas-file cannot both be standard input");
        }
        let scenario = match &self.scenario_file {
            Some(path) => input::read("--scenario-file", path, MAX_SCENARIO)?.trim_end().to_owned(),
            None => self.scenario.clone().unwrap_or_default(),
        };
        let personas = match &self.personas_file {
            Some(path) => read_personas(&input::read("--personas-file", path, MAX_PERSONAS)?)?,
            None => Vec::new(),
        };
        Ok(Inputs { scenario, personas })
    }

    /// The simulation, with the ids of what the settings name.
    pub(crate) async fn simulation(
        &self,
        project: &ProjectClient,
        name: &str,
        Inputs { scenario, personas }: Inputs,
        auto_approve: bool,
    ) -> anyhow::Result<NewSimulation> {
        let given = u32::try_from(personas.len()).context("--personas-file: too many personas")?;
        let target_personas = self.personas.unwrap_or(given);
        Ok(NewSimulation {
            agent_id: find_agent(project, &self.agent).await?,
            name: name.to_owned(),
            scenario,
            target_conversations: self.conversations.unwrap_or(target_personas),
            target_personas,
            personas,
            max_turns: self.max_turns,
            personas_from: match &self.personas_from {
                Some(wanted) => Some(find_simulation(project, wanted).await?),
                None => None,
            },
            auto_approve,
            objective_ids: find_objectives(project, &self.objectives).await?,
            seed: self.seed,
            models: None,
            max_cost_usd: None,
            expires_in_seconds: None,
            metadata: Map::new(),
        })
    }
}

pub(crate) async fn find_objectives(
    project: &ProjectClient,
    wanted: &[String],
) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        ids.push(find_objective(project, wanted).await?);
    }
    Ok(ids)
}

/// Reads a JSON array of personas, or a list of them as the API shows it.
fn read_personas(json: &str) -> anyhow::Result<Vec<NewPersona>> {
    const WANTED: &str =
        "--personas-file: not a JSON array of personas, or a list as `onerun personas list --json` prints it";
    let value: Value = serde_json::from_str(json).context(WANTED)?;
    let (rows, is_list) = match value {
        Value::Array(rows) => (rows, false),
        Value::Object(mut page) => match page.remove("data") {
            Some(Value::Array(_)) if page.get("has_more") == Some(&Value::Bool(true)) => {
                bail!("--personas-file: the list has more pages: print it with `--all`")
            }
            Some(Value::Array(mut rows)) => {
                rows.retain(|row| row["approval_status"] != "rejected");
                (rows, true)
            }
            _ => bail!(WANTED),
        },
        _ => bail!(WANTED),
    };
    if rows.is_empty() {
        bail!("--personas-file: there are no personas");
    }
    let mut personas = Vec::with_capacity(rows.len());
    for (mut row, number) in rows.into_iter().zip(1..) {
        if let Value::Object(fields) = &mut row {
            let is_known = |name: &str| PERSONA_FIELDS.contains(&name);
            // A list also shows ids, approvals and times.
            if is_list {
                fields.retain(|name, _| is_known(name));
            } else if let Some(unknown) = fields.keys().find(|name| !is_known(name)) {
                let known = PERSONA_FIELDS.join(", ");
                bail!(
                    "--personas-file: persona {number}: `{}` is none of the fields {known}",
                    plain(unknown)
                );
            }
        }
        let persona =
            serde_json::from_value(row).with_context(|| format!("--personas-file: persona {number}"));
        personas.push(persona?);
    }
    if is_list {
        // A list shows the newest first.
        personas.reverse();
    }
    Ok(personas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personas_are_read_from_an_array_or_a_list() {
        let array =
            r#"[{"summary": "Ada.", "purpose": "To ask."}, {"summary": "Bo.", "purpose": "To tell."}]"#;
        let personas = read_personas(array).unwrap();
        let list = r#"{"data": [{"id": "x", "summary": "Bo.", "story": "", "purpose": "To tell.", "attributes": {}},
            {"summary": "Cy.", "purpose": "x", "approval_status": "rejected"},
            {"id": "y", "seq_id": 1, "summary": "Ada.", "purpose": "To ask."}], "has_more": false}"#;
        assert_eq!(read_personas(list).unwrap(), personas);
        assert_eq!(personas[0].summary, "Ada.");
    }

    #[test]
    fn error_of_a_persona_names_it_and_its_field() {
        for (json, words) in [
            ("", "not a JSON array"),
            ("5", "not a JSON array"),
            ("{}", "not a JSON array"),
            ("[]", "no personas"),
            (r#"[{"summary": "Ada."}]"#, "persona 1: missing field `purpose`"),
            (
                r#"[{"summary": "Ada.", "purpose": "x", "storry": ""}]"#,
                "persona 1: `storry` is none of the fields",
            ),
            (
                r#"[{"summary": "Ada.", "purpose": "x", "attributes": {"habits": 5}}]"#,
                "persona 1: invalid type",
            ),
            ("[5]", "persona 1: invalid type"),
            (r#"{"data": [], "has_more": true}"#, "`--all`"),
        ] {
            let error = format!("{:#}", read_personas(json).unwrap_err());
            assert!(error.contains(words), "{json}: {error}");
        }
    }
}
