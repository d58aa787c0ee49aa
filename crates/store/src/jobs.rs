//! Jobs as a store hands them out.

use jiff::Timestamp;
use onerun_domain::{ConversationId, Job, ProjectId, SimulationId};

/// A job that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedJob {
    /// The job.
    pub job: Job,
    /// How often it was taken, this time included.
    pub deliveries: u32,
}

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

/// What time has overtaken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overdue {
    /// Conversations in progress whose lease ran out.
    pub conversations: Vec<(ProjectId, SimulationId, ConversationId)>,
    /// Simulations that are not over and past their expiry.
    pub simulations: Vec<(ProjectId, SimulationId)>,
}
