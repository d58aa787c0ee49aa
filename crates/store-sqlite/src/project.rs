//! One project's part of the store. The SQL is in a file for each resource.

mod agents;
mod batches;
pub(crate) mod conversations;
mod counts;
pub(crate) mod deletion;
mod evaluation_runs;
mod imports;
pub(crate) mod monitors;
mod objectives;
mod personas;
pub(crate) mod projects;
pub(crate) mod simulations;
mod transcripts;
mod usage;
pub(crate) mod webhooks;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use onerun_domain::{
    Agent, AgentId, Conversation, ConversationId, ConversationLabels, EvaluationRun, EvaluationRunId, Item,
    Job, ModelUsage, Objective, ObjectiveId, ObjectiveRef, Page, PageRequest, Persona, PersonaDraft,
    PersonaId, Project, ProjectId, RunResult, Simulation, SimulationId,
};
use onerun_store::{
    AgentSummary, ChangeError, ConversationChange, ConversationSummary, ConversationView, Decide,
    EvaluatedConversation, EvaluationRunChange, EvaluationRunView, IdempotencyRecord, ListAgents,
    ListConversations, ListSimulations, PersonaChange, ProjectStore, QueuedConversation, SimulationChange,
    SimulationCounts, SimulationDetail, SimulationSummary, SimulationView, SortBy, StoreError, StoredTurn,
    UsageKey, UsageRow,
};

use crate::{idempotency, sql::ProjectTables, store::Database, writer::WriteError};

/// One project's part of a [`SqliteStore`](crate::SqliteStore).
#[derive(Clone)]
pub(crate) struct SqliteProject {
    database: Arc<Database>,
    id: ProjectId,
}

impl SqliteProject {
    /// The part of the existing project `id`.
    pub(crate) fn new(database: Arc<Database>, id: ProjectId) -> Self {
        Self { database, id }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ProjectTables<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let project = self.id.clone();
        self.database.read(move |connection| work(&ProjectTables { connection, project: &project })).await
    }

    async fn write<T, E>(
        &self,
        work: impl FnOnce(&ProjectTables<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError + 'static,
    {
        let project = self.id.clone();
        self.database.write(move |connection| work(&ProjectTables { connection, project: &project })).await
    }
}

#[async_trait]
impl ProjectStore for SqliteProject {
    fn another(&self) -> Arc<dyn ProjectStore> {
        Arc::new(self.clone())
    }

    fn project_id(&self) -> &ProjectId {
        &self.id
    }

    async fn project(&self) -> Result<Project, StoreError> {
        self.read(projects::get).await
    }

    async fn change_project(&self, decide: Decide<Project, Project>) -> Result<Project, ChangeError> {
        self.write(move |tables| projects::change(tables, decide)).await
    }

    async fn insert_agent(&self, agent: Agent, record: Option<IdempotencyRecord>) -> Result<(), StoreError> {
        self.write(move |tables| {
            agents::insert(tables, &agent)?;
            idempotency::insert(tables.connection, record.as_ref())
        })
        .await
    }

    async fn agent(&self, id: &AgentId) -> Result<Option<AgentSummary>, StoreError> {
        let id = id.clone();
        self.read(move |tables| agents::get(tables, &id)).await
    }

    async fn agents(&self, list: ListAgents) -> Result<Page<AgentSummary>, StoreError> {
        self.read(move |tables| agents::list(tables, &list)).await
    }

    async fn change_agent(
        &self,
        id: &AgentId,
        decide: Decide<Agent, Agent>,
    ) -> Result<Option<AgentSummary>, ChangeError> {
        let id = id.clone();
        self.write(move |tables| agents::change(tables, &id, decide)).await
    }

    async fn note_agent_poll(&self, id: &AgentId, at: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |tables| agents::note_poll(tables, &id, at)).await
    }

    async fn insert_objective(
        &self,
        objective: Objective,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        self.write(move |tables| {
            objectives::insert(tables, &objective)?;
            idempotency::insert(tables.connection, record.as_ref())
        })
        .await
    }

    async fn objective(&self, id: &ObjectiveId) -> Result<Option<Objective>, StoreError> {
        let id = id.clone();
        self.read(move |tables| objectives::get(tables, &id)).await
    }

    async fn objectives(&self, sort: SortBy, page: PageRequest) -> Result<Page<Objective>, StoreError> {
        self.read(move |tables| objectives::list(tables, sort, &page)).await
    }

    async fn change_objective(
        &self,
        id: &ObjectiveId,
        decide: Decide<Objective, Objective>,
    ) -> Result<Option<Objective>, ChangeError> {
        let id = id.clone();
        self.write(move |tables| objectives::change(tables, &id, decide)).await
    }

    async fn insert_simulation(
        &self,
        simulation: Simulation,
        objectives: Vec<ObjectiveRef>,
        explicit_personas: Vec<PersonaDraft>,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        self.write(move |tables| {
            simulations::insert(tables, &simulation, &objectives, &jobs)?;
            personas::insert_explicit(tables, &simulation.id, &explicit_personas)?;
            deletion::note_record(tables, &simulation.id, record.as_ref())?;
            idempotency::insert(tables.connection, record.as_ref())
        })
        .await
    }

    async fn simulation(&self, id: &SimulationId) -> Result<Option<SimulationDetail>, StoreError> {
        let id = id.clone();
        self.read(move |tables| simulations::get(tables, &id)).await
    }

    async fn explicit_personas(&self, id: &SimulationId) -> Result<Vec<PersonaDraft>, StoreError> {
        let id = id.clone();
        self.read(move |tables| personas::explicit(tables, &id)).await
    }

    async fn simulations(&self, list: ListSimulations) -> Result<Page<SimulationSummary>, StoreError> {
        self.read(move |tables| simulations::list(tables, &list)).await
    }

    async fn change_simulation(
        &self,
        id: &SimulationId,
        decide: Decide<SimulationView, SimulationChange>,
    ) -> Result<Option<Simulation>, ChangeError> {
        let id = id.clone();
        self.write(move |tables| simulations::change(tables, &id, decide)).await
    }

    async fn counts(&self, id: &SimulationId) -> Result<Option<SimulationCounts>, StoreError> {
        let id = id.clone();
        self.read(move |tables| counts::get(tables, &id)).await
    }

    async fn add_usage(&self, key: UsageKey, usage: ModelUsage) -> Result<(), StoreError> {
        self.write(move |scope| usage::add(scope, &key, &usage)).await
    }

    async fn usage_of_simulation(&self, id: &SimulationId) -> Result<Vec<UsageRow>, StoreError> {
        let id = id.clone();
        self.read(move |scope| usage::of_simulation(scope, &id)).await
    }

    async fn usage(&self, first: Date, last: Date) -> Result<Vec<UsageRow>, StoreError> {
        self.read(move |scope| usage::between(scope, first, last)).await
    }

    async fn add_persona(&self, persona: Persona, jobs: Vec<Job>) -> Result<bool, StoreError> {
        self.write(move |tables| personas::add(tables, &persona, &jobs)).await
    }

    async fn persona(
        &self,
        simulation: &SimulationId,
        id: &PersonaId,
    ) -> Result<Option<Persona>, StoreError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.read(move |tables| personas::get(tables, &simulation, &id)).await
    }

    async fn persona_seqs(
        &self,
        simulation: &SimulationId,
        first: u32,
        limit: u32,
    ) -> Result<Vec<u32>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |tables| personas::seqs(tables, &simulation, first, limit)).await
    }

    async fn personas(
        &self,
        simulation: &SimulationId,
        page: PageRequest,
    ) -> Result<Page<Persona>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |tables| personas::list(tables, &simulation, &page)).await
    }

    async fn change_persona(
        &self,
        simulation: &SimulationId,
        id: &PersonaId,
        decide: Decide<(Simulation, Persona), PersonaChange>,
    ) -> Result<Option<Persona>, ChangeError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.write(move |tables| personas::change(tables, &simulation, &id, decide)).await
    }

    async fn add_conversations(
        &self,
        simulation: &SimulationId,
        conversations: Vec<Conversation>,
    ) -> Result<(), ChangeError> {
        let simulation = simulation.clone();
        self.write(move |tables| conversations::add(tables, &simulation, &conversations)).await
    }

    async fn conversation(
        &self,
        simulation: &SimulationId,
        id: &ConversationId,
    ) -> Result<Option<EvaluatedConversation>, StoreError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.read(move |tables| conversations::get(tables, &simulation, &id)).await
    }

    async fn conversations(
        &self,
        simulation: &SimulationId,
        list: ListConversations,
    ) -> Result<Page<ConversationSummary>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |tables| conversations::list(tables, &simulation, &list)).await
    }

    async fn queued_conversations(
        &self,
        agents: &[AgentId],
        limit: u32,
    ) -> Result<Vec<QueuedConversation>, StoreError> {
        let agents = agents.to_vec();
        self.read(move |tables| conversations::queued(tables, &agents, limit)).await
    }

    async fn unsettled_conversations(
        &self,
        simulation: &SimulationId,
        limit: u32,
    ) -> Result<Vec<ConversationId>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |tables| conversations::unsettled(tables, &simulation, limit)).await
    }

    async fn change_conversation(
        &self,
        simulation: &SimulationId,
        id: &ConversationId,
        decide: Decide<ConversationView, ConversationChange>,
    ) -> Result<Option<Conversation>, ChangeError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.write(move |tables| conversations::change(tables, &simulation, &id, decide)).await
    }

    async fn turn(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        idempotency_key: &str,
    ) -> Result<Option<StoredTurn>, StoreError> {
        let (simulation, conversation) = (simulation.clone(), conversation.clone());
        let idempotency_key = idempotency_key.to_owned();
        self.read(move |tables| transcripts::turn(tables, &simulation, &conversation, &idempotency_key)).await
    }

    async fn items(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        attempt: u32,
        page: PageRequest,
    ) -> Result<Page<Item>, StoreError> {
        let (simulation, conversation) = (simulation.clone(), conversation.clone());
        self.read(move |tables| transcripts::items(tables, &simulation, &conversation, attempt, &page)).await
    }

    async fn delete_transcript(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        limit: u32,
    ) -> Result<bool, StoreError> {
        let (simulation, conversation) = (simulation.clone(), conversation.clone());
        self.write(move |tables| transcripts::delete(tables, &simulation, &conversation, limit)).await
    }

    async fn insert_evaluation_run(
        &self,
        run: EvaluationRun,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        self.write(move |tables| {
            evaluation_runs::insert(tables, &run, &jobs)?;
            idempotency::insert(tables.connection, record.as_ref())
        })
        .await
    }

    async fn evaluation_run(
        &self,
        simulation: &SimulationId,
        id: &EvaluationRunId,
    ) -> Result<Option<EvaluationRunView>, StoreError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.read(move |tables| evaluation_runs::get(tables, &simulation, &id)).await
    }

    async fn evaluation_runs(
        &self,
        simulation: &SimulationId,
        page: PageRequest,
    ) -> Result<Page<EvaluationRunView>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |tables| evaluation_runs::list(tables, &simulation, &page)).await
    }

    async fn change_evaluation_run(
        &self,
        simulation: &SimulationId,
        id: &EvaluationRunId,
        decide: Decide<EvaluationRunView, EvaluationRunChange>,
    ) -> Result<Option<EvaluationRun>, ChangeError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.write(move |tables| evaluation_runs::change(tables, &simulation, &id, decide)).await
    }

    async fn add_run_result(
        &self,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        result: RunResult,
    ) -> Result<bool, StoreError> {
        let (simulation, run) = (simulation.clone(), run.clone());
        self.write(move |tables| evaluation_runs::add_result(tables, &simulation, &run, &result)).await
    }

    async fn run_result(
        &self,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        conversation: &ConversationId,
    ) -> Result<Option<RunResult>, StoreError> {
        let (simulation, run, conversation) = (simulation.clone(), run.clone(), conversation.clone());
        self.read(move |tables| evaluation_runs::result(tables, &simulation, &run, &conversation)).await
    }

    async fn run_results(
        &self,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        after: Option<&ConversationId>,
        limit: u32,
    ) -> Result<Vec<RunResult>, StoreError> {
        let (simulation, run, after) = (simulation.clone(), run.clone(), after.cloned());
        self.read(move |tables| evaluation_runs::results(tables, &simulation, &run, after.as_ref(), limit))
            .await
    }

    async fn put_labels(
        &self,
        simulation: &SimulationId,
        labels: ConversationLabels,
    ) -> Result<bool, StoreError> {
        let simulation = simulation.clone();
        self.write(move |tables| evaluation_runs::put_labels(tables, &simulation, &labels)).await
    }

    async fn conversation_labels(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
    ) -> Result<Option<ConversationLabels>, StoreError> {
        let (simulation, conversation) = (simulation.clone(), conversation.clone());
        self.read(move |tables| evaluation_runs::conversation_labels(tables, &simulation, &conversation))
            .await
    }

    async fn labels(
        &self,
        simulation: &SimulationId,
        after: Option<&ConversationId>,
        limit: u32,
    ) -> Result<Vec<ConversationLabels>, StoreError> {
        let (simulation, after) = (simulation.clone(), after.cloned());
        self.read(move |tables| evaluation_runs::labels(tables, &simulation, after.as_ref(), limit)).await
    }
}
