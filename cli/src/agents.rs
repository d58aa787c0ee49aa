//! `onerun agents`.

use anyhow::Context;
use clap::{Args, Subcommand};
use onerun_client::{
    Verbatim,
    resource::{Agent, AgentEndpoint, NewAgent, NewAgentCredential, NewAgentEndpoint},
};

use crate::{
    api::variable,
    confirm::Consent,
    creation::Creation,
    list::{self, Listing},
    output,
    project::{ProjectArgument, agents_named, find_agent, find_archived_agent},
    text::{fields, plain, prose, table, utc_or},
    worker::agent::read_target,
};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 11;

/// Subcommands of `onerun agents`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an agent under test, and print its id.
    ///
    /// The agent itself runs elsewhere: `onerun worker` or an SDK connects it, or `onerun agents set-endpoint` lets the
    /// server call it.
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
    /// Let the server call an agent itself, so that its simulations need no worker.
    ///
    /// The endpoint replaces the one before, with its credential.
    #[command(after_help = ENDPOINT_EXAMPLES)]
    SetEndpoint(SetEndpoint),
    /// Delete the endpoint of an agent with its credential. Workers hold its conversations then.
    DeleteEndpoint(DeleteEndpoint),
}

const ENDPOINT_EXAMPLES: &str = "\
Examples:
  onerun agents set-endpoint Refunds \\
    --target '{openai: {url: https://agent.example.com/v1, model: refunds}}'
  AGENT_KEY='Bearer sk-…' onerun agents set-endpoint Refunds --target target.yaml \\
    --credential-env AGENT_KEY --max-in-flight 10

docs/endpoints.md describes what the server calls, and what it refuses.";

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

/// Options of `onerun agents set-endpoint`.
#[derive(Debug, Args)]
pub(crate) struct SetEndpoint {
    #[command(flatten)]
    agent: Get,
    /// An `openai` or `http` target as a file or in braces, as docs/targets.md describes it.
    #[arg(long, value_name = "FILE|TEXT")]
    target: String,
    /// The environment variable with the credential, which is sent in a header of each request.
    #[arg(long, value_name = "NAME")]
    credential_env: Option<String>,
    /// The header of the credential.
    #[arg(long, value_name = "HEADER", default_value = "Authorization", requires = "credential_env")]
    credential_header: String,
    /// How many conversations are held at once, at most 100 [default: 5].
    #[arg(long, value_name = "COUNT")]
    max_in_flight: Option<u32>,
    /// How many replies are asked for in a minute [default: no limit].
    #[arg(long, value_name = "COUNT")]
    max_calls_per_minute: Option<u32>,
}

/// Options of `onerun agents delete-endpoint`.
#[derive(Debug, Args)]
pub(crate) struct DeleteEndpoint {
    /// The agent's id or exact name.
    #[arg(value_name = "ID|NAME")]
    agent: String,
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    consent: Consent,
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Create(options) => create(options).await,
        Command::Get(options) => get(options).await,
        Command::List(options) => list(options).await,
        Command::Archive(options) => archive(options, true).await,
        Command::Unarchive(options) => archive(options, false).await,
        Command::SetEndpoint(options) => set_endpoint(options).await,
        Command::DeleteEndpoint(options) => delete_endpoint(options).await,
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

async fn set_endpoint(options: &SetEndpoint) -> anyhow::Result<()> {
    let credential = options.credential_env.as_deref().map(|name| {
        let value = variable(name)?.with_context(|| format!("--credential-env: {name} is not set"))?;
        Ok::<_, anyhow::Error>(NewAgentCredential { header: options.credential_header.clone(), value })
    });
    let new = NewAgentEndpoint {
        target: read_target(&options.target)?,
        credential: credential.transpose()?,
        max_in_flight: options.max_in_flight,
        max_calls_per_minute: options.max_calls_per_minute,
    };
    let project = options.agent.of.client().await?;
    let id = find_agent(&project, &options.agent.agent).await?;
    show(&project.put_agent_endpoint(&id, &new).await?, options.agent.json)
}

async fn delete_endpoint(options: &DeleteEndpoint) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    let agent = project.agent(&find_agent(&project, &options.agent).await?).await?;
    options.consent.ask(&format!("Delete the endpoint of {} and its credential?", plain(&agent.name)))?;
    project.delete_agent_endpoint(&agent.id).await?;
    output::print("deleted\n")
}

/// The URL of an endpoint, and its limits.
fn endpoint(endpoint: &AgentEndpoint) -> String {
    let settings = endpoint.target.values().next();
    let url = settings.and_then(|settings| settings["url"].as_str()).unwrap_or_default();
    let credential = match &endpoint.credential {
        Some(credential) => format!(", credential in {}", credential.header),
        None => String::new(),
    };
    let limit = match endpoint.max_calls_per_minute {
        Some(calls) => format!(", {calls} calls a minute"),
        None => String::new(),
    };
    let held = format!("{} of {} conversations", endpoint.in_flight, endpoint.max_in_flight);
    plain(&format!("{url}{credential}, {held}{limit}"))
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
        ("endpoint", agent.endpoint.as_ref().map_or_else(|| "none".to_owned(), endpoint)),
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
