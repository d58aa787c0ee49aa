//! One call for a reply: it gets a stored reply, waits for another call with the same messages, or takes the turn.

use std::{
    any::Any,
    future::ready,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use onerun_domain::{
    Conversation, ConversationId, ConversationStatus, Refusal, Resource, Role, Simulation, SimulationId,
    TurnClaim, TurnToken, later,
};
use onerun_store::{
    ChangeError, ConversationChange, ConversationView, ProjectStore, StoreError, StoredReply, StoredTurn,
    with_causes,
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::sleep,
};

use super::{
    TurnRequest,
    answer::Turn,
    pending::{Caller, PendingReply},
};
use crate::{Engine, ModelError, OperationError, conversations::all_items};

/// How often a call that waits for another call reads the store. Short beside a model's reply.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A call and all that its task needs.
pub(super) struct TurnCall {
    pub(super) engine: Engine,
    pub(super) project: Arc<dyn ProjectStore>,
    pub(super) simulation: SimulationId,
    pub(super) id: ConversationId,
    pub(super) request: TurnRequest,
    /// The hash of the request's messages.
    pub(super) input: String,
    caller: Arc<Caller>,
}

/// The first step of a call.
enum Begun {
    /// The reply was stored before.
    Replied(StoredReply),
    /// Another call with the same messages is being answered.
    Awaited(AwaitedTurn),
    /// The call holds the turn.
    Claimed(Box<ClaimedTurn>, OwnedSemaphorePermit),
}

/// A turn that this call holds.
struct ClaimedTurn {
    simulation: Simulation,
    conversation: Conversation,
    token: TurnToken,
}

/// A turn that another call holds.
struct AwaitedTurn {
    token: TurnToken,
    attempt: u32,
    /// The number of messages before the turn.
    start: u32,
}

impl TurnCall {
    pub(super) fn new(
        engine: &Engine,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        request: TurnRequest,
    ) -> Self {
        Self {
            engine: engine.clone(),
            project: project.another(),
            simulation: simulation.clone(),
            id: id.clone(),
            input: request.input_hash(),
            request,
            caller: Arc::default(),
        }
    }

    /// Begins the call, and continues it in a task. Fails if it neither gets a reply nor may wait for one.
    pub(super) async fn begin_reply(self: Arc<Self>) -> Result<PendingReply, OperationError> {
        let begun = match self.begin().await? {
            Begun::Replied(reply) => {
                return Ok(PendingReply::new(Arc::clone(&self.caller), ready(Ok(reply))));
            }
            begun => begun,
        };
        let (sender, receiver) = oneshot::channel();
        let call = Arc::clone(&self);
        self.engine.turns.spawn(async move {
            let outcome = call.finish(begun).await;
            match sender.send(outcome) {
                Ok(()) | Err(Ok(_) | Err(OperationError::TurnPending)) => {}
                Err(Err(error)) => {
                    let error = with_causes(&error);
                    tracing::warn!(conversation = %call.id, error, "a reply failed after its caller had left; the next call asks again");
                }
            }
        });
        let outcome = async { receiver.await.unwrap_or_else(|_| Err(stopping().into())) };
        Ok(PendingReply::new(Arc::clone(&self.caller), outcome))
    }

    async fn begin(&self) -> Result<Begun, OperationError> {
        let permit = match self.engine.turns.admit() {
            Ok(permit) => permit,
            // A stored reply needs no permit.
            Err(error) => return Ok(Begun::Replied(self.reply_under_key().await?.ok_or(error)?)),
        };
        match self.claim().await {
            Ok(claimed) => Ok(Begun::Claimed(Box::new(claimed), permit)),
            Err(OperationError::Refused(refusal)) => self.after_refusal(refusal).await,
            Err(OperationError::Store(StoreError::Duplicate { what })) => {
                let reply = self.reply_under_key().await?;
                Ok(Begun::Replied(reply.ok_or(StoreError::Duplicate { what })?))
            }
            Err(error) => Err(error),
        }
    }

    async fn finish(&self, mut begun: Begun) -> Result<StoredReply, OperationError> {
        loop {
            match begun {
                Begun::Replied(reply) => return Ok(reply),
                Begun::Claimed(claimed, _permit) => return self.answer_or_release(*claimed).await,
                Begun::Awaited(awaited) => {
                    if let Some(reply) = self.await_turn(&awaited).await? {
                        return Ok(reply);
                    }
                }
            }
            // The other call failed or died, so this one takes its turn.
            begun = self.begin().await?;
        }
    }

    /// Claims the turn, unless a reply is stored under the request's `Idempotency-Key`.
    async fn claim(&self) -> Result<ClaimedTurn, OperationError> {
        let Engine { settings, .. } = &self.engine;
        let (now, lease, attempt) = (self.engine.now(), settings.lease, self.request.attempt);
        let token = TurnToken::generate(&self.input, self.engine.random());
        let claim = TurnClaim { token: token.clone(), expires_at: later(now, settings.reply) };
        let key = self.request.idempotency_key.clone();
        let seen = Arc::new(Mutex::new(None));
        let shown = Arc::clone(&seen);
        let decide = move |view: ConversationView| {
            let ConversationView { simulation, conversation } = view;
            let claimed = conversation.claim_turn(&simulation, attempt, claim.clone(), lease, now)?;
            *shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(simulation);
            let unless_replied = key.as_ref().map(|key| key_of_attempt(claimed.attempt, key));
            Ok(ConversationChange { unless_replied, ..ConversationChange::to(claimed) })
        };
        let project = self.project.as_ref();
        let changed = project.change_conversation(&self.simulation, &self.id, Box::new(decide)).await?;
        let conversation = self.engine.require_found(project, &self.simulation, changed).await?;
        let simulation = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let simulation = simulation.ok_or(OperationError::NotFound(Resource::Simulation))?;
        Ok(ClaimedTurn { simulation, conversation, token })
    }

    /// A refused claim may come from a call with the same messages, which is or was answered.
    async fn after_refusal(&self, refusal: Refusal) -> Result<Begun, OperationError> {
        // A repeated call may have been answered between the lookup and the claim.
        if let Some(reply) = self.reply_under_key().await? {
            return Ok(Begun::Replied(reply));
        }
        if !matches!(refusal, Refusal::TurnInProgress { .. } | Refusal::ConversationOver { .. }) {
            return Err(refusal.into());
        }
        let Some(conversation) = self.conversation().await? else { return Err(refusal.into()) };
        conversation.require_attempt(self.request.attempt)?;
        if conversation.has_undelivered_reply(&self.input) {
            return Ok(Begun::Replied(self.undelivered_reply(&conversation).await?));
        }
        match &conversation.turn {
            Some(turn) if turn.token.input() == Some(&self.input) => Ok(Begun::Awaited(AwaitedTurn {
                token: turn.token.clone(),
                attempt: conversation.attempt,
                start: conversation.item_count,
            })),
            _ => Err(refusal.into()),
        }
    }

    /// Waits for the reply of another call. `None` if that call stored none.
    async fn await_turn(&self, awaited: &AwaitedTurn) -> Result<Option<StoredReply>, OperationError> {
        loop {
            if self.caller.has_left() {
                return Err(OperationError::TurnPending);
            }
            let Some(conversation) = self.conversation().await? else { return Err(Refusal::TurnLost.into()) };
            if conversation.attempt != awaited.attempt {
                return Err(Refusal::TurnLost.into());
            }
            match &conversation.turn {
                Some(turn) if turn.token == awaited.token && self.engine.now() < turn.expires_at => {}
                Some(turn) if turn.token == awaited.token => return Ok(None),
                turn => {
                    let is_complete = conversation.item_count > awaited.start
                        || conversation.status == ConversationStatus::Ended;
                    if !is_complete {
                        return Ok(None);
                    }
                    let messages = u32::try_from(self.request.messages.len()).unwrap_or(u32::MAX);
                    let reply = self.reply_at(&conversation, awaited.start.saturating_add(messages)).await?;
                    let is_undelivered =
                        turn.as_ref().is_some_and(|turn| turn.token == awaited.token.undelivered());
                    self.deliver(&conversation, &reply, is_undelivered).await?;
                    return Ok(Some(reply));
                }
            }
            if self.engine.turns.unless_stopped(sleep(POLL_INTERVAL)).await.is_none() {
                return Err(stopping().into());
            }
        }
    }

    /// The undelivered reply of the last turn, which is delivered with it.
    async fn undelivered_reply(&self, conversation: &Conversation) -> Result<StoredReply, OperationError> {
        let last = conversation.item_count.saturating_sub(1);
        let reply = self.reply_at(conversation, last).await?;
        self.deliver(conversation, &reply, true).await?;
        Ok(reply)
    }

    /// The persona's message at a position of the transcript. A turn without one ended the conversation.
    async fn reply_at(&self, conversation: &Conversation, position: u32) -> Result<StoredReply, StoreError> {
        let items =
            all_items(self.project.as_ref(), &self.simulation, &self.id, conversation.attempt).await?;
        let item = items.iter().find(|item| item.position == position && item.role == Role::User);
        let ended = conversation.status != ConversationStatus::InProgress;
        Ok(StoredReply { text: item.map(onerun_domain::Item::text), ended })
    }

    /// Records that this call gets the reply of another call, and stores it under this call's key.
    async fn deliver(
        &self,
        conversation: &Conversation,
        reply: &StoredReply,
        is_undelivered: bool,
    ) -> Result<(), OperationError> {
        if !self.caller.answer() {
            return Ok(());
        }
        let stored = match self.stored_turn(conversation.attempt, reply) {
            Some(turn) if self.turn(&turn.idempotency_key).await?.is_none() => Some(turn),
            _ => None,
        };
        let is_running = conversation.status == ConversationStatus::InProgress;
        let token = conversation.turn.as_ref().map(|turn| turn.token.clone());
        let token = token.filter(|_| is_undelivered && is_running);
        if stored.is_none() && token.is_none() {
            return Ok(());
        }
        let (now, lease) = (self.engine.now(), self.engine.settings.lease);
        let decide = move |view: ConversationView| {
            let conversation = match &token {
                Some(token) => view.conversation.deliver_reply(token, lease, now)?,
                None => view.conversation,
            };
            Ok(ConversationChange { turn: stored.clone(), ..ConversationChange::to(conversation) })
        };
        match self.project.change_conversation(&self.simulation, &self.id, Box::new(decide)).await {
            // Another call with the same messages delivered it meanwhile.
            Ok(_) | Err(ChangeError::Refused(_) | ChangeError::Store(StoreError::Duplicate { .. })) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The reply stored under the request's `Idempotency-Key`.
    async fn reply_under_key(&self) -> Result<Option<StoredReply>, OperationError> {
        let Some(key) = &self.request.idempotency_key else { return Ok(None) };
        // Claiming the turn reports a missing conversation.
        let Some(conversation) = self.conversation().await? else { return Ok(None) };
        conversation.require_attempt(self.request.attempt)?;
        match self.turn(&key_of_attempt(conversation.attempt, key)).await? {
            Some(turn) if turn.input_hash == self.input => {
                // The reply may have been stored after the conversation was read.
                let conversation = self.conversation().await?.unwrap_or(conversation);
                let is_undelivered = conversation.has_undelivered_reply(&self.input);
                self.deliver(&conversation, &turn.reply, is_undelivered).await?;
                Ok(Some(turn.reply))
            }
            Some(_) => Err(OperationError::IdempotencyKeyReused),
            None => Ok(None),
        }
    }

    /// The reply as it is stored under the request's `Idempotency-Key`, if it has one.
    pub(super) fn stored_turn(&self, attempt: u32, reply: &StoredReply) -> Option<StoredTurn> {
        self.request.idempotency_key.as_ref().map(|key| StoredTurn {
            idempotency_key: key_of_attempt(attempt, key),
            input_hash: self.input.clone(),
            attempt,
            reply: reply.clone(),
            created_at: self.engine.now(),
        })
    }

    async fn turn(&self, idempotency_key: &str) -> Result<Option<StoredTurn>, StoreError> {
        self.project.turn(&self.simulation, &self.id, idempotency_key).await
    }

    async fn conversation(&self) -> Result<Option<Conversation>, StoreError> {
        let found = self.project.conversation(&self.simulation, &self.id).await?;
        Ok(found.map(|found| found.conversation))
    }

    async fn answer_or_release(&self, claimed: ClaimedTurn) -> Result<StoredReply, OperationError> {
        let ClaimedTurn { simulation, conversation, token } = claimed;
        let turn = Turn { call: self, simulation, conversation, token: token.clone() };
        let answered = AssertUnwindSafe(turn.answer(&self.caller)).catch_unwind();
        let error = match self.engine.turns.unless_stopped(answered).await {
            Some(Ok(Ok(reply))) => return Ok(reply),
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => OperationError::Panicked(panic_message(&*panic)),
            None => stopping().into(),
        };
        self.release(token).await;
        match (error, self.reply_under_key().await) {
            (OperationError::Store(StoreError::Duplicate { .. }), Ok(Some(reply))) => Ok(reply),
            (error, _) => Err(error),
        }
    }

    /// Releases a turn. A failure is only logged, because the claim expires.
    async fn release(&self, token: TurnToken) {
        let now = self.engine.now();
        let decide = move |view: ConversationView| {
            Ok(ConversationChange::to(view.conversation.release_turn(&token, now)?))
        };
        match self.project.change_conversation(&self.simulation, &self.id, Box::new(decide)).await {
            Ok(_) | Err(ChangeError::Refused(_)) => {}
            Err(ChangeError::Store(error)) => {
                tracing::warn!(conversation = %self.id, %error, "a turn was not released; the conversation takes no message until the claim expires");
            }
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

fn stopping() -> ModelError {
    ModelError::unavailable("the server is stopping")
}

/// The stored form of an idempotency key. Each attempt has its own keys. A reply from an earlier
/// attempt is missing in the present transcript, so it must not be repeated; refusing the key would
/// fail a worker that numbers its turns.
fn key_of_attempt(attempt: u32, key: &str) -> String {
    format!("{attempt}:{key}")
}
