//! The answer of a call that holds the turn.

use std::{sync::Arc, time::Duration};

use futures_util::future::join;
use onerun_domain::{
    Conversation, EndReason, Item, ItemId, MessageText, Purpose, Resource, Role, Simulation, TurnToken,
};
use onerun_store::{ConversationChange, ConversationView, ReplyContext, StoredReply};
use tokio::time::{Instant, timeout_at};

use super::{call::TurnCall, pending::Caller, text::CleanReply};
use crate::{
    Meter, Model, ModelError, OperationError, Reply, ReplyRequest,
    conversations::{all_items, judge},
};

/// A claimed turn.
pub(super) struct Turn<'a> {
    pub(super) call: &'a TurnCall,
    pub(super) simulation: Simulation,
    pub(super) conversation: Conversation,
    pub(super) token: TurnToken,
}

/// The messages that a turn adds, and its outcome.
struct Answer {
    items: Vec<Item>,
    end: Option<EndReason>,
    reply: StoredReply,
}

/// Asks for a reply, and once more if the first answer does not arrive. The published worker abandons its attempt
/// after any error, and with it all turns of the conversation. A tenth of the limit is left for storing the reply
/// before the claim expires.
async fn ask(model: &dyn Model, request: ReplyRequest<'_>, limit: Duration) -> Result<Reply, ModelError> {
    let start = Instant::now();
    let ask_until = async |deadline| {
        let reply = timeout_at(deadline, model.reply(request)).await;
        reply.unwrap_or_else(|_| Err(ModelError::unavailable("it did not answer in time")))
    };
    match ask_until(start + limit.mul_f64(0.45)).await {
        Err(ModelError::Unavailable { .. }) => ask_until(start + limit.mul_f64(0.9)).await,
        reply => reply,
    }
}

fn is_same_message(one: &Item, other: &Item) -> bool {
    one.role == other.role && one.content == other.content
}

impl Turn<'_> {
    /// Generates the persona's reply, and stores it with the agent's messages.
    pub(super) async fn answer(self, caller: &Caller) -> Result<StoredReply, OperationError> {
        let meter = Meter::default();
        let (engine, project) = (self.call.engine.clone(), Arc::clone(&self.call.project));
        let simulation = self.simulation.clone();
        // The usage need not be stored before the reply.
        let count = || engine.count_usage(project.as_ref(), &simulation, Purpose::Reply, &meter);
        match self.generate(&meter).await {
            Ok(answer) => join(self.complete(answer, caller), count()).await.0,
            Err(error) => {
                count().await;
                Err(error)
            }
        }
    }

    async fn generate(&self, meter: &Meter) -> Result<Answer, OperationError> {
        let (engine, project) = (&self.call.engine, self.call.project.as_ref());
        let simulation = &self.simulation;
        let ReplyContext { agent, persona, items: mut transcript } =
            project.reply_context(simulation, &self.conversation).await?;
        if self.call.request.messages.is_empty()
            && let Some(last) = transcript.last()
            && last.role == Role::User
        {
            // The worker asks again for a message that it has not answered. A persona does not answer itself.
            let reply = StoredReply { text: Some(last.text()), ended: false };
            return Ok(Answer { items: Vec::new(), end: None, reply });
        }
        let stored = transcript.len();
        for message in &self.call.request.messages {
            let item = self.item(transcript.len(), Role::Assistant, message.clone());
            transcript.push(item);
        }
        let reply = if let Some(reply) = self.reply_of_earlier_attempt(&transcript).await? {
            reply
        } else {
            let request = ReplyRequest {
                simulation,
                agent: &agent,
                persona: &persona,
                conversation_seq: self.conversation.seq,
                transcript: &transcript,
                meter,
            };
            let model = engine.open_model::<OperationError>(project, simulation, Purpose::Reply).await?;
            ask(model.as_ref(), request, engine.reply_limit()).await?
        };
        let CleanReply { text, ends } = CleanReply::from(reply);
        let text = text.map(|text| text.redacted(&engine.redaction));
        if let Some(text) = &text {
            let item = self.item(transcript.len(), Role::User, vec![text.clone()]);
            transcript.push(item);
        }
        let max_turns = usize::try_from(simulation.max_turns.get()).unwrap_or(usize::MAX);
        let end = if ends || text.is_none() {
            Some(EndReason::PersonaDecided)
        } else if transcript.len() >= max_turns {
            Some(EndReason::MaxTurnsReached)
        } else {
            None
        };
        let reply = StoredReply { text: text.map(|text| text.as_str().to_owned()), ended: end.is_some() };
        Ok(Answer { items: transcript.split_off(stored), end, reply })
    }

    /// The persona's reply to the same messages in an earlier attempt, which is paid for. A worker that repeats a
    /// conversation repeats at least the beginning, and often all that a rule-based agent says.
    async fn reply_of_earlier_attempt(&self, transcript: &[Item]) -> Result<Option<Reply>, OperationError> {
        let project = self.call.project.as_ref();
        for attempt in (1..self.conversation.attempt).rev() {
            let earlier = all_items(project, &self.call.simulation, &self.conversation.id, attempt).await?;
            let Some((same, rest)) = earlier.split_at_checked(transcript.len()) else { continue };
            let is_same = same.iter().zip(transcript).all(|(one, other)| is_same_message(one, other));
            if let Some(reply) = rest.first().filter(|item| is_same && item.role == Role::User) {
                return Ok(Some(Reply { text: Some(reply.text()), ends: false }));
            }
        }
        Ok(None)
    }

    async fn complete(self, answer: Answer, caller: &Caller) -> Result<StoredReply, OperationError> {
        let Self { call, conversation, token, .. } = self;
        let Answer { items, end, reply } = answer;
        let (now, lease) = (call.engine.now(), call.engine.settings.lease);
        let stored = call.stored_turn(conversation.attempt, &reply);
        let messages = u32::try_from(items.len()).unwrap_or(u32::MAX);
        // Decided once, because the store may run the closure again.
        let is_delivered = caller.answer();
        let decide = move |view: ConversationView| {
            let simulation = view.simulation;
            let mut conversation =
                view.conversation.complete_turn(&simulation, &token, messages, end, lease, now)?;
            if !is_delivered {
                conversation = conversation.with_undelivered_reply(&token, now);
            }
            let jobs = end.map(|_| judge(&simulation, &conversation)).into_iter().collect();
            Ok(ConversationChange {
                items: items.clone(),
                turn: stored.clone(),
                jobs,
                ..ConversationChange::to(conversation)
            })
        };
        let changed = call.project.change_conversation(&call.simulation, &call.id, Box::new(decide)).await?;
        changed.map(|_| reply).ok_or(OperationError::NotFound(Resource::Conversation))
    }

    fn item(&self, position: usize, role: Role, content: Vec<MessageText>) -> Item {
        Item {
            id: ItemId::generate(self.call.engine.random()),
            conversation_id: self.conversation.id.clone(),
            attempt: self.conversation.attempt,
            position: u32::try_from(position).unwrap_or(u32::MAX),
            role,
            content,
            created_at: self.call.engine.now(),
        }
    }
}
