//! Requests for lists, and replies that have more than one part.

use std::collections::BTreeMap;

use onerun_domain::{
    Agent, AgentId, Conversation, ConversationStatus, Direction, EndReason, Evaluation, EvaluationStatus,
    Metadata, Name, Objective, ObjectiveRef, Outcome, PageRequest, Persona, Progress, Simulation,
    SimulationStatus,
};

/// The sort order of projects, agents and objectives. Equal values are ordered by creation time, in the same
/// direction, so that pages never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// By creation time.
    CreatedAt(Direction),
    /// By name, ignoring case.
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

/// Which agents are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct ListAgents {
    /// Only those whose name contains this, ignoring case. Every character stands for itself.
    pub name: Option<String>,
    /// Only these.
    pub exact: ExactFilter,
    /// In which order.
    pub sort: SortBy,
    /// Which part.
    pub page: PageRequest,
}

/// An agent and how many simulations it has.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSummary {
    /// The agent.
    pub agent: Agent,
    /// How many simulations it has.
    pub total_simulations: u64,
}

/// In which order simulations are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulationOrder {
    /// By creation time.
    CreatedAt(Direction),
    /// By name, ignoring case.
    Name(Direction),
    /// By the word of their status.
    Status(Direction),
    /// Simulations with a queued conversation first, the longest waiting one at the head; then the
    /// others, newest first. A worker that reads one page needs this order, so that nothing starves
    /// behind newer simulations.
    LongestWaiting,
}

/// Which simulations are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct ListSimulations {
    /// Only those whose name contains this, ignoring case. Every character stands for itself.
    pub name: Option<String>,
    /// Only these.
    pub exact: ExactFilter,
    /// Only those in this status.
    pub status: Option<SimulationStatus>,
    /// Only those of this agent.
    pub agent_id: Option<AgentId>,
    /// In which order.
    pub order: SimulationOrder,
    /// Which part.
    pub page: PageRequest,
}

/// A simulation with its agent and its objectives at the versions that it pinned, in the order they were
/// named.
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
    /// Its agent, without the description: that is far longer than the rest, and the same in many rows.
    pub agent: Agent,
}

impl From<SimulationDetail> for SimulationSummary {
    fn from(detail: SimulationDetail) -> Self {
        Self { simulation: detail.simulation, agent: Agent { description: None, ..detail.agent } }
    }
}

/// Which conversations are wanted: newest first, except that queued ones asked for by that status come
/// longest waiting first.
#[derive(Clone, Debug, PartialEq)]
pub struct ListConversations {
    /// Only those in this status.
    pub status: Option<ConversationStatus>,
    /// Which part.
    pub page: PageRequest,
}

/// A conversation, its persona, and the evaluations on its current attempt with the objectives they are about.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluatedConversation {
    /// The conversation.
    pub conversation: Conversation,
    /// The persona that holds it.
    pub persona: Persona,
    /// The evaluations, each with the judged version of its objective, in the order the simulation names them.
    pub evaluations: Vec<(Evaluation, Objective)>,
}

/// A conversation as lists show it: the evaluations name the judged versions of their objectives and leave out
/// the criteria, which are far longer than the rest and the same in many rows.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationSummary {
    /// The conversation.
    pub conversation: Conversation,
    /// The persona that holds it.
    pub persona: Persona,
    /// The evaluations on its current attempt, each with the name of the judged version of its objective, in the
    /// order the simulation names them.
    pub evaluations: Vec<(Evaluation, Name)>,
}

impl From<EvaluatedConversation> for ConversationSummary {
    fn from(evaluated: EvaluatedConversation) -> Self {
        let EvaluatedConversation { conversation, persona, evaluations } = evaluated;
        let named = |(evaluation, objective): (Evaluation, Objective)| (evaluation, objective.name);
        Self { conversation, persona, evaluations: evaluations.into_iter().map(named).collect() }
    }
}

/// The evaluations on one objective, counted. Only settled conversations with a completed evaluation count.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveCounts {
    /// The objective's pinned version.
    pub objective: ObjectiveRef,
    /// How many conversations had which outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The sum of the scores.
    pub score_sum: f64,
    /// How many scores there are.
    pub score_count: u64,
}

/// The conversations of a simulation, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationCounts {
    /// By status.
    pub by_status: BTreeMap<&'static str, u64>,
    /// By why they are over; those that are not are left out.
    pub by_end_reason: BTreeMap<&'static str, u64>,
    /// By evaluation status.
    pub by_evaluation_status: BTreeMap<&'static str, u64>,
    /// By what their evaluations make together ([`Outcome::all`]); conversations without a completed evaluation
    /// are left out.
    pub by_outcome: BTreeMap<&'static str, u64>,
    /// How many were given up at least once: they are at a later attempt than the first.
    pub retried: u64,
}

impl ConversationCounts {
    /// How many are in `status`.
    pub fn in_status(&self, status: ConversationStatus) -> u64 {
        self.by_status.get(status.as_str()).copied().unwrap_or(0)
    }

    /// How many are over because of `reason`.
    pub fn ended_by(&self, reason: EndReason) -> u64 {
        self.by_end_reason.get(reason.as_str()).copied().unwrap_or(0)
    }

    /// How many evaluations are in `status`.
    pub fn evaluations(&self, status: EvaluationStatus) -> u64 {
        self.by_evaluation_status.get(status.as_str()).copied().unwrap_or(0)
    }

    /// How many conversations have `outcome`.
    pub fn with_outcome(&self, outcome: Outcome) -> u64 {
        self.by_outcome.get(outcome.as_str()).copied().unwrap_or(0)
    }
}

impl ObjectiveCounts {
    /// How many conversations have `outcome`.
    pub fn with_outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.as_str()).copied().unwrap_or(0)
    }
}

/// All that the results of a simulation are worked out from, read at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationCounts {
    /// How far it has come.
    pub progress: Progress,
    /// Its conversations.
    pub conversations: ConversationCounts,
    /// Its objectives, in the order the simulation names them, each also with no evaluation yet.
    pub objectives: Vec<ObjectiveCounts>,
    /// How many personas there are, by approval.
    pub personas: BTreeMap<&'static str, u64>,
}
