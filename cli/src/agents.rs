//! `onerun agents`.

use clap::{Args, Subcommand};
use onerun_client::{
    Verbatim,
    resource::{Agent, NewAgent},
};

use crate::{
    creation::Creation,
    list::{self, Listing},
    output,
    project::{ProjectArgument, agents_named, find_agent, find_archived_agent},
    text::{fields, plain, prose, table, utc_or},
};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 11;

/// Subcommands of `onerun agents`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an agent under test, and print its id.
    ///
    /// The agent itself runs elsewhere: `onerun worker` or an SDK connects it.
    #[command(after_help = "\
Example:
  onerun agents create Refunds --description 'Refunds orders of up to 100 dollars.'")]
    Create(Create),
    /// Show an agent.
    #[command(visible_alias = "show")]
    Get(Get),
    /// List the agents of a project, newest first.
    List(List),
    /// Leave an agent out of lists, and start no more simulations of it.
    ///
    /// Simulations in progress go on. `onerun agents unarchive` takes it back into use.
    Archive(Get),
    /// Take an archived agent back into use.
    Unarchive(Get),
}

/// Options of `onerun agents create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The agent's name.
    name: String,
    /// The purpose of the agent. Personas are generated with it.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    creation: Creation,
}

/// Options of `onerun agents get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The agent's id or exact name.
    #[arg(value_name = "ID|NAME")]
    agent: String,
    #[command(flatten)]
    of: ProjectArgument,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `onerun agents list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    of: ProjectArgument,
    /// List archived agents instead.
    #[arg(long)]
    archived: bool,
    #[command(flatten)]
    listing: Listing,
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Create(options) => create(options).await,
        Command::Get(options) => get(options).await,
        Command::List(options) => list(options).await,
        Command::Archive(options) => archive(options, true).await,
        Command::Unarchive(options) => archive(options, false).await,
    }
}

async fn create(options: &Create) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    let named = async || agents_named(&project, &options.name).await;
    let id = if let Some(id) = options.creation.existing("agent", &options.name, named).await? {
        id
    } else {
        let new = NewAgent { name: options.name.clone(), description: options.description.clone() };
        project.create_agent(&new).await?.id
    };
    options.creation.printing.print(&id, async || project.agent(&id).await).await
}

async fn get(options: &Get) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    show(&project.agent(&find_agent(&project, &options.agent).await?).await?, options.json)
}

async fn archive(options: &Get, archived: bool) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    let id = if archived {
        find_agent(&project, &options.agent).await?
    } else {
        find_archived_agent(&project, &options.agent).await?
    };
    show(&project.archive_agent(&id, archived).await?, options.json)
}

fn show(agent: &Verbatim<Agent>, json: bool) -> anyhow::Result<()> {
    if json {
        return output::print_json(agent.json());
    }
    output::print(&fields(&[
        ("id", plain(&agent.id)),
        ("name", prose(&agent.name, NAME_WIDTH)),
        ("description", prose(agent.description.as_deref().unwrap_or_default(), NAME_WIDTH)),
        ("polled", utc_or(agent.last_polled_at.as_deref(), "no worker has polled yet")),
        ("archived", utc_or(agent.archived_at.as_deref(), "no")),
    ]))
}

async fn list(options: &List) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    list::print(
        &options.listing,
        |agent: &Agent| &agent.id,
        async |page| {
            if options.archived {
                project.list_archived_agents(None, page).await
            } else {
                project.list_agents(None, page).await
            }
        },
        async |agents| {
            let rows: Vec<_> = agents
                .iter()
                .map(|agent| {
                    [
                        plain(&agent.id),
                        plain(&agent.name),
                        plain(agent.description.as_deref().unwrap_or_default()),
                        utc_or(agent.last_polled_at.as_deref(), "never"),
                    ]
                })
                .collect();
            Ok(table(["ID", "NAME", "DESCRIPTION", "POLLED"], &[1, 2], &rows))
        },
    )
    .await
}
