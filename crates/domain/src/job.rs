//! Background jobs. A job is written together with the change that needs it.
//!
//! Delivery is at least once and in any order. A job decides from stored state, so a repeated or
//! late delivery changes nothing.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AgentAnswer, AgentId, BatchId, BatchRef, ConversationId, EvaluationRunId, EventSource, MonitorId,
    MonitorRunId, PersonaId, ProjectId, SimulationId, WebhookDeliveryId, WebhookId, sha256_hex,
};

/// Identifies a job by its work, so the same work is stored only once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(String);

impl JobId {
    /// Restores a stored id.
    pub fn restore(text: String) -> Self {
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The work of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Start a pending simulation and enqueue the generation of its personas.
    StartSimulation {
        /// The simulation.
        simulation: SimulationId,
    },
    /// Generate a bounded number of personas from `first_seq`, and enqueue the rest.
    GeneratePersonas {
        /// The simulation.
        simulation: SimulationId,
        /// The number of the first persona.
        first_seq: u32,
    },
    /// Generate persona `seq` in place of a rejected one.
    ReplacePersona {
        /// The simulation.
        simulation: SimulationId,
        /// The number of the persona.
        seq: u32,
    },
    /// Import a bounded number of conversations from `first_seq`, and enqueue the rest.
    ImportConversations {
        /// The simulation.
        simulation: SimulationId,
        /// The number of the first conversation.
        first_seq: u32,
    },
    /// Queue the conversations of an approved persona.
    QueueConversations {
        /// The simulation.
        simulation: SimulationId,
        /// The persona.
        persona: PersonaId,
    },
    /// Evaluate one attempt of a conversation.
    JudgeConversation {
        /// The simulation.
        simulation: SimulationId,
        /// The conversation.
        conversation: ConversationId,
        /// The attempt.
        attempt: u32,
    },
    /// Finish a simulation if all its conversations are settled.
    FinishSimulation {
        /// The simulation.
        simulation: SimulationId,
    },
    /// Stop the open conversations of a simulation that is over.
    StopConversations {
        /// The simulation.
        simulation: SimulationId,
    },
    /// Delete the transcripts of a bounded number of conversations, and enqueue the rest.
    DeleteTranscripts {
        /// The simulation.
        simulation: SimulationId,
        /// The position of the last conversation whose transcript is deleted; `None` at first.
        after: Option<String>,
    },
    /// Remove a bounded part of what is stored below a deleted simulation.
    PurgeSimulation {
        /// The simulation.
        simulation: SimulationId,
    },
    /// Queue a bounded number of an evaluation run's conversations for its judge, and enqueue the rest.
    QueueEvaluations {
        /// The simulation.
        simulation: SimulationId,
        /// The evaluation run.
        run: EvaluationRunId,
        /// The position of the last conversation that is queued; `None` at first.
        after: Option<String>,
    },
    /// Create the simulation of a monitor's run.
    StartMonitorRun {
        /// The simulation that is created.
        simulation: SimulationId,
        /// The monitor.
        monitor: MonitorId,
        /// The run.
        run: MonitorRunId,
    },
    /// Store the results of a monitor's run, whose simulation has ended.
    FinishMonitorRun {
        /// The simulation.
        simulation: SimulationId,
        /// The monitor.
        monitor: MonitorId,
        /// The run.
        run: MonitorRunId,
    },
    /// Create a bounded number of a batch's simulations, or cancel them if the batch is canceled, and enqueue the rest.
    AdvanceBatch {
        /// The batch.
        batch: BatchId,
    },
    /// Note the end of a batch's simulation.
    SettleBatchItem {
        /// The simulation.
        simulation: SimulationId,
        /// The item that created it.
        item: BatchRef,
    },
    /// Add a delivery of an event for each webhook that subscribes to it.
    NotifyWebhooks {
        /// The cause of the event.
        event: EventSource,
    },
    /// Attempt a delivery of a webhook.
    DeliverWebhook {
        /// The webhook.
        webhook: WebhookId,
        /// The delivery.
        delivery: WebhookDeliveryId,
    },
    /// Hold the queued conversations of a simulation's agent, until the simulation is over.
    ServeAgent {
        /// The simulation.
        simulation: SimulationId,
    },
    /// Ask an agent for its reply.
    CallAgent {
        /// The simulation.
        simulation: SimulationId,
        /// The conversation.
        conversation: ConversationId,
        /// The attempt.
        attempt: u32,
        /// The number of messages before the reply.
        position: u32,
        /// When the agent may be called.
        not_before: Timestamp,
    },
    /// Continue a conversation with what the agent answered.
    AnswerAgent {
        /// The agent.
        agent: AgentId,
        /// The simulation.
        simulation: SimulationId,
        /// The conversation.
        conversation: ConversationId,
        /// The attempt.
        attempt: u32,
        /// The number of messages before the answer.
        position: u32,
        /// The answer.
        answer: AgentAnswer,
    },
    /// Judge one conversation of an evaluation run.
    JudgeAgain {
        /// The simulation.
        simulation: SimulationId,
        /// The evaluation run.
        run: EvaluationRunId,
        /// The conversation.
        conversation: ConversationId,
    },
}

impl Work {
    /// The simulation that it works for, if it works for one.
    pub fn simulation(&self) -> Option<&SimulationId> {
        match self {
            Self::AdvanceBatch { .. } | Self::NotifyWebhooks { .. } | Self::DeliverWebhook { .. } => None,
            Self::StartSimulation { simulation }
            | Self::GeneratePersonas { simulation, .. }
            | Self::ReplacePersona { simulation, .. }
            | Self::ImportConversations { simulation, .. }
            | Self::QueueConversations { simulation, .. }
            | Self::JudgeConversation { simulation, .. }
            | Self::FinishSimulation { simulation }
            | Self::StopConversations { simulation }
            | Self::DeleteTranscripts { simulation, .. }
            | Self::PurgeSimulation { simulation }
            | Self::QueueEvaluations { simulation, .. }
            | Self::StartMonitorRun { simulation, .. }
            | Self::FinishMonitorRun { simulation, .. }
            | Self::SettleBatchItem { simulation, .. }
            | Self::ServeAgent { simulation }
            | Self::CallAgent { simulation, .. }
            | Self::AnswerAgent { simulation, .. }
            | Self::JudgeAgain { simulation, .. } => Some(simulation),
        }
    }

    /// The name of the work, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StartSimulation { .. } => "start_simulation",
            Self::GeneratePersonas { .. } => "generate_personas",
            Self::ReplacePersona { .. } => "replace_persona",
            Self::ImportConversations { .. } => "import_conversations",
            Self::QueueConversations { .. } => "queue_conversations",
            Self::JudgeConversation { .. } => "judge_conversation",
            Self::FinishSimulation { .. } => "finish_simulation",
            Self::StopConversations { .. } => "stop_conversations",
            Self::DeleteTranscripts { .. } => "delete_transcripts",
            Self::PurgeSimulation { .. } => "purge_simulation",
            Self::QueueEvaluations { .. } => "queue_evaluations",
            Self::StartMonitorRun { .. } => "start_monitor_run",
            Self::FinishMonitorRun { .. } => "finish_monitor_run",
            Self::AdvanceBatch { .. } => "advance_batch",
            Self::SettleBatchItem { .. } => "settle_batch_item",
            Self::NotifyWebhooks { .. } => "notify_webhooks",
            Self::DeliverWebhook { .. } => "deliver_webhook",
            Self::ServeAgent { .. } => "serve_agent",
            Self::CallAgent { .. } => "call_agent",
            Self::AnswerAgent { .. } => "answer_agent",
            Self::JudgeAgain { .. } => "judge_again",
        }
    }

    fn id(&self) -> JobId {
        let name = self.name();
        JobId(match self {
            Self::StartSimulation { simulation }
            | Self::FinishSimulation { simulation }
            | Self::StopConversations { simulation }
            | Self::PurgeSimulation { simulation }
            | Self::ServeAgent { simulation }
            | Self::SettleBatchItem { simulation, .. }
            | Self::NotifyWebhooks { event: EventSource::Simulation { simulation } } => {
                format!("{name}:{simulation}")
            }
            Self::GeneratePersonas { simulation, first_seq: seq }
            | Self::ImportConversations { simulation, first_seq: seq }
            | Self::ReplacePersona { simulation, seq } => {
                format!("{name}:{simulation}:{seq}")
            }
            Self::StartMonitorRun { run, .. }
            | Self::FinishMonitorRun { run, .. }
            | Self::NotifyWebhooks { event: EventSource::MonitorRun { run, .. } } => format!("{name}:{run}"),
            // The roles of functions that change keys name the beginning that these two have.
            Self::NotifyWebhooks { event: EventSource::Key { event } } => {
                format!("{name}:key:{}:{}", event.key_id, event.revision)
            }
            Self::NotifyWebhooks { event: EventSource::KeyExpiry { key, expires_at } } => {
                format!("{name}:key:{key}:expires:{}", expires_at.as_microsecond())
            }
            Self::AdvanceBatch { batch } => format!("{name}:{batch}"),
            Self::QueueConversations { persona, .. } => format!("{name}:{persona}"),
            Self::JudgeConversation { conversation, attempt, .. } => {
                format!("{name}:{conversation}:{attempt}")
            }
            Self::DeleteTranscripts { simulation, after } => {
                after_position(name, simulation, after.as_deref())
            }
            Self::QueueEvaluations { run, after, .. } => after_position(name, run, after.as_deref()),
            Self::DeliverWebhook { delivery, .. } => format!("{name}:{delivery}"),
            Self::CallAgent { conversation, attempt, position, .. }
            | Self::AnswerAgent { conversation, attempt, position, .. } => {
                format!("{name}:{conversation}:{attempt}:{position}")
            }
            Self::JudgeAgain { run, conversation, .. } => format!("{name}:{run}:{conversation}"),
        })
    }
}

/// The id of a job that continues after a position, which may be long and have any characters.
fn after_position(name: &str, subject: &impl fmt::Display, after: Option<&str>) -> String {
    match after {
        Some(after) => format!("{name}:{subject}:{}", sha256_hex([after])),
        None => format!("{name}:{subject}"),
    }
}

/// Jobs are taken by kind, so that slow ones of one kind never hold up the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobKind {
    /// Judging conversations: slow, and there is one job for each conversation.
    Judging,
    /// Calls to addresses that users name, which may be slow or down.
    Outbound,
    /// Everything else.
    Other,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Other, Self::Judging, Self::Outbound];

    /// The kind of a job. An id begins with the name of the work.
    pub fn of(id: &JobId) -> Self {
        match id.0.split(':').next() {
            Some("judge_conversation" | "judge_again") => Self::Judging,
            Some("deliver_webhook" | "call_agent") => Self::Outbound,
            _ => Self::Other,
        }
    }
}

/// A job of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id, derived from its work.
    pub id: JobId,
    /// The project it works in.
    pub project_id: ProjectId,
    /// Its work.
    pub work: Work,
}

impl Job {
    /// Creates a job for `work`.
    pub fn new(project_id: ProjectId, work: Work) -> Self {
        Self { id: work.id(), project_id, work }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventType, KeyEvent};

    #[test]
    fn the_kind_of_a_job_follows_from_its_id() {
        let simulation: SimulationId = "simulation00000000001".parse().unwrap();
        let conversation: ConversationId = "conversation000000001".parse().unwrap();
        let kind = |work: Work| JobKind::of(&work.id());
        assert_eq!(kind(Work::FinishSimulation { simulation: simulation.clone() }), JobKind::Other);
        let run: EvaluationRunId = "evaluationrun00000001".parse().unwrap();
        let queue = Work::QueueEvaluations { simulation: simulation.clone(), run: run.clone(), after: None };
        assert_eq!(kind(queue), JobKind::Other);
        let again =
            Work::JudgeAgain { simulation: simulation.clone(), run, conversation: conversation.clone() };
        assert_eq!(kind(again), JobKind::Judging);
        assert_eq!(kind(Work::JudgeConversation { simulation, conversation, attempt: 1 }), JobKind::Judging);
    }

    /// Roles of AWS name the beginning, and no other job may have it.
    #[test]
    fn jobs_of_keys_have_ids_of_their_own() {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let change = |event_type, revision| KeyEvent {
            event_type,
            key_id: "keyOfReader0".to_owned(),
            revision,
            name: "ci".to_owned(),
            scopes: Vec::new(),
            projects: Vec::new(),
            actor_key_id: None,
            created_at: at,
            expires_at: None,
            at,
            replaced: None,
            is_leaked: false,
        };
        let of_change = |revision| {
            let event = Box::new(change(EventType::KeyRevoked, revision));
            Work::NotifyWebhooks { event: EventSource::Key { event } }.id().0
        };
        let of_expiry = |second| {
            let expires_at = jiff::Timestamp::from_second(second).unwrap();
            let event = EventSource::KeyExpiry { key: "keyOfReader0".to_owned(), expires_at };
            Work::NotifyWebhooks { event }.id().0
        };
        assert_eq!(of_change(2), "notify_webhooks:key:keyOfReader0:2");
        assert_eq!(of_expiry(2), "notify_webhooks:key:keyOfReader0:expires:2000000");
    }
}
