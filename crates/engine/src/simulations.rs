//! Callers' operations on simulations: create, run, cancel.

use futures_util::future::try_join;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::SignedDuration;
use onerun_domain::{
    Agent, BatchRef, EventSource, Job, ModelName, MonitorRunRef, NanoDollars, NewPersonas, NewSimulation,
    Objective, ObjectiveId, PersonaSource, RequestedModels, Resource, Seed, Simulation, SimulationId,
    SimulationModels, SimulationOptions, SimulationStatus, TokenUsage, Work, later,
};
use onerun_store::{IdempotencyRecord, ProjectStore, SimulationChange, SimulationDetail};

use crate::{Engine, OperationError, persona_copies::find_persona_source};

/// How many objectives are read at once.
const OBJECTIVES_AT_ONCE: usize = 8;

impl Engine {
    /// Creates a simulation and enqueues the job that starts it. The idempotency record that
    /// `record` builds is written in the same transaction.
    pub async fn create_simulation(
        &self,
        project: &dyn ProjectStore,
        new: NewSimulation,
        created_by: &str,
        record: impl FnOnce(&SimulationDetail) -> Option<IdempotencyRecord> + Send,
    ) -> Result<SimulationDetail, OperationError> {
        let origin = SimulationOrigin {
            id: SimulationId::generate(self.random()),
            created_by: created_by.into(),
            monitor_run: None,
            batch: None,
        };
        self.create_simulation_of(project, new, origin, record).await
    }

    /// Creates a simulation with an id and an origin.
    pub(crate) async fn create_simulation_of(
        &self,
        project: &dyn ProjectStore,
        new: NewSimulation,
        origin: SimulationOrigin,
        record: impl FnOnce(&SimulationDetail) -> Option<IdempotencyRecord> + Send,
    ) -> Result<SimulationDetail, OperationError> {
        let prepared = self.prepare(project, &new).await?;
        let explicit = match &new.personas {
            NewPersonas::Explicit(personas) => personas.drafts().to_vec(),
            NewPersonas::Generated(_) | NewPersonas::Copied { .. } => Vec::new(),
        };
        let detail = self.new_simulation(project, new, prepared, origin);
        let pins = detail.objectives.iter().map(Objective::reference).collect();
        let jobs = vec![start(&detail.simulation)];
        let record = record(&detail);
        project.insert_simulation(detail.simulation.clone(), pins, explicit, jobs, record).await?;
        Ok(detail)
    }

    /// A simulation that is not stored.
    pub(crate) fn new_simulation(
        &self,
        project: &dyn ProjectStore,
        new: NewSimulation,
        prepared: Prepared,
        origin: SimulationOrigin,
    ) -> SimulationDetail {
        let Prepared { models, agent, objectives, source } = prepared;
        let target_personas = new.personas.target();
        let is_explicit = matches!(new.personas, NewPersonas::Explicit(_));
        let source_seed = source.as_ref().map(|source| source.seed);
        let copies_explicit = source.as_ref().is_some_and(|source| source.options.explicit_personas);
        let now = self.now();
        let simulation = Simulation {
            id: origin.id,
            project_id: project.project_id().clone(),
            agent_id: new.agent_id,
            name: new.name,
            scenario: new.scenario,
            target_conversations: new.target_conversations,
            target_personas,
            max_turns: new.max_turns,
            auto_approve: new.auto_approve,
            seed: new.seed.or(source_seed).unwrap_or_else(|| self.random_seed()),
            options: SimulationOptions {
                personas_from: source.as_ref().map(PersonaSource::of),
                explicit_personas: copies_explicit || is_explicit,
                models,
                max_cost: new.max_cost_usd,
                max_tokens: new.max_tokens,
                created_by: Some(origin.created_by),
                monitor_run: origin.monitor_run,
                batch: origin.batch,
                import: None,
            },
            metadata: new.metadata,
            status: SimulationStatus::Pending,
            last_failure_reason: None,
            created_at: now,
            updated_at: now,
            expires_at: later(now, SignedDuration::from_secs(new.expires_in_seconds.into())),
            transcripts_deleted_at: None,
        };
        SimulationDetail { simulation, agent, objectives }
    }

    /// Finds what a new simulation refers to, or refuses it.
    pub(crate) async fn prepare(
        &self,
        project: &dyn ProjectStore,
        new: &NewSimulation,
    ) -> Result<Prepared, OperationError> {
        let models = self.choose_models(new.models.clone(), new.max_cost_usd)?;
        let (agent, owner) = try_join(project.agent(&new.agent_id), project.project()).await?;
        let agent = agent.ok_or_else(|| OperationError::NoAgent(new.agent_id.clone()))?.agent;
        agent.require_active()?;
        owner.require_active()?;
        let objectives = find_objectives(project, &new.objective_ids).await?;
        let source = match &new.personas {
            NewPersonas::Generated(_) | NewPersonas::Explicit(_) => None,
            NewPersonas::Copied { from, target } => {
                Some(find_persona_source(project, from, *target, &new.scenario).await?)
            }
        };
        Ok(Prepared { models, agent, objectives, source })
    }

    /// Enqueues the start of a pending simulation. Has no effect on a running one. The record is
    /// written in both cases.
    pub async fn run_simulation(
        &self,
        project: &dyn ProjectStore,
        id: &SimulationId,
        record: Option<IdempotencyRecord>,
    ) -> Result<Simulation, OperationError> {
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
        changed.ok_or(OperationError::NotFound(Resource::Simulation))
    }

    /// Cancels a simulation at once. A job stops its conversations.
    pub async fn cancel_simulation(
        &self,
        project: &dyn ProjectStore,
        id: &SimulationId,
    ) -> Result<Simulation, OperationError> {
        let now = self.now();
        let changed = project
            .change_simulation(id, Box::new(move |view| Ok(with_stop_job(view.simulation.cancel(now)?))))
            .await?;
        changed.ok_or(OperationError::NotFound(Resource::Simulation))
    }

    /// The models of a new simulation: the requested ones, and the deployment's for the rest.
    pub(crate) fn choose_models(
        &self,
        requested: RequestedModels,
        max_cost: Option<NanoDollars>,
    ) -> Result<SimulationModels, OperationError> {
        let defaults = self.models.defaults().clone();
        let models = SimulationModels {
            persona: requested.persona.unwrap_or(defaults.persona),
            reply: requested.reply.unwrap_or(defaults.reply),
            judge: requested.judge.unwrap_or(defaults.judge),
        };
        for (field, name) in [("models/persona", &models.persona), ("models/reply", &models.reply)] {
            if !name.provider().writes_text() {
                let detail = format!("must be a model that writes text: `{name}` only judges");
                return Err(OperationError::Field { field, detail });
            }
        }
        self.require_allowed(&models.names(), max_cost)?;
        Ok(models)
    }

    /// Refuses models that the deployment does not allow, or that a limit of cost cannot be enforced for.
    pub(crate) fn require_allowed(
        &self,
        names: &[&ModelName],
        max_cost: Option<NanoDollars>,
    ) -> Result<(), OperationError> {
        let allowed = self.models.allowed();
        if let Some(name) = names.iter().find(|name| !allowed.contains(name)) {
            return Err(OperationError::ModelNotAllowed { name: (*name).clone(), allowed: allowed.to_vec() });
        }
        if max_cost.is_some()
            && let Some(name) =
                names.iter().find(|name| self.models.cost(name, TokenUsage::default()).is_none())
        {
            return Err(OperationError::ModelWithoutPrice((*name).clone()));
        }
        Ok(())
    }

    fn random_seed(&self) -> Seed {
        let mut bytes = [0_u8; 8];
        self.random().fill(&mut bytes);
        Seed::from_bits(u64::from_be_bytes(bytes))
    }
}

/// The resources that a new simulation refers to.
pub(crate) struct Prepared {
    /// Its models.
    pub(crate) models: SimulationModels,
    /// Its agent.
    pub(crate) agent: Agent,
    /// Its objectives, at their newest versions.
    pub(crate) objectives: Vec<Objective>,
    /// The simulation whose personas are copied.
    pub(crate) source: Option<Simulation>,
}

/// Where a new simulation comes from.
pub(crate) struct SimulationOrigin {
    /// The id of the simulation.
    pub(crate) id: SimulationId,
    /// The id of the API key that its usage is counted for.
    pub(crate) created_by: Box<str>,
    /// The run of a monitor that creates it.
    pub(crate) monitor_run: Option<MonitorRunRef>,
    /// The item of a batch that creates it.
    pub(crate) batch: Option<BatchRef>,
}

/// A simulation that has ended, with the job that stops its remaining conversations.
pub(crate) fn with_stop_job(simulation: Simulation) -> SimulationChange {
    let work = Work::StopConversations { simulation: simulation.id.clone() };
    let mut change = ended(simulation);
    change.jobs.push(Job::new(change.simulation.project_id.clone(), work));
    change
}

/// A simulation that has ended, with the jobs that tell its monitor's run, its batch and webhooks.
pub(crate) fn ended(simulation: Simulation) -> SimulationChange {
    let run = simulation.options.monitor_run.clone().map(|MonitorRunRef { monitor, run }| {
        Work::FinishMonitorRun { simulation: simulation.id.clone(), monitor, run }
    });
    let item = simulation.options.batch.clone();
    let item = item.map(|item| Work::SettleBatchItem { simulation: simulation.id.clone(), item });
    let event = EventSource::Simulation { simulation: simulation.id.clone() };
    let work = run.into_iter().chain(item).chain([Work::NotifyWebhooks { event }]);
    let jobs = work.map(|work| Job::new(simulation.project_id.clone(), work)).collect();
    SimulationChange::to(simulation, jobs)
}

/// The job that starts a pending simulation.
pub(crate) fn start(simulation: &Simulation) -> Job {
    Job::new(simulation.project_id.clone(), Work::StartSimulation { simulation: simulation.id.clone() })
}

async fn find_objectives(
    project: &dyn ProjectStore,
    ids: &[ObjectiveId],
) -> Result<Vec<Objective>, OperationError> {
    // In parallel: on a remote store, sequential reads would cost one round trip each.
    let read = stream::iter(ids.to_vec()).map(|id| async move { project.objective(&id).await });
    let read: Vec<Option<Objective>> = read.buffered(OBJECTIVES_AT_ONCE).try_collect().await?;
    let missing: Vec<ObjectiveId> =
        ids.iter().zip(&read).filter(|(_, found)| found.is_none()).map(|(id, _)| id.clone()).collect();
    let found = read.into_iter().flatten().collect();
    if missing.is_empty() { Ok(found) } else { Err(OperationError::NoObjectives(missing)) }
}
