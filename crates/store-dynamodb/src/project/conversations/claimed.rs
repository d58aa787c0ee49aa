//! The conversations whose turns this process has claimed.
//!
//! The next change of such a conversation is most likely the reply, decided from the state that the claim has just
//! written. So it need not be read again: if somebody else changed it meanwhile, the write fails on its revision, and
//! the change is decided again from what is stored.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{keys::Key, record::StoredConversation};

/// How many are remembered at most. Beyond that all are forgotten, and read again.
const MAX_CLAIMED: usize = 1_024;

#[derive(Default)]
pub(crate) struct ClaimedConversations(Mutex<HashMap<Key, StoredConversation>>);

impl ClaimedConversations {
    /// Remembers a conversation that was written with a claimed turn.
    pub(super) fn note(&self, key: Key, written: &StoredConversation) {
        let is_claimed = written.conversation.turn.as_ref().is_some_and(|turn| !turn.token.is_undelivered());
        if !is_claimed {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_CLAIMED {
            known.clear();
        }
        known.insert(key, written.clone());
    }

    /// The conversation, once.
    pub(super) fn take(&self, key: &Key) -> Option<StoredConversation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }
}
