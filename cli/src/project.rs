//! Selects a project, and what is in it, by id or by name.

use clap::Args;
use onerun_client::{
    Client, Error, ProjectClient, SimulationClient,
    resource::{Agent, Objective, PageRequest, Project},
};

use crate::{api::Connection, list, outcome::Negative, text::plain};

/// The length of the ids of projects, agents and objectives.
const ID_LENGTH: usize = 12;

/// The length of the ids of simulations.
const LONG_ID_LENGTH: usize = 21;

/// How many resources of one name an error shows.
const MAX_SHOWN: usize = 10;

/// Options that select a project.
#[derive(Debug, Args)]
pub(crate) struct ProjectArgument {
    /// The project's id or exact name [default: the only project that the key may access].
    #[arg(long, value_name = "ID|NAME", env = "ONERUN_PROJECT", hide_env_values = true)]
    project: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl ProjectArgument {
    /// A client of the project with the key in `ONERUN_API_KEY`.
    pub(crate) async fn client(&self) -> anyhow::Result<ProjectClient> {
        self.select(&self.connection.client()?).await
    }

    /// The id or name. An empty variable counts as unset.
    fn wanted(&self) -> Option<&str> {
        self.project.as_deref().filter(|wanted| !wanted.trim().is_empty())
    }

    /// Whether a project is named.
    pub(crate) fn is_given(&self) -> bool {
        self.wanted().is_some()
    }

    /// A client of the simulation with this id or exact name.
    pub(crate) async fn simulation(&self, wanted: &str) -> anyhow::Result<SimulationClient> {
        let project = self.client().await?;
        Ok(project.simulation(&find_simulation(&project, wanted).await?))
    }

    /// The options of the connection.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A client of the project with the key of this client.
    pub(crate) async fn select(&self, client: &Client) -> anyhow::Result<ProjectClient> {
        let id = match self.wanted() {
            Some(wanted) => find_project(client, wanted).await?,
            None => only_project(client).await?,
        };
        Ok(client.project(&id))
    }
}

/// The id of the project with this id or exact name. An id counts before a name.
pub(crate) async fn find_project(client: &Client, wanted: &str) -> anyhow::Result<String> {
    let get = async || client.get_project(wanted).await.map(drop);
    find("project", wanted, get, async || projects_named(client, wanted).await).await
}

/// The ids of the projects with exactly this name, newest first.
pub(crate) async fn projects_named(client: &Client, name: &str) -> Result<Vec<String>, Error> {
    let list = async |page| client.list_projects(page).await;
    list::ids_named(name, |project: &Project| (&project.id, &project.name), list).await
}

/// The id of the archived project with this id or exact name. An id counts before a name.
pub(crate) async fn find_archived_project(client: &Client, wanted: &str) -> anyhow::Result<String> {
    let get = async || client.get_project(wanted).await.map(drop);
    let list = async |page| client.list_archived_projects(page).await;
    let named =
        async || list::ids_named(wanted, |project: &Project| (&project.id, &project.name), list).await;
    find("archived project", wanted, get, named).await
}

/// The id of the archived agent with this id or exact name. An id counts before a name.
pub(crate) async fn find_archived_agent(project: &ProjectClient, wanted: &str) -> anyhow::Result<String> {
    let get = async || project.agent(wanted).await.map(drop);
    let list = async |page| project.list_archived_agents(Some(wanted), page).await;
    let named = async || list::ids_named(wanted, |agent: &Agent| (&agent.id, &agent.name), list).await;
    find("archived agent", wanted, get, named).await
}

/// The id of the agent with this id or exact name. An id counts before a name.
pub(crate) async fn find_agent(project: &ProjectClient, wanted: &str) -> anyhow::Result<String> {
    let get = async || project.agent(wanted).await.map(drop);
    find("agent", wanted, get, async || agents_named(project, wanted).await).await
}

/// The ids of the agents with exactly this name, newest first.
pub(crate) async fn agents_named(project: &ProjectClient, name: &str) -> Result<Vec<String>, Error> {
    // A server that does not know the filter lists all agents.
    let list = async |page| project.list_agents(Some(name), page).await;
    list::ids_named(name, |agent: &Agent| (&agent.id, &agent.name), list).await
}

/// The id of the objective with this id or exact name. An id counts before a name.
pub(crate) async fn find_objective(project: &ProjectClient, wanted: &str) -> anyhow::Result<String> {
    let get = async || project.objective(wanted).await.map(drop);
    find("objective", wanted, get, async || objectives_named(project, wanted).await).await
}

/// The ids of the objectives with exactly this name, newest first.
pub(crate) async fn objectives_named(project: &ProjectClient, name: &str) -> Result<Vec<String>, Error> {
    let list = async |page| project.list_objectives(page).await;
    list::ids_named(name, |objective: &Objective| (&objective.id, &objective.name), list).await
}

/// The id of the simulation with this id or exact name. An id counts before a name.
pub(crate) async fn find_simulation(project: &ProjectClient, wanted: &str) -> anyhow::Result<String> {
    let get = async || project.simulation(wanted).get().await.map(drop);
    // Of many simulations with one name, no more are counted than one page has.
    let named = async || {
        let found = project.simulations_named(wanted, PageRequest::first(list::PAGE as usize)).await?;
        let named = found.data.iter().filter(|simulation| simulation.name == wanted);
        Ok(named.map(|simulation| simulation.id.clone()).collect())
    };
    find("simulation", wanted, get, named).await
}

/// The id of the resource with this id or exact name. `get` asks for the resource with this id, and `named` returns the
/// ids of those with this name.
///
/// A key that may read neither (such as a worker's, about projects) can still use an id: the calls that follow check
/// it.
pub(crate) async fn find(
    what: &str,
    wanted: &str,
    get: impl AsyncFnOnce() -> Result<(), Error>,
    named: impl AsyncFnOnce() -> Result<Vec<String>, Error>,
) -> anyhow::Result<String> {
    let refusal = if is_id(wanted) {
        match get().await {
            Ok(()) => return Ok(wanted.to_owned()),
            Err(error) if matches!(error.status(), Some(403 | 404)) => Some(error),
            Err(error) => return Err(error.into()),
        }
    } else {
        None
    };
    let ids = match (named().await, &refusal) {
        (Err(error), Some(_)) if is_beyond_key(&error) => return Ok(wanted.to_owned()),
        (Err(error), None) if is_beyond_key(&error) => {
            let advice = format!("the key may not look for a {what} by name: give its id ({error})");
            return Err(Negative(advice).into());
        }
        (found, _) => found?,
    };
    match (&ids[..], refusal) {
        ([id], _) => Ok(id.clone()),
        ([], Some(refusal)) => Err(refusal.into()),
        ([], None) => {
            Err(Negative(format!("no {what} has the name `{}`; names are case-sensitive", plain(wanted)))
                .into())
        }
        (ids, _) => Err(several(what, wanted, ids).into()),
    }
}

/// The error about a name that several resources have.
pub(crate) fn several(what: &str, name: &str, ids: &[String]) -> Negative {
    let shown: Vec<_> = ids.iter().take(MAX_SHOWN).map(|id| plain(id)).collect();
    let rest = if ids.len() > MAX_SHOWN { ", …" } else { "" };
    Negative(format!(
        "{} {what}s have the name `{}`: give the id of one: {}{rest}",
        ids.len(),
        plain(name),
        shown.join(", "),
    ))
}

/// The id of the only project that the key may access.
async fn only_project(client: &Client) -> anyhow::Result<String> {
    let key = client.whoami().await?;
    let (ids, more) = if key.all_projects {
        let page = match client.list_projects(PageRequest::first(2)).await {
            Err(error) if is_beyond_key(&error) => return Err(Negative(SEVERAL.to_owned()).into()),
            page => page?,
        };
        (page.data.iter().map(|project| project.id.clone()).collect(), page.has_more)
    } else {
        (key.project_ids.clone(), false)
    };
    match &ids[..] {
        [id] if !more => Ok(id.clone()),
        [] => Err(Negative("there is no project yet".to_owned()).into()),
        _ => Err(Negative(SEVERAL.to_owned()).into()),
    }
}

const SEVERAL: &str = "the key may access several projects: give one with --project or ONERUN_PROJECT; `onerun projects list` prints them";

fn is_id(text: &str) -> bool {
    matches!(text.len(), ID_LENGTH | LONG_ID_LENGTH) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_beyond_key(error: &Error) -> bool {
    error.code() == Some("insufficient_scope")
}
