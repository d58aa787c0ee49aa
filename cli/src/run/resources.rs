//! The agents and objectives of a run on the server: found by their exact names, or created.

use std::collections::BTreeMap;

use onerun_client::{
    ProjectClient, Verbatim,
    resource::{Agent, NewAgent, NewObjective, Objective, PageRequest},
};

use super::{
    failure::{Attempt, Failure},
    plan::{RunAgent, RunObjective, RunPlan},
};

/// The maximum length of a resource's name, in characters.
const MAX_NAME: usize = 200;

/// The maximum number of objectives that are searched for those of the run.
const MAX_SEARCHED: usize = 10_000;

/// The ids of a run's agents and objectives, in the order of the plan.
pub(crate) struct Resources {
    pub(crate) agents: Vec<String>,
    pub(crate) objectives: Vec<String>,
}

impl Resources {
    /// Finds or creates everything that the simulations need.
    pub(crate) async fn provide(project: &ProjectClient, plan: &RunPlan) -> Result<Self, Failure> {
        let run = &plan.report.name;
        let mut agents = Vec::new();
        for agent in &plan.agents {
            let name = name(run, &agent.key);
            let id =
                provide_agent(project, &name, agent).await.attempt(|| format!("providing agent `{name}`"))?;
            agents.push(id);
        }
        let mut known = objectives_of(project, run, plan).await?;
        let mut objectives = Vec::new();
        for objective in &plan.objectives {
            let name = name(run, &objective.key);
            let found = known.remove(&name);
            let id = provide_objective(project, &name, objective, found).await;
            objectives.push(id.attempt(|| format!("providing objective `{name}`"))?);
        }
        Ok(Self { agents, objectives })
    }
}

/// The name of a resource: that of the run and the key.
pub(crate) fn name(run: &str, key: &str) -> String {
    // Keys are short and ASCII, so only the run's name may be cut.
    let room = MAX_NAME.saturating_sub(key.len() + 2);
    let run: String = run.chars().take(room).collect();
    format!("{run}: {key}")
}

async fn provide_agent(
    project: &ProjectClient,
    name: &str,
    agent: &RunAgent,
) -> Result<String, onerun_client::Error> {
    // A server that does not know the filter lists all agents.
    let page = project.list_agents(Some(name), PageRequest::first(100)).await?.into_value();
    let found = page.data.into_iter().map(Verbatim::into_value).find(|agent| agent.name == name);
    let Some(Agent { id, description, .. }) = found else {
        let new = NewAgent { name: name.to_owned(), description: agent.description.clone() };
        return Ok(project.create_agent(&new).await?.id);
    };
    if description.unwrap_or_default() != agent.description.as_deref().unwrap_or_default() {
        project.describe_agent(&id, agent.description.as_deref().unwrap_or_default()).await?;
    }
    Ok(id)
}

/// The objectives on the server with names of the run; of two with one name, the older one.
async fn objectives_of(
    project: &ProjectClient,
    run: &str,
    plan: &RunPlan,
) -> Result<BTreeMap<String, Objective>, Failure> {
    let wanted: Vec<String> = plan.objectives.iter().map(|objective| name(run, &objective.key)).collect();
    let mut found = BTreeMap::new();
    let mut searched = 0;
    let mut request = PageRequest::first(100);
    loop {
        let page =
            project.list_objectives(request.clone()).await.attempt(|| "listing objectives".to_owned())?;
        let page = page.into_value();
        searched += page.data.len();
        let next = page.following(&request);
        for objective in page.data.into_iter().map(Verbatim::into_value) {
            if wanted.contains(&objective.name) {
                found.insert(objective.name.clone(), objective);
            }
        }
        match next {
            Some(next) if searched < MAX_SEARCHED => request = next,
            _ => return Ok(found),
        }
    }
}

async fn provide_objective(
    project: &ProjectClient,
    name: &str,
    objective: &RunObjective,
    found: Option<Objective>,
) -> Result<String, onerun_client::Error> {
    match found {
        Some(found) if found.criteria == objective.criteria => Ok(found.id),
        Some(found) => Ok(project.revise_objective(&found.id, &objective.criteria).await?.id),
        None => {
            let new = NewObjective { name: name.to_owned(), criteria: objective.criteria.clone() };
            Ok(project.create_objective(&new).await?.id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_resource_fits_and_keeps_the_key() {
        assert_eq!(name("Desk", "polite"), "Desk: polite");
        let long = name(&"\u{1f600}".repeat(200), "polite");
        assert_eq!(long.chars().count(), 200);
        assert!(long.ends_with(": polite"));
    }
}
