//! One project's part of the store: the methods. The files beside it hold the access to the table,
//! one for each resource.

mod agents;
mod batches;
mod conversations;
mod deletion;
mod evaluation_runs;
mod imports;
mod monitors;
mod objectives;
mod personas;
pub(crate) mod projects;
mod simulations;
mod transcripts;
mod usage;
mod webhooks;

use conversations::{ClaimedConversations, KnownSimulations};
use usage::UsageWriter;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use onerun_domain::{
    Agent, AgentId, Conversation, ConversationId, ConversationLabels, EvaluationRun, EvaluationRunId,
    Item as Message, Job, ModelUsage, Objective, ObjectiveId, ObjectiveRef, Page, PageRequest, Persona,
    PersonaDraft, PersonaId, Project, ProjectId, RunResult, Simulation, SimulationId,
};
use onerun_store::{
    AgentSummary, ChangeError, ConversationChange, ConversationSummary, ConversationView, Decide,
    EvaluatedConversation, EvaluationRunChange, EvaluationRunView, IdempotencyRecord, ListAgents,
    ListConversations, ListSimulations, PersonaChange, ProjectStore, QueuedConversation, ReplyContext,
    SimulationChange, SimulationCounts, SimulationDetail, SimulationSummary, SimulationView, SortBy,
    StoreError, StoredTurn, UsageKey, UsageRow,
};

use crate::{
    database::{Database, Found, Written},
    failure, idempotency,
    item::Item,
    keys::{Key, SimulationKeys},
    retry::RetryPolicy,
    write::{Write, duplicate},
};

/// One project's part of a [`DynamoDbStore`](crate::DynamoDbStore).
#[derive(Clone)]
pub(crate) struct DynamoDbProject {
    database: Arc<Database>,
    memory: Arc<ProcessMemory>,
    id: ProjectId,
}

/// The memory of a process about all projects. It saves calls, and nothing depends on it.
#[derive(Default)]
pub(crate) struct ProcessMemory {
    usage: UsageWriter,
    claimed: ClaimedConversations,
    simulations: KnownSimulations,
}

impl DynamoDbProject {
    /// The part of the existing project `id`.
    pub(crate) fn new(database: Arc<Database>, memory: Arc<ProcessMemory>, id: ProjectId) -> Self {
        Self { database, memory, id }
    }

    fn table(&self) -> ProjectTable<'_> {
        ProjectTable { database: &self.database, memory: &self.memory, project: &self.id }
    }
}

/// The table, bound to a project.
#[derive(Clone, Copy)]
struct ProjectTable<'a> {
    database: &'a Database,
    memory: &'a ProcessMemory,
    project: &'a ProjectId,
}

impl ProjectTable<'_> {
    fn keys(&self, simulation: &SimulationId) -> SimulationKeys {
        SimulationKeys::new(self.project, simulation)
    }
}

/// Writes items that must be new, with the request's idempotency record.
async fn require_new(
    database: &Database,
    mut writes: Vec<Write>,
    record: Option<&IdempotencyRecord>,
) -> Result<(), StoreError> {
    writes.extend(record.map(idempotency::put));
    match database.write(&writes, &mut RetryPolicy::new()).await? {
        Written::All => Ok(()),
        Written::Failed(failed) => Err(duplicate(&writes, &failed)),
    }
}

/// The error of a change that lost every conflict until its time was over.
fn contended(what: &'static str) -> ChangeError {
    failure::contended("TransactWriteItems", &format!("other requests kept changing the {what}")).into()
}

/// The item with this key, if it was found.
fn find(what: &'static str, found: &Found, key: &Key) -> Option<Item> {
    found.get(key).map(|attributes| Item::new(what, attributes.clone()))
}

#[async_trait]
impl ProjectStore for DynamoDbProject {
    fn another(&self) -> Arc<dyn ProjectStore> {
        Arc::new(self.clone())
    }

    fn project_id(&self) -> &ProjectId {
        &self.id
    }

    async fn project(&self) -> Result<Project, StoreError> {
        projects::get(&self.database, &self.id).await
    }

    async fn change_project(&self, decide: Decide<Project, Project>) -> Result<Project, ChangeError> {
        projects::change(&self.database, &self.id, decide).await
    }

    async fn insert_agent(&self, agent: Agent, record: Option<IdempotencyRecord>) -> Result<(), StoreError> {
        agents::insert(self.table(), &agent, record.as_ref()).await
    }

    async fn agent(&self, id: &AgentId) -> Result<Option<AgentSummary>, StoreError> {
        agents::get(self.table(), id).await
    }

    async fn agents(&self, list: ListAgents) -> Result<Page<AgentSummary>, StoreError> {
        agents::list(self.table(), &list).await
    }

    async fn change_agent(
        &self,
        id: &AgentId,
        decide: Decide<Agent, Agent>,
    ) -> Result<Option<AgentSummary>, ChangeError> {
        agents::change(self.table(), id, decide).await
    }

    async fn note_agent_poll(&self, id: &AgentId, at: Timestamp) -> Result<(), StoreError> {
        agents::note_poll(self.table(), id, at).await
    }

    async fn insert_objective(
        &self,
        objective: Objective,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        objectives::insert(self.table(), &objective, record.as_ref()).await
    }

    async fn objective(&self, id: &ObjectiveId) -> Result<Option<Objective>, StoreError> {
        objectives::get(self.table(), id).await
    }

    async fn objectives(&self, sort: SortBy, page: PageRequest) -> Result<Page<Objective>, StoreError> {
        objectives::list(self.table(), sort, &page).await
    }

    async fn change_objective(
        &self,
        id: &ObjectiveId,
        decide: Decide<Objective, Objective>,
    ) -> Result<Option<Objective>, ChangeError> {
        objectives::change(self.table(), id, decide).await
    }

    async fn insert_simulation(
        &self,
        simulation: Simulation,
        objectives: Vec<ObjectiveRef>,
        explicit_personas: Vec<PersonaDraft>,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        let new = simulations::NewSimulation {
            simulation: &simulation,
            pinned: &objectives,
            explicit_personas: &explicit_personas,
            import: Vec::new(),
        };
        simulations::insert(self.table(), new, &jobs, record.as_ref()).await
    }

    async fn simulation(&self, id: &SimulationId) -> Result<Option<SimulationDetail>, StoreError> {
        simulations::get(self.table(), id).await
    }

    async fn explicit_personas(&self, id: &SimulationId) -> Result<Vec<PersonaDraft>, StoreError> {
        personas::explicit(self.table(), id).await
    }

    async fn simulations(&self, list: ListSimulations) -> Result<Page<SimulationSummary>, StoreError> {
        simulations::list(self.table(), &list).await
    }

    async fn change_simulation(
        &self,
        id: &SimulationId,
        decide: Decide<SimulationView, SimulationChange>,
    ) -> Result<Option<Simulation>, ChangeError> {
        simulations::change(self.table(), id, decide).await
    }

    async fn counts(&self, id: &SimulationId) -> Result<Option<SimulationCounts>, StoreError> {
        simulations::counts(self.table(), id).await
    }

    async fn add_usage(&self, key: UsageKey, usage: ModelUsage) -> Result<(), StoreError> {
        usage::add(self.table(), &key, &usage).await
    }

    async fn usage_of_simulation(&self, id: &SimulationId) -> Result<Vec<UsageRow>, StoreError> {
        usage::of_simulation(self.table(), id).await
    }

    async fn usage(&self, first: Date, last: Date) -> Result<Vec<UsageRow>, StoreError> {
        usage::between(self.table(), first, last).await
    }

    async fn add_persona(&self, persona: Persona, jobs: Vec<Job>) -> Result<bool, StoreError> {
        personas::add(self.table(), &persona, &jobs).await
    }

    async fn persona(
        &self,
        simulation: &SimulationId,
        id: &PersonaId,
    ) -> Result<Option<Persona>, StoreError> {
        personas::get(self.table(), simulation, id).await
    }

    async fn persona_seqs(
        &self,
        simulation: &SimulationId,
        first: u32,
        limit: u32,
    ) -> Result<Vec<u32>, StoreError> {
        personas::seqs(self.table(), simulation, first, limit).await
    }

    async fn personas(
        &self,
        simulation: &SimulationId,
        page: PageRequest,
    ) -> Result<Page<Persona>, StoreError> {
        personas::list(self.table(), simulation, &page).await
    }

    async fn change_persona(
        &self,
        simulation: &SimulationId,
        id: &PersonaId,
        decide: Decide<(Simulation, Persona), PersonaChange>,
    ) -> Result<Option<Persona>, ChangeError> {
        personas::change(self.table(), simulation, id, decide).await
    }

    async fn add_conversations(
        &self,
        simulation: &SimulationId,
        conversations: Vec<Conversation>,
    ) -> Result<(), ChangeError> {
        conversations::add(self.table(), simulation, &conversations).await
    }

    async fn conversation(
        &self,
        simulation: &SimulationId,
        id: &ConversationId,
    ) -> Result<Option<EvaluatedConversation>, StoreError> {
        conversations::get(self.table(), simulation, id).await
    }

    async fn conversations(
        &self,
        simulation: &SimulationId,
        list: ListConversations,
    ) -> Result<Page<ConversationSummary>, StoreError> {
        conversations::list(self.table(), simulation, &list).await
    }

    async fn queued_conversations(
        &self,
        agents: &[AgentId],
        limit: u32,
    ) -> Result<Vec<QueuedConversation>, StoreError> {
        simulations::queued(self.table(), agents, limit).await
    }

    async fn unsettled_conversations(
        &self,
        simulation: &SimulationId,
        limit: u32,
    ) -> Result<Vec<ConversationId>, StoreError> {
        conversations::unsettled(self.table(), simulation, limit).await
    }

    async fn change_conversation(
        &self,
        simulation: &SimulationId,
        id: &ConversationId,
        decide: Decide<ConversationView, ConversationChange>,
    ) -> Result<Option<Conversation>, ChangeError> {
        conversations::change(self.table(), simulation, id, decide).await
    }

    async fn reply_context(
        &self,
        simulation: &Simulation,
        conversation: &Conversation,
    ) -> Result<ReplyContext, StoreError> {
        transcripts::reply_context(self.table(), simulation, conversation).await
    }

    async fn turn(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        idempotency_key: &str,
    ) -> Result<Option<StoredTurn>, StoreError> {
        transcripts::turn(self.table(), simulation, conversation, idempotency_key).await
    }

    async fn items(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        attempt: u32,
        page: PageRequest,
    ) -> Result<Page<Message>, StoreError> {
        transcripts::items(self.table(), simulation, conversation, attempt, &page).await
    }

    async fn delete_transcript(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        limit: u32,
    ) -> Result<bool, StoreError> {
        transcripts::delete(self.table(), simulation, conversation, limit).await
    }

    async fn insert_evaluation_run(
        &self,
        run: EvaluationRun,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        evaluation_runs::insert(self.table(), &run, &jobs, record.as_ref()).await
    }

    async fn evaluation_run(
        &self,
        simulation: &SimulationId,
        id: &EvaluationRunId,
    ) -> Result<Option<EvaluationRunView>, StoreError> {
        evaluation_runs::get(self.table(), simulation, id).await
    }

    async fn evaluation_runs(
        &self,
        simulation: &SimulationId,
        page: PageRequest,
    ) -> Result<Page<EvaluationRunView>, StoreError> {
        evaluation_runs::list(self.table(), simulation, &page).await
    }

    async fn change_evaluation_run(
        &self,
        simulation: &SimulationId,
        id: &EvaluationRunId,
        decide: Decide<EvaluationRunView, EvaluationRunChange>,
    ) -> Result<Option<EvaluationRun>, ChangeError> {
        evaluation_runs::change(self.table(), simulation, id, decide).await
    }

    async fn add_run_result(
        &self,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        result: RunResult,
    ) -> Result<bool, StoreError> {
        evaluation_runs::add_result(self.table(), simulation, run, &result).await
    }

    async fn run_result(
        &self,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        conversation: &ConversationId,
    ) -> Result<Option<RunResult>, StoreError> {
        evaluation_runs::result(self.table(), simulation, run, conversation).await
    }

    async fn run_results(
        &self,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        after: Option<&ConversationId>,
        limit: u32,
    ) -> Result<Vec<RunResult>, StoreError> {
        evaluation_runs::results(self.table(), simulation, run, after, limit).await
    }

    async fn put_labels(
        &self,
        simulation: &SimulationId,
        labels: ConversationLabels,
    ) -> Result<bool, StoreError> {
        evaluation_runs::put_labels(self.table(), simulation, &labels).await
    }

    async fn conversation_labels(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
    ) -> Result<Option<ConversationLabels>, StoreError> {
        evaluation_runs::conversation_labels(self.table(), simulation, conversation).await
    }

    async fn labels(
        &self,
        simulation: &SimulationId,
        after: Option<&ConversationId>,
        limit: u32,
    ) -> Result<Vec<ConversationLabels>, StoreError> {
        evaluation_runs::labels(self.table(), simulation, after, limit).await
    }
}
