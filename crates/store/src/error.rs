//! The errors of a store, independent of HTTP.

use std::error::Error;

use onerun_auth::KeyChangeError;
use onerun_domain::Refusal;

/// The failure of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The id exists already.
    #[error("{what} is there already")]
    Duplicate {
        /// The kind of value, for the log.
        what: &'static str,
    },
    /// The disk is full, or a quota is reached.
    #[error("the disk is full")]
    Full(#[source] Box<dyn Error + Send + Sync>),
    /// The store cannot be reached or is too busy. It may work later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The position of a list is invalid, or belongs to another list.
    #[error("the list has no such position")]
    UnknownPosition,
    /// The position of a list is among rows that were archived.
    #[error("the rows at this position of the list are archived")]
    ArchivedPosition,
    /// A stored value cannot be read back.
    #[error("the stored {what} is corrupt: {reason}")]
    Corrupt {
        /// The kind of value.
        what: &'static str,
        /// The defect.
        reason: String,
    },
}

/// Why a key was not added or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The calling key is no longer allowed to do this.
    #[error(transparent)]
    Caller(#[from] onerun_auth::Refusal),
    /// The change is refused.
    #[error(transparent)]
    Refused(#[from] KeyChangeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The state did not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An error's message followed by those of its causes: one line for a log. The debug form is left
/// out, because it may contain the request.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        // Wrappers often repeat the message that they wrap.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}
