//! `onerun projects`.

use clap::{Args, Subcommand};
use onerun_client::resource::Project;

use crate::{
    api::Connection,
    list::{self, Paging},
    text::{plain, table, time},
};

/// Subcommands of `onerun projects`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the projects that the key may access, newest first.
    List(List),
}

/// Options of `onerun projects list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    paging: Paging,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    let Command::List(options) = command;
    let client = options.connection.client()?;
    list::print(
        &options.paging,
        options.json,
        |project: &Project| &project.id,
        async |page| client.list_projects(page).await,
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
