//! The conversations that a worker holds or is about to start.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout},
};

use super::{
    Agent, ConversationInfo, WorkerOptions, WorkerStatus,
    hold::{Ending, Hold},
};
use crate::ConversationClient;

/// How long reporting abandoned conversations may take.
const ABANDON_TIME: Duration = Duration::from_secs(5);

/// A conversation that the worker is about to hold.
pub(super) struct FoundConversation {
    pub(super) client: ConversationClient,
    pub(super) about: ConversationInfo,
    /// The length of the lease if a claim started the conversation; `None` if the server listed it as queued.
    pub(super) lease: Option<Duration>,
}

/// The conversations of a worker.
pub(super) struct Workload {
    /// Found, and no task holds them yet.
    pub(super) waiting: VecDeque<FoundConversation>,
    pub(super) tasks: JoinSet<Ending>,
    /// The conversation of each task.
    pub(super) held: HashMap<Id, String>,
    /// Conversations that could not be held, and until when they are skipped, as the server may
    /// list them a little longer.
    skipped: HashMap<String, Instant>,
    status: Arc<WorkerStatus>,
    /// Set when open conversations must be abandoned.
    abandon: watch::Sender<bool>,
}

impl Workload {
    pub(super) fn new(status: Arc<WorkerStatus>) -> Self {
        Self {
            waiting: VecDeque::new(),
            tasks: JoinSet::new(),
            held: HashMap::new(),
            skipped: HashMap::new(),
            status,
            abandon: watch::Sender::new(false),
        }
    }

    /// Adds found conversations. Returns whether any of them is new. One that a claim started always is.
    pub(super) fn add(&mut self, found: Vec<FoundConversation>) -> bool {
        let now = Instant::now();
        self.skipped.retain(|_, until| *until > now);
        let known: HashSet<&str> = self
            .held
            .values()
            .chain(self.waiting.iter().map(|waiting| &waiting.about.conversation_id))
            .map(String::as_str)
            .collect();
        let new: Vec<_> = found
            .into_iter()
            .filter(|found| {
                let id = &found.about.conversation_id;
                found.lease.is_some() || (!known.contains(id.as_str()) && !self.skipped.contains_key(id))
            })
            .collect();
        let any = !new.is_empty();
        self.waiting.extend(new);
        any
    }

    /// Starts a task that holds a conversation.
    pub(super) fn start<A: Agent>(
        &mut self,
        conversation: FoundConversation,
        agent: Arc<A>,
        options: WorkerOptions,
    ) {
        let FoundConversation { client, about, lease } = conversation;
        let id = about.conversation_id.clone();
        let hold = Hold { client, about, options, lease, abandon: self.abandon.subscribe() };
        let task = self.tasks.spawn(async move { hold.run(agent.as_ref()).await });
        self.held.insert(task.id(), id);
        self.status.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a conversation that ended.
    pub(super) fn record(&mut self, ended: Result<(Id, Ending), JoinError>, skip_for: Duration) {
        let (task, ending) = match ended {
            Ok((task, ending)) => (task, ending),
            Err(error) => (error.id(), Ending::Failed("the agent panicked".into())),
        };
        let Some(conversation) = self.held.remove(&task) else { return };
        self.status.open.fetch_sub(1, Ordering::Relaxed);
        let count = match ending {
            Ending::Held => {
                self.status.held.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ending::Taken(error) => {
                tracing::debug!(conversation, %error, "conversation already taken");
                &self.status.taken
            }
            Ending::Lost(error) => {
                tracing::info!(conversation, %error, "conversation lost");
                &self.status.lost
            }
            Ending::Failed(error) => {
                tracing::warn!(conversation, %error, "conversation abandoned; it will be queued again");
                &self.status.failed
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.skipped.insert(conversation, Instant::now() + skip_for);
    }

    /// Waits until open conversations end, at most for the grace period. Those that are still open then are
    /// abandoned.
    pub(super) async fn drain(&mut self, options: WorkerOptions) {
        if timeout(options.grace, self.join_all(options)).await.is_ok() {
            return;
        }
        let conversations = self.tasks.len();
        tracing::warn!(conversations, "conversations abandoned at the end of the grace period");
        self.abandon.send_replace(true);
        if timeout(ABANDON_TIME, self.join_all(options)).await.is_err() {
            self.tasks.shutdown().await;
        }
    }

    async fn join_all(&mut self, options: WorkerOptions) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.record(ended, options.poll_interval);
        }
    }
}
