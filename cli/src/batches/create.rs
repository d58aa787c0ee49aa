//! `onerun batch`.

use std::{collections::HashMap, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use onerun_client::{ProjectClient, resource::NewBatch};
use onerun_report::Verdict;
use serde_json::{Map, Value, json};

use super::follow;
use crate::{
    input,
    outcome::Negative,
    output,
    project::{ProjectArgument, find_agent, find_objective},
    text::plain,
    yaml,
};

/// The maximum size of a file, in bytes: that of a request.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

pub(crate) const HELP: &str = "\
The file is YAML or JSON with the body of `POST /v1/simulations/batch`. Instead of
`agent_id` and `objective_ids` it may have `agent` and `objectives`, each an id or
an exact name:

  name: Refunds, all agents
  defaults:
    scenario: A parcel arrived damaged, and the customer wants the money back.
    target_conversations: 20
    target_personas: 10
    objectives: [Polite]
  items:
    - agent: Refunds
    - agent: Refunds, next version
      max_turns: 12
  max_in_flight: 10

Progress goes to standard error, the batch to standard output.

Exit codes, as those of `onerun run`:
  0  every simulation completed
  2  the batch is not over within --timeout, or it was canceled
  3  a simulation failed or expired, or the server cannot be reached
  4  the file is wrong, or the API refused the request";

/// Options of `onerun batch`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The file, or `-` for standard input.
    file: PathBuf,
    #[command(flatten)]
    of: ProjectArgument,
    /// Print the batch's id and do not wait until it is over.
    #[arg(long, conflicts_with_all = ["timeout", "quiet"])]
    detach: bool,
    /// Make the call repeatable: the same file under the same text is the same batch for 24 hours.
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    follow: follow::Options,
}

pub(crate) async fn create(options: &Create) -> anyhow::Result<ExitCode> {
    follow::report(run(options).await)
}

async fn run(options: &Create) -> anyhow::Result<Verdict> {
    let read = read(options);
    let mut new = match read {
        Ok(new) => new,
        Err(error) => {
            output::print_error(&error);
            return Ok(Verdict::Config);
        }
    };
    let project = options.of.client().await?;
    let mut names = Names::default();
    names.resolve(&project, "defaults", &mut new.defaults).await?;
    for (item, index) in new.items.iter_mut().zip(0..) {
        names.resolve(&project, &format!("items[{index}]"), item).await?;
    }
    let created = project.create_batch(&new, options.idempotency_key.as_deref()).await?;
    let id = created.batch.id.clone();
    if options.detach {
        if options.follow.json {
            output::print_json(created.json())?;
        } else {
            output::print(&format!("{}\n", plain(&id)))?;
        }
        return Ok(Verdict::Pass);
    }
    follow::follow(&project, &id, &options.follow).await
}

fn read(options: &Create) -> anyhow::Result<NewBatch> {
    let text = input::read("FILE", &options.file, MAX_FILE_BYTES)?;
    yaml::parse(&text).with_context(|| plain(&options.file.to_string_lossy()))
}

/// The error of a field that is of another kind.
fn wrong(place: &str, field: &str, kind: &str) -> anyhow::Result<()> {
    Err(Negative(format!("`{place}.{field}` must be {kind}")).into())
}

/// The ids of agents and objectives by what a file calls them, each looked up once.
#[derive(Default)]
struct Names {
    agents: HashMap<String, String>,
    objectives: HashMap<String, String>,
}

impl Names {
    /// Replaces `agent` and `objectives` by `agent_id` and `objective_ids`. `place` names the settings in errors.
    async fn resolve(
        &mut self,
        project: &ProjectClient,
        place: &str,
        settings: &mut Map<String, Value>,
    ) -> anyhow::Result<()> {
        if let Some(agent) = settings.remove("agent") {
            let Value::String(name) = agent else { return wrong(place, "agent", "an id or a name") };
            let id = match self.agents.get(&name) {
                Some(id) => id.clone(),
                None => find_agent(project, &name).await.with_context(|| format!("`{place}.agent`"))?,
            };
            settings.insert("agent_id".to_owned(), json!(id));
            self.agents.insert(name, id);
        }
        if let Some(objectives) = settings.remove("objectives") {
            let Value::Array(names) = objectives else {
                return wrong(place, "objectives", "a list of ids or names");
            };
            let mut ids = Vec::new();
            for name in names {
                let Value::String(name) = name else {
                    return wrong(place, "objectives", "a list of ids or names");
                };
                let id = match self.objectives.get(&name) {
                    Some(id) => id.clone(),
                    None => find_objective(project, &name)
                        .await
                        .with_context(|| format!("`{place}.objectives`"))?,
                };
                self.objectives.insert(name, id.clone());
                ids.push(id);
            }
            settings.insert("objective_ids".to_owned(), json!(ids));
        }
        Ok(())
    }
}
