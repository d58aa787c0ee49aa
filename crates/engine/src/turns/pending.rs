//! A reply that a caller waits for.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use onerun_store::StoredReply;
use tokio::time::timeout;

use crate::OperationError;

type Outcome = Result<StoredReply, OperationError>;

/// A reply that is being generated. Dropping it means that the caller has left: the reply is still generated and
/// stored, and a call with the same messages gets it.
pub struct PendingReply {
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    caller: Arc<Caller>,
}

impl PendingReply {
    pub(super) fn new(caller: Arc<Caller>, outcome: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self { outcome: Box::pin(outcome), caller }
    }

    /// Waits without a limit of its own. A model's reply has one.
    pub async fn outcome(mut self) -> Result<StoredReply, OperationError> {
        self.outcome.as_mut().await
    }

    /// Waits for at most `limit`. Returns itself if there is no outcome by then.
    pub async fn within(mut self, limit: Duration) -> Result<Result<StoredReply, OperationError>, Self> {
        match timeout(limit, self.outcome.as_mut()).await {
            Ok(outcome) => Ok(outcome),
            Err(_) => Err(self),
        }
    }

    /// Leaves with [`OperationError::TurnPending`], unless the reply is being stored as delivered at this moment.
    pub async fn leave(self) -> Result<StoredReply, OperationError> {
        if self.caller.leave() { Err(OperationError::TurnPending) } else { self.outcome().await }
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.caller.leave();
    }
}

const WAITS: u8 = 0;
const HAS_LEFT: u8 = 1;
const IS_ANSWERED: u8 = 2;

/// Whether a caller waits for its reply. Decided once, by whichever comes first: the reply or the end of the wait.
#[derive(Default)]
pub(super) struct Caller(AtomicU8);

impl Caller {
    /// Records that the caller has left. Returns false if the reply came first.
    fn leave(&self) -> bool {
        self.settle(HAS_LEFT)
    }

    /// Records that the reply is there. Returns false if the caller has left.
    pub(super) fn answer(&self) -> bool {
        self.settle(IS_ANSWERED)
    }

    pub(super) fn has_left(&self) -> bool {
        self.0.load(Ordering::SeqCst) == HAS_LEFT
    }

    fn settle(&self, state: u8) -> bool {
        let before = self.0.compare_exchange(WAITS, state, Ordering::SeqCst, Ordering::SeqCst);
        before.map_or_else(|found| found == state, |_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_and_end_of_the_wait_exclude_each_other() {
        let caller = Caller::default();
        assert!(caller.answer() && !caller.leave() && caller.answer());
        let caller = Caller::default();
        assert!(
            !caller.has_left() && caller.leave() && !caller.answer() && caller.leave() && caller.has_left()
        );
    }
}
