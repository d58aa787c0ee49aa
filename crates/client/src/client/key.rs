//! The key that a client sends, which may change while the client is in use.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use reqwest::{RequestBuilder, header::HeaderValue};

use super::setup::ApiKey;

/// Reads the key again, such as from a file that a rotation has replaced.
type ReadKey = dyn Fn() -> Option<ApiKey> + Send + Sync;

/// The current key, shared by all clones of a client.
#[derive(Clone)]
pub(super) struct KeySlot {
    current: Arc<RwLock<Option<HeaderValue>>>,
    read: Option<Arc<ReadKey>>,
}

impl KeySlot {
    pub(super) fn new(key: Option<&ApiKey>) -> Self {
        Self { current: Arc::new(RwLock::new(key.map(|key| key.0.clone()))), read: None }
    }

    /// Reads another key with this function when the server refuses the current one.
    pub(super) fn with_source(self, read: Arc<ReadKey>) -> Self {
        Self { read: Some(read), ..self }
    }

    pub(super) fn has_source(&self) -> bool {
        self.read.is_some()
    }

    pub(super) fn current(&self) -> Option<HeaderValue> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key to use instead of a refused one, if there is another.
    pub(super) fn instead_of(&self, refused: Option<&HeaderValue>) -> Option<HeaderValue> {
        let read = self.read.as_ref()?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Another call may have read the new key meanwhile.
        if current.as_ref() == refused
            && let Some(ApiKey(new)) = read()
        {
            *current = Some(new);
        }
        current.clone().filter(|current| Some(current) != refused)
    }
}

impl fmt::Debug for KeySlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeySlot")
    }
}

/// Adds a key to a request.
pub(super) fn with_key(request: RequestBuilder, key: Option<&HeaderValue>) -> RequestBuilder {
    match key {
        Some(key) => request.header("x-api-key", key),
        None => request,
    }
}
