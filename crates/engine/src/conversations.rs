//! Workers' operations on conversations: start, take turns, end.

use std::sync::{Arc, OnceLock};

use onerun_domain::{
    AgentId, Conversation, ConversationId, EndReason, Item, ItemId, Job, Limit, MessageText, PageRequest,
    Purpose, Resource, Role, Simulation, SimulationId, Start, TurnClaim, TurnToken, Work, later, sha256_hex,
};
use onerun_store::{
    ChangeError, ConversationChange, ConversationView, EvaluatedConversation, IdempotencyRecord,
    ProjectStore, SimulationDetail, StoreError, StoredReply, StoredTurn,
};

use crate::{Engine, Meter, OperationError, Reply, ReplyRequest};

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

/// A claimed turn with all data that the reply needs.
struct Turn {
    conversation: Conversation,
    token: TurnToken,
    detail: SimulationDetail,
    loaded: EvaluatedConversation,
    transcript: Vec<Item>,
}

impl Engine {
    /// Gives a queued conversation to a worker. Returns it with the simulation's agent. The
    /// idempotency record that `record` builds is written in the same transaction.
    pub async fn start_conversation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        record: impl Fn(&Conversation) -> Option<IdempotencyRecord> + Send + 'static,
    ) -> Result<(Conversation, Option<AgentId>), OperationError> {
        let (now, lease) = (self.now(), self.settings.lease);
        let agent = Arc::new(OnceLock::new());
        let seen = Arc::clone(&agent);
        let decide = move |view: ConversationView| {
            // The agent of a simulation never changes, so the first value stays right when the
            // closure runs again.
            seen.get_or_init(|| view.simulation.agent_id.clone());
            let started = view.conversation.start(&view.simulation, lease, now)?;
            Ok(ConversationChange { record: record(&started), ..ConversationChange::to(started) })
        };
        let changed = project.change_conversation(simulation, id, Box::new(decide)).await?;
        let conversation = self.require_found(project, simulation, changed).await?;
        Ok((conversation, agent.get().cloned()))
    }

    /// Ends a conversation for its worker. Has no effect on a conversation that has ended.
    pub async fn end_conversation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        attempt: Option<u32>,
    ) -> Result<Conversation, OperationError> {
        let now = self.now();
        let decide = move |view: ConversationView| {
            let before = view.conversation.status;
            let conversation = view.conversation.end(&view.simulation, attempt, now)?;
            let jobs = if conversation.status == before {
                Vec::new()
            } else {
                vec![judge(&view.simulation, &conversation)]
            };
            Ok(ConversationChange { jobs, ..ConversationChange::to(conversation) })
        };
        let changed = project.change_conversation(simulation, id, Box::new(decide)).await?;
        self.require_found(project, simulation, changed).await
    }

    /// Answers the agent's messages with the persona's reply. Messages and reply are stored
    /// together or not at all. A call repeated with its `Idempotency-Key` gets the same reply.
    pub async fn respond(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        call: TurnRequest,
    ) -> Result<StoredReply, OperationError> {
        if let Some(reply) = stored_reply(project, simulation, id, &call).await? {
            return Ok(reply);
        }
        let (conversation, token) = match self.claim_turn(project, simulation, id, &call).await {
            Err(OperationError::Refused(refusal)) => {
                // A repeated call may have been answered between the lookup and the claim.
                return match stored_reply(project, simulation, id, &call).await? {
                    Some(reply) => Ok(reply),
                    None => Err(refusal.into()),
                };
            }
            claimed => claimed?,
        };
        match self.answer(project, conversation, token.clone(), &call).await {
            Ok(reply) => Ok(reply),
            Err(error) => {
                self.release_turn(project, simulation, id, token).await;
                match (error, stored_reply(project, simulation, id, &call).await?) {
                    (OperationError::Store(StoreError::Duplicate { .. }), Some(reply)) => Ok(reply),
                    (error, _) => Err(error),
                }
            }
        }
    }

    async fn claim_turn(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        call: &TurnRequest,
    ) -> Result<(Conversation, TurnToken), OperationError> {
        let (now, lease, attempt) = (self.now(), self.settings.lease, call.attempt);
        let token = TurnToken::generate(self.random());
        let expires_at = later(now, self.settings.turn);
        let claim = TurnClaim { token: token.clone(), expires_at };
        let decide = move |view: ConversationView| {
            let claimed =
                view.conversation.claim_turn(&view.simulation, attempt, claim.clone(), lease, now)?;
            Ok(ConversationChange::to(claimed))
        };
        let changed = project.change_conversation(simulation, id, Box::new(decide)).await?;
        Ok((self.require_found(project, simulation, changed).await?, token))
    }

    /// Generates the persona's reply to a call that holds the turn, and stores both.
    async fn answer(
        &self,
        project: &dyn ProjectStore,
        conversation: Conversation,
        token: TurnToken,
        call: &TurnRequest,
    ) -> Result<StoredReply, OperationError> {
        let mut turn = load_turn(project, conversation, token).await?;
        if call.messages.is_empty()
            && let Some(last) = turn.transcript.last()
            && last.role == Role::User
        {
            // The worker asks again for a message that it has not answered. A persona does not answer itself.
            let reply = StoredReply { text: Some(last.text()), ended: false };
            return self.complete_turn(project, turn, Vec::new(), None, call, reply).await;
        }
        let stored = turn.transcript.len();
        for message in &call.messages {
            let item = self.item(&turn, Role::Assistant, message.clone());
            turn.transcript.push(item);
        }
        let meter = Meter::default();
        let simulation = &turn.detail.simulation;
        let request = ReplyRequest {
            simulation,
            agent: &turn.detail.agent,
            persona: &turn.loaded.persona,
            conversation_seq: turn.conversation.seq,
            transcript: &turn.transcript,
            meter: &meter,
        };
        let model = self.open_model::<OperationError>(project, simulation, Purpose::Reply).await?;
        let reply = self.within_turn(model.reply(request)).await;
        self.count_usage(project, simulation, Purpose::Reply, &meter).await;
        let reply = reply?;
        let CleanReply { text, ends } = CleanReply::from(reply);
        if let Some(text) = &text {
            let item = self.item(&turn, Role::User, vec![text.clone()]);
            turn.transcript.push(item);
        }
        let max_turns = usize::try_from(turn.detail.simulation.max_turns.get()).unwrap_or(usize::MAX);
        let end = if ends || text.is_none() {
            Some(EndReason::PersonaDecided)
        } else if turn.transcript.len() >= max_turns {
            Some(EndReason::MaxTurnsReached)
        } else {
            None
        };
        let reply = StoredReply { text: text.map(|text| text.as_str().to_owned()), ended: end.is_some() };
        let items = turn.transcript.split_off(stored);
        self.complete_turn(project, turn, items, end, call, reply).await
    }

    async fn complete_turn(
        &self,
        project: &dyn ProjectStore,
        turn: Turn,
        items: Vec<Item>,
        end: Option<EndReason>,
        call: &TurnRequest,
        reply: StoredReply,
    ) -> Result<StoredReply, OperationError> {
        let (now, lease) = (self.now(), self.settings.lease);
        let Turn { conversation, token, .. } = turn;
        let stored = call.idempotency_key.as_ref().map(|key| StoredTurn {
            key: key_of_attempt(conversation.attempt, key),
            input_hash: call.input_hash(),
            attempt: conversation.attempt,
            reply: reply.clone(),
            created_at: now,
        });
        let messages = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let decide = move |view: ConversationView| {
            let simulation = view.simulation;
            let conversation =
                view.conversation.complete_turn(&simulation, &token, messages, end, lease, now)?;
            let jobs = end.map(|_| judge(&simulation, &conversation)).into_iter().collect();
            Ok(ConversationChange {
                items: items.clone(),
                turn: stored.clone(),
                jobs,
                ..ConversationChange::to(conversation)
            })
        };
        let changed = project
            .change_conversation(&conversation.simulation_id, &conversation.id, Box::new(decide))
            .await?;
        changed.map(|_| reply).ok_or(OperationError::NotFound(Resource::Conversation))
    }

    /// Releases a turn. A failure is only logged, because the claim expires.
    async fn release_turn(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        token: TurnToken,
    ) {
        let now = self.now();
        let decide = move |view: ConversationView| {
            Ok(ConversationChange::to(view.conversation.release_turn(&token, now)?))
        };
        match project.change_conversation(simulation, id, Box::new(decide)).await {
            Ok(_) | Err(ChangeError::Refused(_)) => {}
            Err(ChangeError::Store(error)) => {
                tracing::warn!(conversation = %id, %error, "a turn was not released; the conversation takes no message until the claim expires");
            }
        }
    }

    fn item(&self, turn: &Turn, role: Role, content: Vec<MessageText>) -> Item {
        Item {
            id: ItemId::generate(self.random()),
            conversation_id: turn.conversation.id.clone(),
            attempt: turn.conversation.attempt,
            position: u32::try_from(turn.transcript.len()).unwrap_or(u32::MAX),
            role,
            content,
            created_at: self.now(),
        }
    }

    /// Turns `None` into the right 404: simulation or conversation.
    async fn require_found<T>(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        changed: Option<T>,
    ) -> Result<T, OperationError> {
        match changed {
            Some(changed) => Ok(changed),
            None if project.simulation(simulation).await?.is_none() => {
                Err(OperationError::NotFound(Resource::Simulation))
            }
            None => Err(OperationError::NotFound(Resource::Conversation)),
        }
    }
}

/// All messages of an attempt, oldest first.
pub(crate) async fn all_items(
    project: &dyn ProjectStore,
    simulation: &SimulationId,
    id: &ConversationId,
    attempt: u32,
) -> Result<Vec<Item>, StoreError> {
    let mut items = Vec::new();
    let mut request = PageRequest::first(Limit::clamped(Limit::MAX));
    loop {
        let page = project.items(simulation, id, attempt, request.clone()).await?;
        items.extend(page.data);
        match page.next {
            Some(position) => request.start = Start::After(position),
            None => return Ok(items),
        }
    }
}

async fn load_turn(
    project: &dyn ProjectStore,
    conversation: Conversation,
    token: TurnToken,
) -> Result<Turn, OperationError> {
    let simulation = &conversation.simulation_id;
    let detail =
        project.simulation(simulation).await?.ok_or(OperationError::NotFound(Resource::Simulation))?;
    let loaded = project
        .conversation(simulation, &conversation.id)
        .await?
        .ok_or(OperationError::NotFound(Resource::Conversation))?;
    let transcript = all_items(project, simulation, &conversation.id, conversation.attempt).await?;
    Ok(Turn { conversation, token, detail, loaded, transcript })
}

async fn stored_reply(
    project: &dyn ProjectStore,
    simulation: &SimulationId,
    id: &ConversationId,
    call: &TurnRequest,
) -> Result<Option<StoredReply>, OperationError> {
    let Some(key) = &call.idempotency_key else { return Ok(None) };
    // Claiming the turn reports a missing conversation.
    let Some(loaded) = project.conversation(simulation, id).await? else { return Ok(None) };
    let attempt = loaded.conversation.attempt;
    loaded.conversation.require_attempt(call.attempt)?;
    match project.turn(simulation, id, &key_of_attempt(attempt, key)).await? {
        Some(turn) if turn.input_hash == call.input_hash() => Ok(Some(turn.reply)),
        Some(_) => Err(OperationError::IdempotencyKeyReused),
        None => Ok(None),
    }
}

/// The stored form of an idempotency key. Each attempt has its own keys. A reply from an earlier
/// attempt is missing in the present transcript, so it must not be repeated; refusing the key would
/// fail a worker that numbers its turns.
fn key_of_attempt(attempt: u32, key: &str) -> String {
    format!("{attempt}:{key}")
}

fn judge(simulation: &Simulation, conversation: &Conversation) -> Job {
    let work = Work::JudgeConversation {
        simulation: simulation.id.clone(),
        conversation: conversation.id.clone(),
        attempt: conversation.attempt,
    };
    Job::new(simulation.project_id.clone(), work)
}

/// A model's reply as it can be stored.
struct CleanReply {
    text: Option<MessageText>,
    ends: bool,
}

impl From<Reply> for CleanReply {
    /// A blank text becomes `None`, which ends the conversation.
    fn from(reply: Reply) -> Self {
        let text = reply.text.map(|text| clean(&text, MessageText::MAX_LENGTH));
        let text = text.filter(|text| !text.trim().is_empty());
        Self { text: text.and_then(|text| MessageText::parse(text).ok()), ends: reply.ends }
    }
}

/// A model's text without control characters, truncated to `max` characters.
pub(crate) fn clean(text: &str, max: usize) -> String {
    text.chars()
        .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        .take(max)
        .collect()
}
