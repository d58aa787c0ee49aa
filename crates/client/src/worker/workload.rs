//! The conversations that a worker holds or is about to start.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout},
};

use super::{
    Agent, WorkerOptions, WorkerReport,
    hold::{Ending, hold},
};
use crate::ConversationClient;

/// A conversation that the server listed as queued.
pub(super) struct QueuedConversation {
    pub(super) id: String,
    pub(super) client: ConversationClient,
}

/// The conversations of a worker.
#[derive(Default)]
pub(super) struct Workload {
    /// Listed and not started yet.
    pub(super) waiting: VecDeque<QueuedConversation>,
    pub(super) tasks: JoinSet<Ending>,
    /// The conversation of each task.
    pub(super) held: HashMap<Id, String>,
    /// Conversations that could not be held, and until when they are skipped, as the server may
    /// list them a little longer.
    skipped: HashMap<String, Instant>,
    pub(super) report: WorkerReport,
}

impl Workload {
    /// Adds listed conversations. Returns whether any of them is new.
    pub(super) fn add(&mut self, listed: Vec<QueuedConversation>) -> bool {
        let now = Instant::now();
        self.skipped.retain(|_, until| *until > now);
        let known: HashSet<&str> = self
            .held
            .values()
            .chain(self.waiting.iter().map(|waiting| &waiting.id))
            .map(String::as_str)
            .collect();
        let new: Vec<_> = listed
            .into_iter()
            .filter(|listed| !known.contains(listed.id.as_str()) && !self.skipped.contains_key(&listed.id))
            .collect();
        let any = !new.is_empty();
        self.waiting.extend(new);
        any
    }

    /// Starts a task that holds a conversation.
    pub(super) fn start<A: Agent>(
        &mut self,
        conversation: QueuedConversation,
        agent: Arc<A>,
        options: WorkerOptions,
    ) {
        let QueuedConversation { id, client } = conversation;
        let held_id = id.clone();
        let task = self.tasks.spawn(async move { hold(&client, &held_id, agent.as_ref(), options).await });
        self.held.insert(task.id(), id);
    }

    /// Counts a conversation that ended.
    pub(super) fn record(&mut self, ended: Result<(Id, Ending), JoinError>, skip_for: Duration) {
        let (task, ending) = match ended {
            Ok((task, ending)) => (task, ending),
            Err(error) => (error.id(), Ending::Failed("the agent panicked".into())),
        };
        let Some(conversation) = self.held.remove(&task) else { return };
        let count = match ending {
            Ending::Held => {
                self.report.held += 1;
                return;
            }
            Ending::Taken(error) => {
                tracing::debug!(conversation, %error, "conversation already taken");
                &mut self.report.taken
            }
            Ending::Lost(error) => {
                tracing::info!(conversation, %error, "conversation lost");
                &mut self.report.lost
            }
            Ending::Failed(error) => {
                tracing::warn!(conversation, %error, "conversation abandoned; it will be queued again");
                &mut self.report.failed
            }
        };
        *count += 1;
        self.skipped.insert(conversation, Instant::now() + skip_for);
    }

    /// Waits until open conversations end, at most for the grace period.
    pub(super) async fn drain(&mut self, options: WorkerOptions) {
        let all = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.record(ended, options.poll_interval);
            }
        };
        if timeout(options.grace, all).await.is_err() {
            tracing::warn!(
                conversations = self.tasks.len(),
                "conversations abandoned at the end of the grace period"
            );
            self.tasks.shutdown().await;
        }
    }
}
