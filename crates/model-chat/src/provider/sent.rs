//! Counts requests.

use std::sync::{Mutex, PoisonError};

/// The requests that a provider has received for one question. It is complete at any time, also if the
/// future that sends them is dropped.
#[derive(Debug, Default)]
pub struct Sent(Mutex<Counts>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    answered: u32,
    is_waiting: bool,
}

impl Sent {
    /// The number of requests, with the one in flight.
    pub fn count(&self) -> u32 {
        let counts = self.counts();
        counts.answered.saturating_add(counts.is_waiting.into())
    }

    /// Whether a request is in flight. If its future was dropped, its cost is unknown.
    pub fn is_waiting(&self) -> bool {
        self.counts().is_waiting
    }

    pub(super) fn begin(&self) {
        self.change(|counts| counts.is_waiting = true);
    }

    /// Ends the request in flight. Without a connection, the provider has not received it.
    pub(super) fn end(&self, was_received: bool) {
        self.change(|counts| {
            counts.is_waiting = false;
            counts.answered = counts.answered.saturating_add(was_received.into());
        });
    }

    fn counts(&self) -> Counts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
