//! What callers do with simulations: create, run, cancel.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::SignedDuration;
use onerun_domain::{
    AgentId, Job, MaxTurns, Metadata, Name, Objective, ObjectiveId, Resource, Scenario, Seed, Simulation,
    SimulationId, SimulationStatus, Target, Work, later,
};
use onerun_store::{IdempotencyRecord, ProjectStore, SimulationChange, SimulationDetail};

use crate::{ActError, Engine};

/// How many objectives are read at once.
const OBJECTIVES_AT_ONCE: usize = 8;

/// The input of [`Engine::create_simulation`].
#[derive(Clone, Debug, PartialEq)]
pub struct NewSimulation {
    /// The agent under test.
    pub agent_id: AgentId,
    /// What people call it.
    pub name: Name,
    /// The situation that the personas are in.
    pub scenario: Scenario,
    /// How many conversations are to be held.
    pub target_conversations: Target,
    /// How many personas hold them.
    pub target_personas: Target,
    /// How many messages a conversation may have.
    pub max_turns: MaxTurns,
    /// Whether personas are approved as they are made.
    pub auto_approve: bool,
    /// The objectives, judged at the versions that are newest now.
    pub objective_ids: Vec<ObjectiveId>,
    /// The seed of everything that is generated; random by default.
    pub seed: Option<Seed>,
    /// The caller's own data.
    pub metadata: Metadata,
    /// How long it may take, in seconds from now.
    pub expires_in_seconds: u32,
}

impl Engine {
    /// Makes a simulation, which starts by itself. What `record` makes of it is written with it.
    pub async fn create_simulation(
        &self,
        project: &dyn ProjectStore,
        new: NewSimulation,
        record: impl FnOnce(&SimulationDetail) -> Option<IdempotencyRecord> + Send,
    ) -> Result<SimulationDetail, ActError> {
        let agent = project.agent(&new.agent_id).await?;
        let agent = agent.ok_or_else(|| ActError::NoAgent(new.agent_id.clone()))?.agent;
        let objectives = find_objectives(project, &new.objective_ids).await?;
        let now = self.now();
        let simulation = Simulation {
            id: SimulationId::generate(self.random()),
            project_id: project.project_id().clone(),
            agent_id: new.agent_id,
            name: new.name,
            scenario: new.scenario,
            target_conversations: new.target_conversations,
            target_personas: new.target_personas,
            max_turns: new.max_turns,
            auto_approve: new.auto_approve,
            seed: new.seed.unwrap_or_else(|| self.random_seed()),
            metadata: new.metadata,
            status: SimulationStatus::Pending,
            last_failure_reason: None,
            created_at: now,
            updated_at: now,
            expires_at: later(now, SignedDuration::from_secs(new.expires_in_seconds.into())),
        };
        let pins = objectives.iter().map(Objective::reference).collect();
        let jobs = vec![start(&simulation)];
        let detail = SimulationDetail { simulation, agent, objectives };
        let record = record(&detail);
        project.insert_simulation(detail.simulation.clone(), pins, jobs, record).await?;
        Ok(detail)
    }

    /// Has a simulation run that does not yet; one that runs is left as it is. The record is written in either case.
    pub async fn run_simulation(
        &self,
        project: &dyn ProjectStore,
        id: &SimulationId,
        record: Option<IdempotencyRecord>,
    ) -> Result<Simulation, ActError> {
        let changed = project
            .change_simulation(
                id,
                Box::new(move |view| {
                    let simulation = view.simulation;
                    if simulation.status.is_final() {
                        return Err(onerun_domain::Refusal::SimulationOver { status: simulation.status });
                    }
                    let jobs = match simulation.status {
                        SimulationStatus::Pending => vec![start(&simulation)],
                        _ => Vec::new(),
                    };
                    Ok(SimulationChange { record: record.clone(), ..SimulationChange::to(simulation, jobs) })
                }),
            )
            .await?;
        changed.ok_or(ActError::NotFound(Resource::Simulation))
    }

    /// Stops a simulation at once, and what is left of its conversations soon after.
    pub async fn cancel_simulation(
        &self,
        project: &dyn ProjectStore,
        id: &SimulationId,
    ) -> Result<Simulation, ActError> {
        let now = self.now();
        let changed = project
            .change_simulation(id, Box::new(move |view| Ok(closed(view.simulation.cancel(now)?))))
            .await?;
        changed.ok_or(ActError::NotFound(Resource::Simulation))
    }

    fn random_seed(&self) -> Seed {
        let mut bytes = [0_u8; 8];
        self.random().fill(&mut bytes);
        Seed::from_bits(u64::from_be_bytes(bytes))
    }
}

/// A simulation that is over, with the job that stops what is left of it.
pub(crate) fn closed(simulation: Simulation) -> SimulationChange {
    let work = Work::StopConversations { simulation: simulation.id.clone() };
    let jobs = vec![Job::new(simulation.project_id.clone(), work)];
    SimulationChange::to(simulation, jobs)
}

fn start(simulation: &Simulation) -> Job {
    Job::new(simulation.project_id.clone(), Work::StartSimulation { simulation: simulation.id.clone() })
}

async fn find_objectives(
    project: &dyn ProjectStore,
    ids: &[ObjectiveId],
) -> Result<Vec<Objective>, ActError> {
    // Side by side: where the store is elsewhere, one after the other would take a round trip each.
    let read = stream::iter(ids.to_vec()).map(|id| async move { project.objective(&id).await });
    let read: Vec<Option<Objective>> = read.buffered(OBJECTIVES_AT_ONCE).try_collect().await?;
    let missing: Vec<ObjectiveId> =
        ids.iter().zip(&read).filter(|(_, found)| found.is_none()).map(|(id, _)| id.clone()).collect();
    let found = read.into_iter().flatten().collect();
    if missing.is_empty() { Ok(found) } else { Err(ActError::NoObjectives(missing)) }
}
