//! Keeps requests from a provider that is down.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::CircuitConfig;
use crate::chat::ChatError;

/// A circuit breaker. It opens after a number of failures in a row. After a pause it lets one call through;
/// the result of that call closes it or opens it again.
pub(super) struct Circuit {
    config: CircuitConfig,
    state: Mutex<State>,
}

/// The state of a circuit.
#[derive(Default)]
struct State {
    /// The failures since the last success.
    failures: u32,
    /// The message of the last failure.
    cause: Box<str>,
    /// Until when nothing is sent; `None` if the circuit is closed.
    open_until: Option<Instant>,
    /// Whether a call is trying the provider again.
    probing: bool,
}

/// The health of the provider, according to one call.
pub(super) enum Health {
    /// It answers, even if it refuses the request.
    Up,
    /// It does not answer, or reports an internal error.
    Down(String),
    /// The call says nothing about it.
    Unknown,
}

/// A call that was let through. Dropping it without a result counts as [`Health::Unknown`].
pub(super) struct Call<'a> {
    circuit: &'a Circuit,
    is_probe: bool,
}

impl Circuit {
    pub(super) fn new(config: CircuitConfig) -> Self {
        Self { config, state: Mutex::default() }
    }

    /// Fails while nothing may be sent.
    pub(super) fn check(&self) -> Result<(), ChatError> {
        self.lock().refusal().map_or(Ok(()), Err)
    }

    /// Lets a call through, or fails.
    pub(super) fn admit(&self) -> Result<Call<'_>, ChatError> {
        let mut state = self.lock();
        if let Some(refusal) = state.refusal() {
            return Err(refusal);
        }
        let is_probe = state.open_until.is_some();
        state.probing = is_probe;
        Ok(Call { circuit: self, is_probe })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refusal(&self) -> Option<ChatError> {
        let until = self.open_until?;
        let pause = until.saturating_duration_since(Instant::now());
        (self.probing || !pause.is_zero()).then(|| ChatError::CircuitOpen {
            retry_after: pause,
            failures: self.failures,
            cause: self.cause.clone(),
        })
    }
}

impl Call<'_> {
    /// Records what the call says about the provider.
    pub(super) fn settle(self, health: Health) {
        let mut state = self.circuit.lock();
        match health {
            Health::Up => *state = State::default(),
            Health::Down(cause) => {
                let config = self.circuit.config;
                state.failures = state.failures.saturating_add(1);
                state.cause = cause.into();
                if self.is_probe || (state.open_until.is_none() && state.failures >= config.failures) {
                    state.open_until = Some(Instant::now() + config.pause);
                    tracing::warn!(failures = state.failures, cause = %state.cause, "provider considered down");
                }
            }
            Health::Unknown => {}
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.circuit.lock().probing = false;
        }
    }
}
