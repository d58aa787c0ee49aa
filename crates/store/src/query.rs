//! Requests for lists, and the rows and counts that reads return.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    Agent, AgentId, BatchId, Conversation, ConversationStatus, Direction, EndReason, Evaluation,
    EvaluationStatus, FaultSeverity, Metadata, MonitorId, Name, Objective, ObjectiveId, ObjectiveRef,
    Outcome, PageRequest, Persona, Progress, Simulation, SimulationStatus,
};

/// The sort order of projects, agents and objectives. Equal values are ordered by creation time, in the same
/// direction, so that pages never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// By creation time.
    CreatedAt(Direction),
    /// By name, regardless of case.
    Name(Direction),
}

/// The exact values of a filter. Every character counts, including its case, and two notations of a
/// value differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExactFilter {
    /// Only resources with this name.
    pub name: Option<String>,
    /// Only resources whose metadata [has](Metadata::has) each of these.
    pub metadata: Vec<(String, String)>,
}

impl ExactFilter {
    /// Whether a resource with this name and metadata matches.
    pub fn admits(&self, name: &Name, metadata: &Metadata) -> bool {
        self.name.as_ref().is_none_or(|wanted| wanted == name.as_str())
            && self.metadata.iter().all(|(key, text)| metadata.has(key, text))
    }
}

/// A request for a list of agents.
#[derive(Clone, Debug, PartialEq)]
pub struct ListAgents {
    /// Only agents whose name contains this, regardless of case. Every character stands for itself.
    pub name: Option<String>,
    /// Only agents with this name and metadata.
    pub exact: ExactFilter,
    /// Only archived agents, or only the others.
    pub archived: bool,
    /// The order.
    pub sort: SortBy,
    /// The page.
    pub page: PageRequest,
}

/// An agent and its number of simulations.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSummary {
    /// The agent.
    pub agent: Agent,
    /// The number of its simulations.
    pub total_simulations: u64,
}

/// The sort order of simulations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulationOrder {
    /// By creation time.
    CreatedAt(Direction),
    /// By name, regardless of case.
    Name(Direction),
    /// By the name of their status.
    Status(Direction),
    /// Simulations with a queued conversation first, then the others, newest first. The former are ordered by
    /// the time since which their longest waiting conversation is queued, plus [`TURN_SLICE`] for each number
    /// up to its own, but at most [`MAX_TURN_DELAY`]. A worker reads one page in this order: it serves
    /// simulations in turn, and none starves behind newer ones.
    LongestWaiting,
}

/// How far one served conversation puts a simulation behind others.
pub const TURN_SLICE: SignedDuration = SignedDuration::from_secs(10);

/// How far all its served conversations put a simulation behind others at most.
pub const MAX_TURN_DELAY: SignedDuration = SignedDuration::from_hours(1);

/// A request for a list of simulations.
#[derive(Clone, Debug, PartialEq)]
pub struct ListSimulations {
    /// Only simulations whose name contains this, regardless of case. Every character stands for
    /// itself.
    pub name: Option<String>,
    /// Only simulations with this name and metadata.
    pub exact: ExactFilter,
    /// Only simulations in this status.
    pub status: Option<SimulationStatus>,
    /// Only simulations of this agent.
    pub agent_id: Option<AgentId>,
    /// Only simulations of this batch.
    pub batch_id: Option<BatchId>,
    /// Only simulations of this monitor.
    pub monitor_id: Option<MonitorId>,
    /// Only simulations that were created in this time.
    pub created: CreatedFilter,
    /// The order.
    pub order: SimulationOrder,
    /// The page.
    pub page: PageRequest,
}

/// A range of times of creation. Both bounds are exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreatedFilter {
    /// Only what was created after this.
    pub after: Option<Timestamp>,
    /// Only what was created before this.
    pub before: Option<Timestamp>,
}

/// A simulation with its agent and its pinned objectives, in the order of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationDetail {
    /// The simulation.
    pub simulation: Simulation,
    /// Its agent.
    pub agent: Agent,
    /// Its objectives.
    pub objectives: Vec<Objective>,
}

/// A simulation as lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationSummary {
    /// The simulation.
    pub simulation: Simulation,
    /// Its agent without the description, which is far longer than the rest and the same in many
    /// rows.
    pub agent: Agent,
}

impl From<SimulationDetail> for SimulationSummary {
    fn from(detail: SimulationDetail) -> Self {
        Self { simulation: detail.simulation, agent: Agent { description: None, ..detail.agent } }
    }
}

/// An outcome that conversations are counted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedOutcome {
    /// The outcome.
    pub outcome: Outcome,
    /// The objective with this outcome (see [`ObjectiveCounts::outcomes`]); `None` for the conversation as a whole
    /// (see [`ConversationCounts::by_outcome`]).
    pub objective: Option<ObjectiveId>,
}

impl CountedOutcome {
    /// Conversations with this outcome as a whole.
    pub fn whole(outcome: Outcome) -> Self {
        Self { outcome, objective: None }
    }
}

/// A request for a list of conversations, newest first. Queued ones, if that status is the filter,
/// come longest waiting first.
#[derive(Clone, Debug, PartialEq)]
pub struct ListConversations {
    /// Only conversations in this status.
    pub status: Option<ConversationStatus>,
    /// Only conversations that are counted with this outcome.
    pub outcome: Option<CountedOutcome>,
    /// The page.
    pub page: PageRequest,
}

/// A conversation, its persona, and the evaluations of its current attempt with their objectives.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluatedConversation {
    /// The conversation.
    pub conversation: Conversation,
    /// Its persona.
    pub persona: Persona,
    /// The evaluations, each with the judged version of its objective, in the order of the
    /// simulation's objectives.
    pub evaluations: Vec<(Evaluation, Objective)>,
}

/// A conversation as lists show it. Objectives are reduced to their names: the criteria are far
/// longer than the rest and the same in many rows.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationSummary {
    /// The conversation.
    pub conversation: Conversation,
    /// Its persona.
    pub persona: Persona,
    /// The evaluations of its current attempt, each with the name of the judged version of its
    /// objective, in the order of the simulation's objectives.
    pub evaluations: Vec<(Evaluation, Name)>,
}

impl From<EvaluatedConversation> for ConversationSummary {
    fn from(evaluated: EvaluatedConversation) -> Self {
        let EvaluatedConversation { conversation, persona, evaluations } = evaluated;
        let named = |(evaluation, objective): (Evaluation, Objective)| (evaluation, objective.name);
        Self { conversation, persona, evaluations: evaluations.into_iter().map(named).collect() }
    }
}

/// The counts of one objective's evaluations. Only settled conversations with a completed
/// evaluation count.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveCounts {
    /// The objective's pinned version.
    pub objective: ObjectiveRef,
    /// The number of conversations by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The sum of the scores.
    pub score_sum: f64,
    /// The number of scores.
    pub score_count: u64,
}

/// The counts of a simulation's conversations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationCounts {
    /// By status.
    pub by_status: BTreeMap<&'static str, u64>,
    /// By end reason; conversations that have not ended are left out.
    pub by_end_reason: BTreeMap<&'static str, u64>,
    /// By evaluation status.
    pub by_evaluation_status: BTreeMap<&'static str, u64>,
    /// By overall outcome ([`Outcome::all`]); conversations without a completed evaluation are left
    /// out.
    pub by_outcome: BTreeMap<&'static str, u64>,
    /// By the severity of their persona's worst fault; conversations without one are left out. Those with a
    /// critical one are not counted by outcome, neither here nor for objectives.
    pub by_worst_fault: BTreeMap<&'static str, u64>,
    /// The number of conversations that lost a lease: they are at a later attempt than the first.
    pub retried: u64,
}

impl ConversationCounts {
    /// The number of conversations in `status`.
    pub fn in_status(&self, status: ConversationStatus) -> u64 {
        self.by_status.get(status.as_str()).copied().unwrap_or(0)
    }

    /// The number of conversations that ended because of `reason`.
    pub fn ended_by(&self, reason: EndReason) -> u64 {
        self.by_end_reason.get(reason.as_str()).copied().unwrap_or(0)
    }

    /// The number of evaluations in `status`.
    pub fn evaluations(&self, status: EvaluationStatus) -> u64 {
        self.by_evaluation_status.get(status.as_str()).copied().unwrap_or(0)
    }

    /// The number of conversations whose persona's worst fault is of `severity`.
    pub fn with_worst_fault(&self, severity: FaultSeverity) -> u64 {
        self.by_worst_fault.get(severity.as_str()).copied().unwrap_or(0)
    }

    /// The number of conversations with `outcome`.
    pub fn with_outcome(&self, outcome: Outcome) -> u64 {
        self.by_outcome.get(outcome.as_str()).copied().unwrap_or(0)
    }
}

impl ObjectiveCounts {
    /// The number of conversations with `outcome`.
    pub fn with_outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.as_str()).copied().unwrap_or(0)
    }
}

/// The counts that a simulation's results are computed from, read in one snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationCounts {
    /// Its progress.
    pub progress: Progress,
    /// Its conversations.
    pub conversations: ConversationCounts,
    /// Its objectives, in the order of the simulation, also those without an evaluation.
    pub objectives: Vec<ObjectiveCounts>,
    /// The number of personas by approval status.
    pub personas: BTreeMap<&'static str, u64>,
}
