//! The part of a store that belongs to one project.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use onerun_domain::{
    Agent, AgentId, Conversation, ConversationId, ConversationLabels, Evaluation, EvaluationRun,
    EvaluationRunId, Item, Job, Limit, ModelName, ModelUsage, Objective, ObjectiveId, Page, PageRequest,
    Persona, PersonaDraft, PersonaId, Progress, Project, ProjectId, Purpose, Refusal, RunResult, Simulation,
    SimulationId, Start,
};

use crate::{
    AgentSummary, BatchStore, ChangeError, ConversationSummary, DeletionStore, EvaluatedConversation,
    IdempotencyRecord, ImportStore, ListAgents, ListConversations, ListSimulations, MonitorStore,
    QueuedConversation, ReplyContext, SimulationCounts, SimulationDetail, SimulationSummary, SortBy,
    StoreError, StoredTurn, WebhookStore,
};

/// The result of a decision about a state.
pub type Decision<C> = Result<C, Refusal>;

/// A decision about a state. It may be called again with a newer state, so it must be a pure function of it.
pub type Decide<S, C> = Box<dyn FnMut(S) -> Decision<C> + Send>;

/// The state for a decision about a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationView {
    /// The simulation.
    pub simulation: Simulation,
    /// The progress of its conversations.
    pub progress: Progress,
}

/// The new state of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationChange {
    /// Its new state.
    pub simulation: Simulation,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
    /// The idempotency record of the request.
    pub record: Option<IdempotencyRecord>,
}

impl SimulationChange {
    /// A change of state, with jobs.
    pub fn to(simulation: Simulation, jobs: Vec<Job>) -> Self {
        Self { simulation, jobs, record: None }
    }
}

/// The new state of a persona.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonaChange {
    /// Its new state.
    pub persona: Persona,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
}

/// The state for a decision about a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationView {
    /// Its simulation, from the same snapshot.
    pub simulation: Simulation,
    /// The conversation.
    pub conversation: Conversation,
}

/// The new state of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationChange {
    /// Its new state.
    pub conversation: Conversation,
    /// Messages that are appended to its attempt.
    pub items: Vec<Item>,
    /// The reply that is stored under the caller's `Idempotency-Key`. If one is stored under that key
    /// already, nothing is written and the change fails as [`StoreError::Duplicate`].
    pub turn: Option<StoredTurn>,
    /// An `Idempotency-Key` under which no reply must be stored. If one is, nothing is written and the change fails as
    /// [`StoreError::Duplicate`].
    pub unless_replied: Option<String>,
    /// Evaluations that are recorded.
    pub evaluations: Vec<Evaluation>,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
    /// The idempotency record of the request.
    pub record: Option<IdempotencyRecord>,
}

impl ConversationChange {
    /// A change of the state only.
    pub fn to(conversation: Conversation) -> Self {
        Self {
            conversation,
            items: Vec::new(),
            turn: None,
            unless_replied: None,
            evaluations: Vec::new(),
            jobs: Vec::new(),
            record: None,
        }
    }
}

/// An evaluation run and the counts of its results.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationRunView {
    /// The run.
    pub run: EvaluationRun,
    /// Its results, counted.
    pub counts: RunCounts,
}

/// The results of an evaluation run, counted by conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Judged conversations.
    pub judged: u32,
    /// Conversations whose evaluation failed.
    pub failed: u32,
}

impl RunCounts {
    /// The number of conversations with a result.
    pub fn settled(self) -> u32 {
        self.judged.saturating_add(self.failed)
    }
}

/// The new state of an evaluation run.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationRunChange {
    /// Its new state.
    pub run: EvaluationRun,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
}

/// The key that usage is counted under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageKey {
    /// The simulation.
    pub simulation: SimulationId,
    /// The id of the API key that created the simulation.
    pub created_by: Option<Box<str>>,
    /// The day of the calls, in UTC.
    pub day: Date,
    /// The purpose of the calls.
    pub purpose: Purpose,
    /// The model.
    pub model: ModelName,
}

/// The usage of some calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The id of the API key that created the simulations.
    pub created_by: Option<Box<str>>,
    /// The day of the calls, in UTC.
    pub day: Date,
    /// The purpose of the calls.
    pub purpose: Purpose,
    /// The model.
    pub model: ModelName,
    /// The sum.
    pub usage: ModelUsage,
}

/// One project's part of a store. Ids of other projects are unknown here.
///
/// Every list ends its pages as [`PageBuilder`](crate::PageBuilder) does, reads no further than
/// that, and continues from its own positions. Any other position is
/// [`StoreError::UnknownPosition`].
#[async_trait]
pub trait ProjectStore: MonitorStore + BatchStore + ImportStore + DeletionStore + WebhookStore {
    /// Another handle to the same project, for a task that outlives the request.
    fn another(&self) -> Arc<dyn ProjectStore>;

    /// The id of the project.
    fn project_id(&self) -> &ProjectId;

    /// The project.
    async fn project(&self) -> Result<Project, StoreError>;

    /// Changes the project.
    async fn change_project(&self, decide: Decide<Project, Project>) -> Result<Project, ChangeError>;

    /// Adds an agent.
    async fn insert_agent(&self, agent: Agent, record: Option<IdempotencyRecord>) -> Result<(), StoreError>;

    /// One agent with its number of simulations.
    async fn agent(&self, id: &AgentId) -> Result<Option<AgentSummary>, StoreError>;

    /// A page of agents.
    async fn agents(&self, list: ListAgents) -> Result<Page<AgentSummary>, StoreError>;

    /// Changes an agent. `None` if it does not exist.
    async fn change_agent(
        &self,
        id: &AgentId,
        decide: Decide<Agent, Agent>,
    ) -> Result<Option<AgentSummary>, ChangeError>;

    /// Stores when a worker last asked for an agent's work. A time before the stored one changes
    /// nothing, and neither does an unknown agent.
    async fn note_agent_poll(&self, id: &AgentId, at: Timestamp) -> Result<(), StoreError>;

    /// Adds an objective, at its first version.
    async fn insert_objective(
        &self,
        objective: Objective,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError>;

    /// One objective, at its newest version.
    async fn objective(&self, id: &ObjectiveId) -> Result<Option<Objective>, StoreError>;

    /// A page of objectives, each at its newest version.
    async fn objectives(&self, sort: SortBy, page: PageRequest) -> Result<Page<Objective>, StoreError>;

    /// Adds the decision's new version of an objective, if there is one. Older versions stay.
    /// `None` if the objective does not exist.
    async fn change_objective(
        &self,
        id: &ObjectiveId,
        decide: Decide<Objective, Objective>,
    ) -> Result<Option<Objective>, ChangeError>;

    /// Adds a simulation with its pinned objectives, the personas that its caller wrote, and jobs.
    async fn insert_simulation(
        &self,
        simulation: Simulation,
        objectives: Vec<onerun_domain::ObjectiveRef>,
        explicit_personas: Vec<PersonaDraft>,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError>;

    /// One simulation with its agent and objectives.
    async fn simulation(&self, id: &SimulationId) -> Result<Option<SimulationDetail>, StoreError>;

    /// The personas that the caller of a simulation wrote, in their order; none for other simulations.
    async fn explicit_personas(&self, id: &SimulationId) -> Result<Vec<PersonaDraft>, StoreError>;

    /// A page of simulations.
    async fn simulations(&self, list: ListSimulations) -> Result<Page<SimulationSummary>, StoreError>;

    /// Changes a simulation. `None` if it does not exist.
    async fn change_simulation(
        &self,
        id: &SimulationId,
        decide: Decide<SimulationView, SimulationChange>,
    ) -> Result<Option<Simulation>, ChangeError>;

    /// The counts for the results. `None` if the simulation does not exist.
    async fn counts(&self, id: &SimulationId) -> Result<Option<SimulationCounts>, StoreError>;

    /// Adds a persona and its jobs, unless its simulation has a persona with that number, which
    /// then stays unchanged. Returns `false` if nothing was added.
    async fn add_persona(&self, persona: Persona, jobs: Vec<Job>) -> Result<bool, StoreError>;

    /// One persona.
    async fn persona(&self, simulation: &SimulationId, id: &PersonaId)
    -> Result<Option<Persona>, StoreError>;

    /// The numbers of a simulation's personas from `first` on, in order, up to `limit`.
    async fn persona_seqs(
        &self,
        simulation: &SimulationId,
        first: u32,
        limit: u32,
    ) -> Result<Vec<u32>, StoreError>;

    /// A page of personas, newest first.
    async fn personas(
        &self,
        simulation: &SimulationId,
        page: PageRequest,
    ) -> Result<Page<Persona>, StoreError>;

    /// Changes a persona. `None` if it does not exist.
    async fn change_persona(
        &self,
        simulation: &SimulationId,
        id: &PersonaId,
        decide: Decide<(Simulation, Persona), PersonaChange>,
    ) -> Result<Option<Persona>, ChangeError>;

    /// Adds conversations of one simulation. Conversations whose number exists are left out, and
    /// the existing ones stay unchanged. Refused unless the simulation is in progress.
    async fn add_conversations(
        &self,
        simulation: &SimulationId,
        conversations: Vec<Conversation>,
    ) -> Result<(), ChangeError>;

    /// One conversation with its persona and evaluations.
    async fn conversation(
        &self,
        simulation: &SimulationId,
        id: &ConversationId,
    ) -> Result<Option<EvaluatedConversation>, StoreError>;

    /// A page of conversations.
    async fn conversations(
        &self,
        simulation: &SimulationId,
        list: ListConversations,
    ) -> Result<Page<ConversationSummary>, StoreError>;

    /// Up to `limit` queued conversations of running simulations of these agents. Simulations take turns, in the
    /// order of [`SimulationOrder::LongestWaiting`](crate::SimulationOrder::LongestWaiting), and each gives its longest
    /// waiting conversation.
    async fn queued_conversations(
        &self,
        agents: &[AgentId],
        limit: u32,
    ) -> Result<Vec<QueuedConversation>, StoreError>;

    /// The ids of up to `limit` conversations that are not settled (see
    /// [`Conversation::is_settled`]).
    async fn unsettled_conversations(
        &self,
        simulation: &SimulationId,
        limit: u32,
    ) -> Result<Vec<ConversationId>, StoreError>;

    /// Changes a conversation. `None` if it does not exist.
    ///
    /// All of the change is written or none of it, and only if conversation and simulation have not
    /// changed since the decision. A change of turn, lease or messages alone, which moves no count and enqueues no job,
    /// may be written although the simulation changed meanwhile, as if it had come before. A change that settles the
    /// conversation is counted in its simulation's [`Progress`] by the same write. The write that brings the count to
    /// the simulation's target also adds the job [`Work::FinishSimulation`](onerun_domain::Work::FinishSimulation). A
    /// backend that cannot know the count may add it with every settlement, because the job decides.
    async fn change_conversation(
        &self,
        simulation: &SimulationId,
        id: &ConversationId,
        decide: Decide<ConversationView, ConversationChange>,
    ) -> Result<Option<Conversation>, ChangeError>;

    /// The context of the reply to a conversation, as the conversation was last written. A change of the agent in the
    /// last second may be missing.
    async fn reply_context(
        &self,
        simulation: &Simulation,
        conversation: &Conversation,
    ) -> Result<ReplyContext, StoreError> {
        let corrupt = |what| StoreError::Corrupt { what, reason: "it is missing".into() };
        let agent = self.agent(&simulation.agent_id).await?.ok_or_else(|| corrupt("agent"))?.agent;
        let persona = self.persona(&simulation.id, &conversation.persona_id).await?;
        let mut items = Vec::new();
        let mut request = PageRequest::first(Limit::clamped(Limit::MAX));
        loop {
            let page =
                self.items(&simulation.id, &conversation.id, conversation.attempt, request.clone()).await?;
            items.extend(page.data);
            let Some(position) = page.next else { break };
            request.start = Start::After(position);
        }
        Ok(ReplyContext { agent, persona: persona.ok_or_else(|| corrupt("persona"))?, items })
    }

    /// The reply stored under an `Idempotency-Key`.
    async fn turn(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        idempotency_key: &str,
    ) -> Result<Option<StoredTurn>, StoreError>;

    /// Adds what calls to a model consumed to what is stored under the same key. The simulation must exist.
    async fn add_usage(&self, key: UsageKey, usage: ModelUsage) -> Result<(), StoreError>;

    /// A simulation's usage, by day, purpose and model. Empty for an unknown simulation.
    async fn usage_of_simulation(&self, id: &SimulationId) -> Result<Vec<UsageRow>, StoreError>;

    /// The project's usage from `first` to `last`, both included, by day, key, purpose and model.
    async fn usage(&self, first: Date, last: Date) -> Result<Vec<UsageRow>, StoreError>;

    /// The messages of one attempt, oldest first.
    async fn items(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        attempt: u32,
        page: PageRequest,
    ) -> Result<Page<Item>, StoreError>;

    /// Deletes up to `limit` messages and as many stored replies of a conversation, of all attempts, and removes the
    /// transcript's words from its evaluations (see [`Evaluation::without_transcript`]). Returns whether messages or
    /// replies may be left. The simulation's
    /// [`transcripts_deleted_at`](onerun_domain::Simulation::transcripts_deleted_at) must be set: it tells readers why
    /// messages are missing.
    async fn delete_transcript(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
        limit: u32,
    ) -> Result<bool, StoreError>;

    /// Adds an evaluation run of a simulation, with jobs.
    async fn insert_evaluation_run(
        &self,
        run: EvaluationRun,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError>;

    /// One evaluation run.
    async fn evaluation_run(
        &self,
        simulation: &SimulationId,
        id: &EvaluationRunId,
    ) -> Result<Option<EvaluationRunView>, StoreError>;

    /// Evaluation runs of a simulation, newest first.
    async fn evaluation_runs(
        &self,
        simulation: &SimulationId,
        page: PageRequest,
    ) -> Result<Page<EvaluationRunView>, StoreError>;

    /// Changes an evaluation run. Returns `None` for an unknown one.
    async fn change_evaluation_run(
        &self,
        simulation: &SimulationId,
        id: &EvaluationRunId,
        decide: Decide<EvaluationRunView, EvaluationRunChange>,
    ) -> Result<Option<EvaluationRun>, ChangeError>;

    /// Adds the result of a run for one conversation, and counts it, in one write. Returns `false`, and writes
    /// nothing, if the run has a result for that conversation, or if run or conversation is unknown.
    async fn add_run_result(
        &self,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        result: RunResult,
    ) -> Result<bool, StoreError>;

    /// The result of a run for one conversation.
    async fn run_result(
        &self,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        conversation: &ConversationId,
    ) -> Result<Option<RunResult>, StoreError>;

    /// Up to `limit` results of a run, ordered by the id of their conversation, which is greater than `after`.
    async fn run_results(
        &self,
        simulation: &SimulationId,
        run: &EvaluationRunId,
        after: Option<&ConversationId>,
        limit: u32,
    ) -> Result<Vec<RunResult>, StoreError>;

    /// Stores the labels of a conversation in place of earlier ones. Returns `false`, and writes nothing, for an
    /// unknown conversation.
    async fn put_labels(
        &self,
        simulation: &SimulationId,
        labels: ConversationLabels,
    ) -> Result<bool, StoreError>;

    /// The labels of one conversation.
    async fn conversation_labels(
        &self,
        simulation: &SimulationId,
        conversation: &ConversationId,
    ) -> Result<Option<ConversationLabels>, StoreError>;

    /// The labels of up to `limit` conversations, ordered by the id of the conversation, which is greater than
    /// `after`.
    async fn labels(
        &self,
        simulation: &SimulationId,
        after: Option<&ConversationId>,
        limit: u32,
    ) -> Result<Vec<ConversationLabels>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The traits are used as `dyn`; this fails to compile if they cannot be.
    #[expect(dead_code, reason = "compiling is the test")]
    fn is_dyn_compatible(_: &dyn ProjectStore, _: &dyn crate::Store) {}
}
