//! Turns: a call brings the agent's messages and gets the persona's reply.
//!
//! A model's reply may take longer than its caller can wait, and is paid for in any case. So it is generated in a
//! task that outlives the call. If the caller leaves before the reply is stored, the reply is undelivered, and the
//! next call with the same messages gets it. Such a call may also come earlier, and even to another process: it finds
//! the claim in the store and waits for its outcome there.

mod answer;
mod call;
mod pending;
mod text;

pub use pending::PendingReply;

pub(crate) use text::clean;

use std::{future::Future, sync::Arc, time::Duration};

use onerun_domain::{ConversationId, MessageText, SimulationId, sha256_hex};
use onerun_store::ProjectStore;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Engine, ModelError, OperationError};
use call::TurnCall;

/// How many replies a process generates at once.
const MAX_TURNS: usize = 1_024;

/// A worker's request for the persona's next message.
#[derive(Clone, Debug, Default)]
pub struct TurnRequest {
    /// The agent's messages, each of one or more parts. Empty if the persona opens the conversation.
    pub messages: Vec<Vec<MessageText>>,
    /// The attempt that the worker believes it holds. Checked if present.
    pub attempt: Option<u32>,
    /// The caller's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
}

impl TurnRequest {
    /// A hash of the messages, independent of their JSON form.
    fn input_hash(&self) -> String {
        // The number of parts precedes each message, so that different splits into messages hash differently.
        let counts: Vec<_> = self.messages.iter().map(|message| message.len().to_string()).collect();
        let parts = counts.iter().zip(&self.messages).flat_map(|(count, message)| {
            std::iter::once(count.as_str()).chain(message.iter().map(MessageText::as_str))
        });
        sha256_hex(parts)
    }
}

/// The replies that this process generates.
pub(crate) struct RunningTurns {
    tasks: TaskTracker,
    stop: CancellationToken,
    permits: Arc<Semaphore>,
}

impl RunningTurns {
    pub(crate) fn new() -> Self {
        Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            permits: Arc::new(Semaphore::new(MAX_TURNS)),
        }
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit, ModelError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| ModelError::unavailable("too many replies are being generated"))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// The output of `work`; `None` if the host stops before.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(work).await
    }
}

impl Engine {
    /// Begins to answer the agent's messages with the persona's reply. Messages and reply are stored together or not
    /// at all. A call repeated with its `Idempotency-Key` gets the same reply, and so does a call with the same
    /// messages whose reply no caller has received.
    pub async fn respond(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        request: TurnRequest,
    ) -> Result<PendingReply, OperationError> {
        let request = self.redacted(request).await;
        let call = TurnCall::new(self, project, simulation, id, request);
        Arc::new(call).begin_reply().await
    }

    /// The request without what must not be stored. Its hash is that of the redacted text, too, because short secrets
    /// can be guessed from their hash.
    async fn redacted(&self, request: TurnRequest) -> TurnRequest {
        if self.redaction.is_empty() {
            return request;
        }
        let TurnRequest { messages, attempt, idempotency_key } = request;
        let redaction = Arc::clone(&self.redaction);
        let redact = move || {
            let redact_part = |part: MessageText| part.redacted(&redaction);
            messages.into_iter().map(|parts| parts.into_iter().map(redact_part).collect()).collect()
        };
        let messages = self.parse_off_thread(redact).await;
        TurnRequest { messages, attempt, idempotency_key }
    }

    /// How long a caller waits for a reply.
    pub fn turn(&self) -> Duration {
        self.settings.turn.unsigned_abs()
    }

    /// How long a reply may take.
    pub fn reply_limit(&self) -> Duration {
        self.settings.reply.unsigned_abs()
    }

    /// Waits until all replies that callers have asked for are stored or have failed.
    pub async fn finish_turns(&self) {
        // The wait ends only on a closed tracker. A closed tracker still accepts tasks.
        self.turns.tasks.close();
        self.turns.tasks.wait().await;
    }

    /// Cancels the replies that are being generated, and releases their turns for the next process.
    pub async fn cancel_turns(&self) {
        self.turns.stop.cancel();
        self.finish_turns().await;
    }
}
