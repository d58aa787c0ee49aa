//! `onerun projects`.

use clap::{Args, Subcommand};
use onerun_client::{Verbatim, resource::Project};

use crate::{
    api::Connection,
    creation::Creation,
    list::{self, Listing},
    output,
    project::{find_archived_project, find_project, projects_named},
    text::{fields, plain, prose, table, time, utc, utc_or},
};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 8;

/// Subcommands of `onerun projects`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a project, and print its id.
    #[command(after_help = "\
Example:
  export ONERUN_PROJECT=$(onerun projects create 'Order support' --unless-exists)")]
    Create(Create),
    /// Show a project.
    #[command(visible_alias = "show")]
    Get(Get),
    /// List the projects that the key may access, newest first.
    List(List),
    /// Leave a project out of lists, and start no more simulations in it.
    ///
    /// Simulations in progress go on. `onerun projects unarchive` takes it back into use.
    Archive(Get),
    /// Take an archived project back into use.
    Unarchive(Get),
}

/// Options of `onerun projects create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The project's name.
    name: String,
    #[command(flatten)]
    creation: Creation,
    #[command(flatten)]
    connection: Connection,
}

/// Options of `onerun projects get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The project's id or exact name.
    #[arg(value_name = "ID|NAME")]
    project: String,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Options of `onerun projects list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// List archived projects instead.
    #[arg(long)]
    archived: bool,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    connection: Connection,
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
    let client = options.connection.client()?;
    let named = async || projects_named(&client, &options.name).await;
    let id = match options.creation.existing("project", &options.name, named).await? {
        Some(id) => id,
        None => client.create_project(&options.name).await?.id,
    };
    options.creation.printing.print(&id, async || client.get_project(&id).await).await
}

async fn get(options: &Get) -> anyhow::Result<()> {
    let client = options.connection.client()?;
    show(&client.get_project(&find_project(&client, &options.project).await?).await?, options.json)
}

async fn archive(options: &Get, archived: bool) -> anyhow::Result<()> {
    let client = options.connection.client()?;
    let id = if archived {
        find_project(&client, &options.project).await?
    } else {
        find_archived_project(&client, &options.project).await?
    };
    show(&client.archive_project(&id, archived).await?, options.json)
}

fn show(project: &Verbatim<Project>, json: bool) -> anyhow::Result<()> {
    if json {
        return output::print_json(project.json());
    }
    output::print(&fields(&[
        ("id", plain(&project.id)),
        ("name", prose(&project.name, NAME_WIDTH)),
        ("created", utc(&project.created_at)),
        ("archived", utc_or(project.archived_at.as_deref(), "no")),
    ]))
}

async fn list(options: &List) -> anyhow::Result<()> {
    let client = options.connection.client()?;
    list::print(
        &options.listing,
        |project: &Project| &project.id,
        async |page| {
            if options.archived {
                client.list_archived_projects(page).await
            } else {
                client.list_projects(page).await
            }
        },
        async |projects| {
            let rows: Vec<_> = projects
                .iter()
                .map(|project| [plain(&project.id), plain(&project.name), time(&project.created_at)])
                .collect();
            Ok(table(["ID", "NAME", "CREATED (UTC)"], &[1], &rows))
        },
    )
    .await
}
