//! Counts of a worker.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the conversations that a worker handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerReport {
    /// Conversations held to their end.
    pub held: u64,
    /// Conversations that another worker had started, or that had ended, before this worker could start them.
    pub taken: u64,
    /// Conversations lost while they were held: the lease expired or the simulation ended.
    pub lost: u64,
    /// Conversations abandoned because the agent failed, or the server failed for too long.
    pub failed: u64,
}

/// The counts of a running worker.
#[derive(Debug, Default)]
pub struct WorkerStatus {
    pub(super) open: AtomicU64,
    pub(super) held: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) polls: AtomicU64,
    pub(super) failed_polls: AtomicU64,
}

impl WorkerStatus {
    /// The conversations that ended so far.
    pub fn report(&self) -> WorkerReport {
        let [held, taken, lost, failed] =
            [&self.held, &self.taken, &self.lost, &self.failed].map(|count| count.load(Ordering::Relaxed));
        WorkerReport { held, taken, lost, failed }
    }

    /// The conversations that are open now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// The polls that the server answered.
    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    /// The polls that failed.
    pub fn failed_polls(&self) -> u64 {
        self.failed_polls.load(Ordering::Relaxed)
    }
}
