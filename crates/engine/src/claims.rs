//! Claims: a worker starts queued conversations of several simulations in one call, and may wait for some.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use onerun_domain::{AgentId, Conversation, Metadata, ProjectId};
use onerun_store::{
    ChangeError, ConversationChange, ConversationView, IdempotencyRecord, ProjectStore, QueuedConversation,
    StoreError,
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{Engine, OperationError};

/// How often a waiting claim reads the queue, unless it is told that a conversation was queued. Another process may
/// have queued one.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How many conversations one claim starts at once.
const STARTS_AT_ONCE: usize = 8;

/// How many more queued conversations a claim reads than it starts, because other workers start some of them.
const SPARE: u32 = 10;

/// How many notices a waiting claim can be behind before it reads the queue regardless.
const NOTICES: usize = 256;

/// The conversations that a claim may start.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The agents.
    pub agents: Vec<AgentId>,
    /// The numbers of the places that the claim fills, one conversation each. A place names the conversation's
    /// idempotency record.
    pub places: Vec<u32>,
}

/// A conversation that a claim started.
#[derive(Clone, Debug)]
pub struct ClaimedConversation {
    /// The conversation.
    pub conversation: Conversation,
    /// The agent of its simulation.
    pub agent: AgentId,
    /// The metadata of its simulation.
    pub metadata: Metadata,
}

/// The result of a claim for one of its places.
#[derive(Clone, Debug)]
pub enum Claim {
    /// A conversation, which was started.
    Started(Box<ClaimedConversation>),
    /// The place was filled by an earlier call with the same `Idempotency-Key`; its record has the conversation.
    Repeated(u32),
}

/// Notices about queued conversations, for claims that wait.
pub(crate) struct QueueNotices {
    queued: broadcast::Sender<ProjectId>,
    closed: CancellationToken,
}

impl QueueNotices {
    pub(crate) fn new() -> Self {
        Self { queued: broadcast::Sender::new(NOTICES), closed: CancellationToken::new() }
    }

    /// Tells waiting claims that a conversation of this project was queued.
    pub(crate) fn queued(&self, project: &ProjectId) {
        // Fails if nobody waits.
        let _: Result<_, _> = self.queued.send(project.clone());
    }
}

/// A wait for queued conversations of a project.
pub struct QueueWait {
    project: ProjectId,
    notices: broadcast::Receiver<ProjectId>,
    closed: CancellationToken,
    deadline: Instant,
}

impl QueueWait {
    /// Waits until the queue should be read again. Returns `false` if the time is over or the process stops.
    pub async fn is_worth_another_read(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        let poll = self.deadline.min(now + POLL_INTERVAL);
        let notice = self.closed.run_until_cancelled(notice(&mut self.notices, &self.project));
        match timeout_at(poll, notice).await {
            Ok(noticed) => noticed.is_some(),
            // Also at the deadline, so that nothing is missed by a moment.
            Err(_) => true,
        }
    }
}

/// Waits for a notice about the project.
async fn notice(notices: &mut broadcast::Receiver<ProjectId>, project: &ProjectId) {
    loop {
        match notices.recv().await {
            Ok(queued) if queued != *project => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Engine {
    /// Begins to wait for queued conversations, up to a time. Begin before reading the queue, so that no notice is
    /// missed in between.
    pub fn wait_for_queued(&self, project: &ProjectId, up_to: Duration) -> QueueWait {
        QueueWait {
            project: project.clone(),
            notices: self.notices.queued.subscribe(),
            closed: self.notices.closed.clone(),
            deadline: Instant::now() + up_to,
        }
    }

    /// Ends all waits for queued conversations, also later ones. A host calls this when it stops.
    pub fn end_waits(&self) {
        self.notices.closed.cancel();
    }

    /// Starts the queued conversations whose turn it is, one for each place. The idempotency record that `record`
    /// builds for a place is written in the same transaction as its conversation. Fails only if nothing was started.
    pub async fn claim_conversations(
        &self,
        project: &dyn ProjectStore,
        request: &ClaimRequest,
        record: impl Fn(u32, &ClaimedConversation) -> Option<IdempotencyRecord> + Clone + Send + Sync + 'static,
    ) -> Result<Vec<Claim>, OperationError> {
        let limit = u32::try_from(request.places.len()).unwrap_or(u32::MAX);
        let queued = project.queued_conversations(&request.agents, limit.saturating_add(SPARE)).await?;
        let queue = Mutex::new(VecDeque::from(queued));
        let claim = |place: u32| self.claim_one(project, &queue, place, record.clone());
        let Some((first, others)) = request.places.split_first() else { return Ok(Vec::new()) };
        // Alone, so that a repeated call finds the record of the first place if there is any.
        let Some(first) = claim(*first).await? else { return Ok(Vec::new()) };
        let others: Vec<_> =
            stream::iter(others.iter().copied()).map(claim).buffered(STARTS_AT_ONCE).collect().await;
        let mut claims = vec![first];
        for other in others {
            match other {
                Ok(claim) => claims.extend(claim),
                // The started conversations would be lost with the error.
                Err(error) => {
                    tracing::warn!(%error, "a claim started fewer conversations than it could have");
                }
            }
        }
        Ok(claims)
    }

    /// Starts the first conversation of the queue that no other worker has started.
    async fn claim_one(
        &self,
        project: &dyn ProjectStore,
        queue: &Mutex<VecDeque<QueuedConversation>>,
        place: u32,
        record: impl Fn(u32, &ClaimedConversation) -> Option<IdempotencyRecord> + Clone + Send + Sync + 'static,
    ) -> Result<Option<Claim>, OperationError> {
        loop {
            let next = lock(queue).pop_front();
            let Some(QueuedConversation { simulation, id }) = next else { return Ok(None) };
            let (now, lease) = (self.now(), self.settings.lease);
            let decided = Arc::new(Mutex::new(None));
            let (seen, record) = (Arc::clone(&decided), record.clone());
            let decide = move |view: ConversationView| {
                let conversation = view.conversation.start(&view.simulation, lease, now)?;
                let claimed = ClaimedConversation {
                    conversation: conversation.clone(),
                    agent: view.simulation.agent_id,
                    metadata: view.simulation.metadata,
                };
                let record = record(place, &claimed);
                *lock(&seen) = Some(Box::new(claimed));
                Ok(ConversationChange { record, ..ConversationChange::to(conversation) })
            };
            match project.change_conversation(&simulation, &id, Box::new(decide)).await {
                Ok(Some(_)) => return Ok(lock(&decided).take().map(Claim::Started)),
                // Another worker started it, or its simulation is over.
                Ok(None) | Err(ChangeError::Refused(_)) => {}
                Err(ChangeError::Store(StoreError::Duplicate { .. })) => {
                    return Ok(Some(Claim::Repeated(place)));
                }
                Err(ChangeError::Store(error)) => return Err(error.into()),
            }
        }
    }
}

/// Every holder changes the value by one call, so it is consistent even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(notices: &QueueNotices, project: &str, up_to: Duration) -> QueueWait {
        QueueWait {
            project: project.parse().unwrap(),
            notices: notices.queued.subscribe(),
            closed: notices.closed.clone(),
            deadline: Instant::now() + up_to,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn notice_about_the_project_ends_a_wait_early() {
        let notices = QueueNotices::new();
        let (mine, other) = ("AAAAAAAAAAAA", "BBBBBBBBBBBB");
        let begun = Instant::now();
        let mut waiting = wait(&notices, mine, Duration::from_secs(20));
        notices.queued(&mine.parse().unwrap());
        assert!(waiting.is_worth_another_read().await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        notices.queued(&other.parse().unwrap());
        assert!(waiting.is_worth_another_read().await);
        assert_eq!(begun.elapsed(), POLL_INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn wait_ends_at_its_deadline_or_when_the_process_stops() {
        let notices = QueueNotices::new();
        let begun = Instant::now();
        let mut waiting = wait(&notices, "AAAAAAAAAAAA", Duration::from_secs(5));
        let mut reads = 0;
        while waiting.is_worth_another_read().await {
            reads += 1;
        }
        assert_eq!((reads, begun.elapsed()), (3, Duration::from_secs(5)));
        let mut waiting = wait(&notices, "AAAAAAAAAAAA", Duration::from_secs(20));
        notices.closed.cancel();
        assert!(!waiting.is_worth_another_read().await);
        assert!(!wait(&notices, "AAAAAAAAAAAA", Duration::ZERO).is_worth_another_read().await);
    }
}
