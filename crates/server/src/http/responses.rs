//! Bounds on responses that are being sent: their memory, and the time that a client may take to
//! read one.
//!
//! Hyper drops a response's bytes once the socket has accepted them. So the bytes own whatever must
//! end with the response.

use std::{future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep_until},
};

/// How long a client may take to read a response. A page of four megabytes needs half of it at one
/// megabit a second.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);

/// How many bytes of responses may wait for their sockets at once.
pub(crate) const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;

/// The largest response that is sent even if no memory is free: errors, health, and the outcome of
/// a revocation.
const ALWAYS_SENT: usize = 16 * 1024;

/// The memory for the responses of all connections.
#[derive(Clone)]
pub(crate) struct ResponseMemory(Arc<Semaphore>);

impl ResponseMemory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// Counts a body until its last byte is written. `None` if no memory is free for it.
    pub(super) fn hold(&self, body: Bytes) -> Option<Bytes> {
        if body.len() <= ALWAYS_SENT {
            return Some(body);
        }
        let size = u32::try_from(body.len()).ok()?;
        let permit = Arc::clone(&self.0).try_acquire_many_owned(size).ok()?;
        Some(Bytes::from_owner(Counted { body, _permit: permit }))
    }
}

struct Counted {
    body: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// The deadline of the response that a connection is sending. A connection sends one response at a time.
#[derive(Clone)]
pub(super) struct ResponseDeadline(Arc<watch::Sender<Option<Instant>>>);

impl ResponseDeadline {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Starts the deadline of a body. It ends when the last byte is written.
    pub(super) fn begin(&self, body: Bytes) -> Bytes {
        if body.is_empty() {
            return body;
        }
        let due = Instant::now() + RESPONSE_TIMEOUT;
        self.0.send_replace(Some(due));
        Bytes::from_owner(Timed { body, due, deadline: self.clone() })
    }

    /// Waits until a deadline has passed. Once `cut` is true, every deadline has.
    pub(super) async fn passed(&self, cut: &mut watch::Receiver<bool>) {
        let mut changes = self.0.subscribe();
        loop {
            let due = *changes.borrow_and_update();
            if due.is_some() && *cut.borrow_and_update() {
                return;
            }
            let passed = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                // The sender is in `self`, so this is always a change.
                _ = changes.changed() => {}
                Ok(()) = cut.changed() => {}
            }
        }
    }
}

struct Timed {
    body: Bytes,
    due: Instant,
    deadline: ResponseDeadline,
}

impl AsRef<[u8]> for Timed {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.deadline.0.send_if_modified(|due| due.take_if(|due| *due == self.due).is_some());
    }
}

#[cfg(test)]
mod tests;
