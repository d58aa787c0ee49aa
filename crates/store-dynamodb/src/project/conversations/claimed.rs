//! The conversations whose turns this process has claimed.
//!
//! The next change of such a conversation is most likely the reply, decided from the state that the claim has just read
//! and written. So neither it nor its simulation is read again before the decision. If somebody else changed the
//! conversation meanwhile, the write fails on its revision. If the simulation changed, its counter shard, which is read
//! while the messages are put, has another revision. In both cases the change is decided again from the stored state.
//!
//! The context of the reply is read while the claim is written, which saves a round trip.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use onerun_domain::Conversation;
use onerun_store::{ReplyContext, WireSize};

use crate::{
    keys::Key,
    record::{StoredConversation, StoredSimulation},
};

/// How many are remembered at most. Beyond that all are forgotten, and read again.
const MAX_CLAIMED: usize = 1_024;

/// The most bytes of a transcript that is kept until the reply asks for it. A longer one is read again.
const MAX_TRANSCRIPT: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct ClaimedConversations(Mutex<HashMap<Key, Claimed>>);

/// A conversation as its claim was written, with the simulation that the claim was decided with.
pub(super) struct Claimed {
    pub(super) simulation: StoredSimulation,
    pub(super) conversation: StoredConversation,
    /// The context of the reply, until it is taken.
    pub(super) context: Option<ReplyContext>,
}

/// Whether a call of this process may be generating the reply to a conversation.
pub(super) fn is_claimed(conversation: &Conversation) -> bool {
    conversation.turn.as_ref().is_some_and(|turn| !turn.token.is_undelivered())
}

impl ClaimedConversations {
    /// Remembers a conversation that was written, if its turn is claimed.
    pub(super) fn note(&self, key: Key, mut claimed: Claimed) {
        if !is_claimed(&claimed.conversation.conversation) {
            return;
        }
        let size = |context: &ReplyContext| context.items.iter().map(WireSize::wire_size).sum::<usize>();
        claimed.context = claimed.context.filter(|context| size(context) <= MAX_TRANSCRIPT);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_CLAIMED {
            known.clear();
        }
        known.insert(key, claimed);
    }

    /// The conversation, once.
    pub(super) fn take(&self, key: &Key) -> Option<Claimed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    /// The context of the reply to a conversation that was written like this, once.
    pub(in super::super) fn take_context(
        &self,
        key: &Key,
        conversation: &Conversation,
    ) -> Option<ReplyContext> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let claimed = known.get_mut(key)?;
        if claimed.conversation.conversation != *conversation {
            return None;
        }
        claimed.context.take()
    }
}
