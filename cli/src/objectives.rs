//! `onerun objectives`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use onerun_client::resource::{NewObjective, Objective};

use crate::{
    creation::{Creation, print_warnings},
    input,
    list::{self, Listing},
    output,
    project::{ProjectArgument, find_objective, objectives_named},
    text::{fields, plain, prose, table, time, utc},
};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 8;

/// The maximum size of a file with criteria in bytes. The API accepts 10,000 characters.
const MAX_CRITERIA: u64 = 64 * 1024;

/// Subcommands of `onerun objectives`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an objective, and print its id.
    #[command(after_help = "\
Examples:
  onerun objectives create Polite --criteria 'The agent stays polite.'
  onerun objectives create 'No promises' --criteria-file criteria.txt
  echo 'check: agent never says /refund(ed)? at once/i' |
    onerun objectives create 'No promises' --criteria-file -

docs/evaluations.md describes criteria and check lines.")]
    Create(Create),
    /// Show an objective at its newest version.
    #[command(visible_alias = "show")]
    Get(Get),
    /// List the objectives of a project, newest first.
    List(List),
}

/// Options of `onerun objectives create`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("text").required(true))]
pub(crate) struct Create {
    /// The objective's name.
    name: String,
    /// The criteria: prose, `check:` lines, or both.
    #[arg(long, value_name = "TEXT", group = "text")]
    criteria: Option<String>,
    /// Read the criteria from this file, or from standard input if it is `-`.
    #[arg(long, value_name = "FILE", group = "text")]
    criteria_file: Option<PathBuf>,
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    creation: Creation,
}

/// Options of `onerun objectives get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The objective's id or exact name.
    #[arg(value_name = "ID|NAME")]
    objective: String,
    #[command(flatten)]
    of: ProjectArgument,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `onerun objectives list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    listing: Listing,
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Create(options) => create(options).await,
        Command::Get(options) => get(options).await,
        Command::List(options) => list(options).await,
    }
}

async fn create(options: &Create) -> anyhow::Result<()> {
    let criteria = match &options.criteria_file {
        Some(path) => input::read("--criteria-file", path, MAX_CRITERIA)?.trim_end().to_owned(),
        None => options.criteria.clone().unwrap_or_default(),
    };
    let project = options.of.client().await?;
    let named = async || objectives_named(&project, &options.name).await;
    let id = if let Some(id) = options.creation.existing("objective", &options.name, named).await? {
        id
    } else {
        let new = NewObjective { name: options.name.clone(), criteria };
        let objective = project.create_objective(&new).await?;
        print_warnings(&objective.warnings);
        objective.id
    };
    options.creation.printing.print(&id, async || project.objective(&id).await).await
}

async fn get(options: &Get) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    let objective = project.objective(&find_objective(&project, &options.objective).await?).await?;
    if options.json {
        return output::print_json(objective.json());
    }
    output::print(&fields(&[
        ("id", plain(&objective.id)),
        ("name", prose(&objective.name, NAME_WIDTH)),
        ("version", objective.version.to_string()),
        ("created", utc(&objective.created_at)),
        // Not wrapped, so that check lines can be copied.
        ("criteria", objective.criteria.lines().map(plain).collect::<Vec<_>>().join("\n")),
    ]))
}

async fn list(options: &List) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    list::print(
        &options.listing,
        |objective: &Objective| &objective.id,
        async |page| project.list_objectives(page).await,
        async |objectives| {
            let rows: Vec<_> = objectives
                .iter()
                .map(|objective| {
                    [
                        plain(&objective.id),
                        plain(&objective.name),
                        objective.version.to_string(),
                        time(&objective.created_at),
                        plain(&objective.criteria.replace(['\r', '\n'], " ")),
                    ]
                })
                .collect();
            Ok(table(["ID", "NAME", "VERSION", "CREATED (UTC)", "CRITERIA"], &[1, 4], &rows))
        },
    )
    .await
}
