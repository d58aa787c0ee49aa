//! Jobs as a store hands them out.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{ConversationId, Job, ProjectId, SimulationId};

/// A job that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedJob {
    /// The job.
    pub job: Job,
    /// How often it was taken, this time included.
    pub deliveries: u32,
}

/// How long a dead job is stored.
pub const DEAD_JOB_RETENTION: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The most dead jobs that a backend with a bound stores.
pub const MAX_DEAD_JOBS: u32 = 10_000;

/// A job that was given up.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadJob {
    /// The job.
    pub job: Job,
    /// Why.
    pub reason: String,
    /// When.
    pub buried_at: Timestamp,
}

/// Overdue conversations and simulations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overdue {
    /// Conversations in progress whose lease ran out.
    pub conversations: Vec<(ProjectId, SimulationId, ConversationId)>,
    /// Simulations that are not over and past their expiry.
    pub simulations: Vec<(ProjectId, SimulationId)>,
}
