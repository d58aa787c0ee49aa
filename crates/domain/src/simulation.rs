//! Simulations: one agent in many conversations with personas.
//!
//! ```text
//! pending → in_progress → completed | failed | canceled | expired
//! ```
//!
//! `canceled`, `expired` and `failed` are also reached from `pending`. The last four are final.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AgentId, BatchRef, LeftOutMessages, MaxTurns, Metadata, MonitorId, MonitorRunId, Name, NanoDollars,
    ProjectId, Refusal, Scenario, Seed, SimulationId, SimulationModels, Target,
};

/// The status of a simulation. The published SDK knows exactly these values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimulationStatus {
    /// Created, not started.
    Pending,
    /// Personas are generated, and conversations are held and evaluated.
    InProgress,
    /// Every conversation was held and evaluated.
    Completed,
    /// The target cannot be reached; `last_failure_reason` says why.
    Failed,
    /// Canceled by a caller.
    Canceled,
    /// Not completed before `expires_at`.
    Expired,
}

impl SimulationStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::InProgress, Self::Completed, Self::Failed, Self::Canceled, Self::Expired];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the status is final.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }
}

/// A simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// Its id.
    pub id: SimulationId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// The agent under test.
    pub agent_id: AgentId,
    /// The name that people use.
    pub name: Name,
    /// The situation that the personas are in.
    pub scenario: Scenario,
    /// The number of conversations to hold.
    pub target_conversations: Target,
    /// The number of personas that hold them.
    pub target_personas: Target,
    /// The maximum number of messages in a conversation.
    pub max_turns: MaxTurns,
    /// Whether personas are approved when they are generated.
    pub auto_approve: bool,
    /// The seed of everything that is generated.
    pub seed: Seed,
    /// Its optional settings.
    pub options: SimulationOptions,
    /// The caller's own data.
    pub metadata: Metadata,
    /// Its status.
    pub status: SimulationStatus,
    /// Why it failed, or the last problem.
    pub last_failure_reason: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// When the deletion of its transcripts began, if the deployment deletes them.
    pub transcripts_deleted_at: Option<Timestamp>,
}

/// A simulation's optional settings, which never change. Every backend stores them as one JSON document, so a
/// new setting needs a default and no migration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SimulationOptions {
    /// The simulation that its personas are copied from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personas_from: Option<PersonaSource>,
    /// Whether a caller wrote the personas, of this simulation or of the one that they are copied from. Those that
    /// replace rejected ones are generated.
    #[serde(skip_serializing_if = "is_false")]
    pub explicit_personas: bool,
    /// The models in force since its creation. Simulations of earlier releases used the offline model.
    pub models: SimulationModels,
    /// The cost at which the simulation fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<NanoDollars>,
    /// The number of tokens at which the simulation fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The id of the API key that created the simulation, which its usage is counted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Box<str>>,
    /// The run of a monitor that created the simulation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_run: Option<MonitorRunRef>,
    /// The item of a batch that created the simulation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRef>,
    /// If its conversations were held elsewhere: what their import left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<LeftOutMessages>,
}

/// The run of a monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorRunRef {
    /// The monitor.
    pub monitor: MonitorId,
    /// The run.
    pub run: MonitorRunId,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The simulation that another one copies its personas from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonaSource {
    /// The simulation.
    pub simulation: SimulationId,
    /// The seed that its personas were generated with, which the offline model needs for their replies.
    seed: u64,
}

impl PersonaSource {
    /// The personas of `simulation`, which were generated with `seed`.
    pub fn new(simulation: SimulationId, seed: Seed) -> Self {
        Self { simulation, seed: seed.get() }
    }

    /// The personas of a simulation, which may be copies, too.
    pub fn of(simulation: &Simulation) -> Self {
        Self::new(simulation.id.clone(), simulation.persona_seed())
    }
}

/// Counts of a simulation's settled conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Settled conversations: evaluated, not to be evaluated, or failed.
    pub settled: u32,
    /// Settled conversations that failed.
    pub conversations_failed: u32,
    /// Settled conversations that ended but could not be evaluated.
    pub evaluations_failed: u32,
}

impl Simulation {
    /// The seed that its personas were generated with.
    pub fn persona_seed(&self) -> Seed {
        self.options.personas_from.as_ref().map_or(self.seed, |source| Seed::from_bits(source.seed))
    }

    /// Whether a caller wrote the persona with this number.
    pub fn has_explicit_persona(&self, seq: u32) -> bool {
        self.options.explicit_personas && seq <= self.target_personas.get()
    }

    /// Whether its conversations were held elsewhere.
    pub fn is_imported(&self) -> bool {
        self.options.import.is_some()
    }

    /// Starts the simulation. Repeating it changes nothing.
    pub fn start(self, now: Timestamp) -> Result<Self, Refusal> {
        match self.status {
            SimulationStatus::Pending => {
                Ok(Self { status: SimulationStatus::InProgress, updated_at: now, ..self })
            }
            SimulationStatus::InProgress => Ok(self),
            status => Err(Refusal::SimulationOver { status }),
        }
    }

    /// Cancels the simulation. Repeating it changes nothing; any other final status is refused.
    pub fn cancel(self, now: Timestamp) -> Result<Self, Refusal> {
        match self.status {
            SimulationStatus::Canceled => Ok(self),
            _ => self.close(SimulationStatus::Canceled, None, now),
        }
    }

    /// Expires the simulation; refused before `expires_at`. A simulation whose conversations are
    /// all settled is finished instead, so that work done in time is not lost if nothing finished
    /// it earlier.
    pub fn expire(self, progress: Progress, now: Timestamp) -> Result<Self, Refusal> {
        if now < self.expires_at {
            return Err(Refusal::SimulationUnfinished);
        }
        if let Ok(finished) = self.clone().finish(progress, now) {
            return Ok(finished);
        }
        let reason = format!("not completed before it expired at {}", self.expires_at);
        self.close(SimulationStatus::Expired, Some(reason), now)
    }

    /// Fails the simulation because the target cannot be reached.
    pub fn fail(self, reason: String, now: Timestamp) -> Result<Self, Refusal> {
        self.close(SimulationStatus::Failed, Some(reason), now)
    }

    /// Notes why the simulation makes no progress. It goes on.
    pub fn note_failure(self, reason: String, now: Timestamp) -> Result<Self, Refusal> {
        self.require_running()?;
        if self.last_failure_reason.as_ref() == Some(&reason) {
            return Ok(self);
        }
        Ok(Self { last_failure_reason: Some(reason), updated_at: now, ..self })
    }

    /// Finishes the simulation once every conversation is settled: completed if all were held and
    /// evaluated, else failed.
    pub fn finish(self, progress: Progress, now: Timestamp) -> Result<Self, Refusal> {
        if self.status.is_final() {
            return Err(Refusal::SimulationOver { status: self.status });
        }
        if self.status == SimulationStatus::Pending || progress.settled < self.target_conversations.get() {
            return Err(Refusal::SimulationUnfinished);
        }
        let target = self.target_conversations;
        let mut reasons = Vec::new();
        if progress.conversations_failed > 0 {
            reasons.push(format!(
                "{} of {target} conversations could not be held in any attempt",
                progress.conversations_failed
            ));
        }
        if progress.evaluations_failed > 0 {
            reasons.push(format!(
                "{} of {target} conversations could not be evaluated",
                progress.evaluations_failed
            ));
        }
        if reasons.is_empty() {
            self.close(SimulationStatus::Completed, None, now)
        } else {
            self.close(SimulationStatus::Failed, Some(reasons.join("; ")), now)
        }
    }

    /// Begins the deletion of its transcripts. Refused unless the simulation ended at or before `ended_by`.
    pub fn delete_transcripts(self, ended_by: Timestamp, now: Timestamp) -> Result<Self, Refusal> {
        self.require_transcripts()?;
        if !self.status.is_final() || self.updated_at > ended_by {
            return Err(Refusal::TranscriptsRetained);
        }
        // `updated_at` stays the time of its end.
        Ok(Self { transcripts_deleted_at: Some(now), ..self })
    }

    /// Refuses if its transcripts were deleted.
    pub fn require_transcripts(&self) -> Result<(), Refusal> {
        match self.transcripts_deleted_at {
            Some(at) => Err(Refusal::TranscriptsDeleted { at }),
            None => Ok(()),
        }
    }

    /// Adds an example of the failures that workers reported to the reason of a failed simulation.
    #[must_use]
    pub fn with_reported_failure(self, example: Option<&str>) -> Self {
        let last_failure_reason = match (self.status, self.last_failure_reason, example) {
            (SimulationStatus::Failed, Some(reason), Some(example)) => {
                Some(format!("{reason}; the last failure: {example}"))
            }
            (_, reason, _) => reason,
        };
        Self { last_failure_reason, ..self }
    }

    /// Refuses unless the simulation accepts workers' calls.
    pub fn require_running(&self) -> Result<(), Refusal> {
        match self.status {
            SimulationStatus::InProgress => Ok(()),
            status => Err(Refusal::SimulationNotRunning { status }),
        }
    }

    /// The slot, from 0, that persona or conversation `seq` fills. Personas and conversations are
    /// numbered from 1 and slots are assigned in turn. Conversations are therefore spread evenly,
    /// and a replacement takes over exactly the conversations of the persona that it replaces.
    pub fn slot(&self, seq: u32) -> u32 {
        seq.saturating_sub(1) % self.target_personas.get()
    }

    /// The number of the persona that replaces a rejected one; `None` if the numbers are exhausted.
    pub fn replacement_of(&self, seq: u32) -> Option<u32> {
        seq.checked_add(self.target_personas.get())
    }

    /// The numbers of the conversations that a persona holds, in order.
    pub fn conversations_of(&self, persona_seq: u32) -> impl Iterator<Item = u32> + use<> {
        let step = usize::try_from(self.target_personas.get()).unwrap_or(usize::MAX);
        (self.slot(persona_seq) + 1..=self.target_conversations.get()).step_by(step)
    }

    fn close(
        self,
        status: SimulationStatus,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if self.status.is_final() {
            return Err(Refusal::SimulationOver { status: self.status });
        }
        // A note of a past problem says nothing about the end.
        Ok(Self { status, last_failure_reason: reason, updated_at: now, ..self })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::simulation;

    #[test]
    fn transcripts_are_deleted_once_after_the_retention() {
        let time =
            |day: i8| jiff::civil::date(2031, 3, day).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        let running = simulation(1, 1).start(time(1)).unwrap();
        assert_eq!(running.clone().delete_transcripts(time(9), time(9)), Err(Refusal::TranscriptsRetained));
        let ended = running.cancel(time(2)).unwrap();
        assert_eq!(ended.clone().delete_transcripts(time(1), time(9)), Err(Refusal::TranscriptsRetained));
        let deleted = ended.clone().delete_transcripts(time(2), time(9)).unwrap();
        assert_eq!(deleted, Simulation { transcripts_deleted_at: Some(time(9)), ..ended });
        let again = deleted.delete_transcripts(time(9), time(10));
        assert_eq!(again, Err(Refusal::TranscriptsDeleted { at: time(9) }));
    }

    proptest! {
        #[test]
        fn personas_share_conversations_evenly(
            conversations in prop_oneof![1..=50_u32, 1..=Target::MAX],
            personas in prop_oneof![1..=50_u32, 1..=Target::MAX],
        ) {
            let simulation = simulation(conversations, personas);
            let shares: Vec<Vec<u32>> =
                (1..=personas).map(|persona| simulation.conversations_of(persona).collect()).collect();
            let sizes = shares.iter().map(Vec::len);
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
            for (share, slot) in shares.iter().zip(0..) {
                prop_assert!(share.is_sorted());
                prop_assert!(share.iter().all(|conversation| simulation.slot(*conversation) == slot));
            }
            let mut together: Vec<u32> = shares.into_iter().flatten().collect();
            together.sort_unstable();
            prop_assert_eq!(together, (1..=conversations).collect::<Vec<_>>());
        }

        #[test]
        fn replacement_takes_over_the_conversations(
            conversations in 1..=Target::MAX,
            personas in 1..=Target::MAX,
            seq in prop_oneof![1..=Target::MAX, any::<u32>()],
        ) {
            let simulation = simulation(conversations, personas);
            let share = simulation.conversations_of(seq);
            match simulation.replacement_of(seq) {
                None => prop_assert!(u64::from(seq) + u64::from(personas) > u64::from(u32::MAX)),
                // No persona has number 0.
                Some(_) if seq == 0 => {}
                Some(replacement) => {
                    prop_assert!(replacement > personas, "the replacement has the number of an original persona");
                    prop_assert_eq!(simulation.slot(replacement), simulation.slot(seq));
                    prop_assert!(simulation.conversations_of(replacement).eq(share));
                }
            }
            prop_assert!(simulation.slot(seq) < personas);
        }
    }
}
