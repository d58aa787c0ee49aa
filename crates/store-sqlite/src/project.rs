//! One project's part of the store. The SQL is in a file for each resource.

mod agents;
pub(crate) mod conversations;
mod objectives;
mod personas;
pub(crate) mod projects;
pub(crate) mod simulations;
mod tally;
mod transcripts;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use onerun_domain::{
    Agent, AgentId, Conversation, ConversationId, Item, Job, Objective, ObjectiveId, ObjectiveRef, Page,
    PageRequest, Persona, PersonaId, Project, ProjectId, Simulation, SimulationId,
};
use onerun_store::{
    AgentList, AgentSummary, ChangeError, ConversationChange, ConversationList, ConversationSummary,
    ConversationView, Decide, EvaluatedConversation, IdempotencyRecord, NamedSort, PersonaChange,
    ProjectStore, SimulationChange, SimulationDetail, SimulationList, SimulationSummary, SimulationTally,
    SimulationView, StoreError, StoredTurn,
};

use crate::{idempotency, sql::Scope, store::Database, writer::WriteError};

/// One project's part of a [`SqliteStore`](crate::SqliteStore).
pub(crate) struct SqliteProject {
    database: Arc<Database>,
    id: ProjectId,
}

impl SqliteProject {
    /// The part that belongs to `id`, which must be there.
    pub(crate) fn new(database: Arc<Database>, id: ProjectId) -> Self {
        Self { database, id }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Scope<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let project = self.id.clone();
        self.database.read(move |connection| work(&Scope { connection, project: &project })).await
    }

    async fn write<T, E>(
        &self,
        work: impl FnOnce(&Scope<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError + 'static,
    {
        let project = self.id.clone();
        self.database.write(move |connection| work(&Scope { connection, project: &project })).await
    }
}

#[async_trait]
impl ProjectStore for SqliteProject {
    fn project_id(&self) -> &ProjectId {
        &self.id
    }

    async fn project(&self) -> Result<Project, StoreError> {
        self.read(projects::get).await
    }

    async fn change_project(&self, decide: Decide<Project, Project>) -> Result<Project, ChangeError> {
        self.write(move |scope| projects::change(scope, decide)).await
    }

    async fn insert_agent(&self, agent: Agent, record: Option<IdempotencyRecord>) -> Result<(), StoreError> {
        self.write(move |scope| {
            agents::insert(scope, &agent)?;
            idempotency::insert(scope.connection, record.as_ref())
        })
        .await
    }

    async fn agent(&self, id: &AgentId) -> Result<Option<AgentSummary>, StoreError> {
        let id = id.clone();
        self.read(move |scope| agents::get(scope, &id)).await
    }

    async fn agents(&self, list: AgentList) -> Result<Page<AgentSummary>, StoreError> {
        self.read(move |scope| agents::list(scope, &list)).await
    }

    async fn change_agent(
        &self,
        id: &AgentId,
        decide: Decide<Agent, Agent>,
    ) -> Result<Option<AgentSummary>, ChangeError> {
        let id = id.clone();
        self.write(move |scope| agents::change(scope, &id, decide)).await
    }

    async fn note_agent_poll(&self, id: &AgentId, at: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |scope| agents::note_poll(scope, &id, at)).await
    }

    async fn insert_objective(
        &self,
        objective: Objective,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        self.write(move |scope| {
            objectives::insert(scope, &objective)?;
            idempotency::insert(scope.connection, record.as_ref())
        })
        .await
    }

    async fn objective(&self, id: &ObjectiveId) -> Result<Option<Objective>, StoreError> {
        let id = id.clone();
        self.read(move |scope| objectives::get(scope, &id)).await
    }

    async fn objectives(&self, sort: NamedSort, page: PageRequest) -> Result<Page<Objective>, StoreError> {
        self.read(move |scope| objectives::list(scope, sort, &page)).await
    }

    async fn change_objective(
        &self,
        id: &ObjectiveId,
        decide: Decide<Objective, Objective>,
    ) -> Result<Option<Objective>, ChangeError> {
        let id = id.clone();
        self.write(move |scope| objectives::change(scope, &id, decide)).await
    }

    async fn insert_simulation(
        &self,
        simulation: Simulation,
        objectives: Vec<ObjectiveRef>,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        self.write(move |scope| {
            simulations::insert(scope, &simulation, &objectives, &jobs)?;
            idempotency::insert(scope.connection, record.as_ref())
        })
        .await
    }

    async fn simulation(&self, id: &SimulationId) -> Result<Option<SimulationDetail>, StoreError> {
        let id = id.clone();
        self.read(move |scope| simulations::get(scope, &id)).await
    }

    async fn simulations(&self, list: SimulationList) -> Result<Page<SimulationSummary>, StoreError> {
        self.read(move |scope| simulations::list(scope, &list)).await
    }

    async fn change_simulation(
        &self,
        id: &SimulationId,
        decide: Decide<SimulationView, SimulationChange>,
    ) -> Result<Option<Simulation>, ChangeError> {
        let id = id.clone();
        self.write(move |scope| simulations::change(scope, &id, decide)).await
    }

    async fn tally(&self, id: &SimulationId) -> Result<Option<SimulationTally>, StoreError> {
        let id = id.clone();
        self.read(move |scope| tally::get(scope, &id)).await
    }

    async fn add_persona(&self, persona: Persona, jobs: Vec<Job>) -> Result<bool, StoreError> {
        self.write(move |scope| personas::add(scope, &persona, &jobs)).await
    }

    async fn persona(
        &self,
        simulation: &SimulationId,
        id: &PersonaId,
    ) -> Result<Option<Persona>, StoreError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.read(move |scope| personas::get(scope, &simulation, &id)).await
    }

    async fn persona_seqs(
        &self,
        simulation: &SimulationId,
        first: u32,
        limit: u32,
    ) -> Result<Vec<u32>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |scope| personas::seqs(scope, &simulation, first, limit)).await
    }

    async fn personas(
        &self,
        simulation: &SimulationId,
        page: PageRequest,
    ) -> Result<Page<Persona>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |scope| personas::list(scope, &simulation, &page)).await
    }

    async fn change_persona(
        &self,
        simulation: &SimulationId,
        id: &PersonaId,
        decide: Decide<(Simulation, Persona), PersonaChange>,
    ) -> Result<Option<Persona>, ChangeError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.write(move |scope| personas::change(scope, &simulation, &id, decide)).await
    }

    async fn add_conversations(
        &self,
        simulation: &SimulationId,
        conversations: Vec<Conversation>,
    ) -> Result<(), ChangeError> {
        let simulation = simulation.clone();
        self.write(move |scope| conversations::add(scope, &simulation, &conversations)).await
    }

    async fn conversation(
        &self,
        simulation: &SimulationId,
        id: &ConversationId,
    ) -> Result<Option<EvaluatedConversation>, StoreError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.read(move |scope| conversations::get(scope, &simulation, &id)).await
    }

    async fn conversations(
        &self,
        simulation: &SimulationId,
        list: ConversationList,
    ) -> Result<Page<ConversationSummary>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |scope| conversations::list(scope, &simulation, &list)).await
    }

    async fn unsettled_conversations(
        &self,
        simulation: &SimulationId,
        limit: u32,
    ) -> Result<Vec<ConversationId>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |scope| conversations::unsettled(scope, &simulation, limit)).await
    }

    async fn change_conversation(
        &self,
        simulation: &SimulationId,
        id: &ConversationId,
        decide: Decide<ConversationView, ConversationChange>,
    ) -> Result<Option<Conversation>, ChangeError> {
        let (simulation, id) = (simulation.clone(), id.clone());
        self.write(move |scope| conversations::change(scope, &simulation, &id, decide)).await
    }

    async fn turn(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        key: &str,
    ) -> Result<Option<StoredTurn>, StoreError> {
        let (simulation, conversation, key) = (simulation.clone(), conversation.clone(), key.to_owned());
        self.read(move |scope| transcripts::turn(scope, &simulation, &conversation, &key)).await
    }

    async fn items(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        attempt: u32,
        page: PageRequest,
    ) -> Result<Page<Item>, StoreError> {
        let (simulation, conversation) = (simulation.clone(), conversation.clone());
        self.read(move |scope| transcripts::items(scope, &simulation, &conversation, attempt, &page)).await
    }
}
