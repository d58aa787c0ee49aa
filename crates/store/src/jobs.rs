//! Jobs as a store returns them.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{ConversationId, Job, ProjectId, SimulationId};

/// A claimed job.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedJob {
    /// The job.
    pub job: Job,
    /// How often it was claimed, including this time.
    pub deliveries: u32,
}

/// How long a dead job is stored.
pub const DEAD_JOB_RETENTION: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The most dead jobs that a backend with a bound stores.
pub const MAX_DEAD_JOBS: u32 = 10_000;

/// A buried job.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadJob {
    /// The job.
    pub job: Job,
    /// The reason for burying it.
    pub reason: String,
    /// When it was buried.
    pub buried_at: Timestamp,
}

/// Overdue conversations and simulations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overdue {
    /// Conversations in progress whose lease has expired.
    pub conversations: Vec<(ProjectId, SimulationId, ConversationId)>,
    /// Pending or running simulations past their expiry.
    pub simulations: Vec<(ProjectId, SimulationId)>,
}
