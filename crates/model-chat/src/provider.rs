//! One provider: a wire and a transport, with limits, a circuit, and what is known about each model.

mod circuit;
mod limiter;
mod sent;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use onerun_domain::Clock;
use onerun_transport::{Transport, TransportError};
use serde::de::IgnoredAny;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep, sleep_until, timeout},
};

pub use self::sent::Sent;
use self::{
    circuit::{Circuit, Health},
    limiter::Limiter,
};
use crate::{
    chat::{ChatAnswer, ChatError, ChatRequest, Detail, Finish},
    dialect::{Dialect, Parameter},
    json::json_text,
    wire::Wire,
};

/// The pause before a connection is tried again.
const RECONNECT: Duration = Duration::from_millis(250);

/// A call is not worth sending with less time than this.
const SHORTEST_CALL: Duration = Duration::from_millis(100);

/// A time-out of a call that had less time than this says nothing about the provider's health.
const FAIR_CALL: Duration = Duration::from_secs(5);

/// The maximum number of requests that find out which parameters a model supports.
const MAX_NEGOTIATION: usize = 6;

/// The longest pause after a provider named a time to try again. Some name the next day, but quotas change.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The maximum number of models that are remembered. Names come from the configuration.
const MAX_MODELS: usize = 256;

/// The limits of one provider in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of calls at the same time; at least 1.
    pub concurrency: usize,
    /// The maximum number of calls per minute.
    pub per_minute: Option<NonZeroU32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 16, per_minute: None }
    }
}

/// When a provider is considered down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitConfig {
    /// The number of failures in a row that open the circuit; at least 1.
    pub failures: u32,
    /// How long nothing is sent, before one call tries the provider again.
    pub pause: Duration,
}

impl Default for CircuitConfig {
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(30) }
    }
}

/// A provider of chat models.
pub struct Provider {
    wire: Wire,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    limiter: Limiter,
    circuit: Circuit,
    models: Mutex<HashMap<String, ModelState>>,
}

/// The state of a model.
#[derive(Clone, Copy)]
struct ModelState {
    dialect: Dialect,
    /// Until when the provider wants no requests.
    paused_until: Option<Instant>,
}

impl Provider {
    /// A provider without any state. The clock dates signatures.
    pub fn new(
        wire: Wire,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        circuit: CircuitConfig,
    ) -> Self {
        Self {
            wire,
            transport,
            clock,
            limiter: Limiter::new(limits),
            circuit: Circuit::new(circuit),
            models: Mutex::default(),
        }
    }

    /// Asks a model, and waits at most until the deadline, including waits for the provider's limits.
    ///
    /// A parameter that the model refuses is left out, now and in later requests. A call is repeated once
    /// if it certainly was not billed: without a connection, or if the provider names a time to try again
    /// that leaves room before the deadline. `sent` counts the requests that the provider receives.
    pub async fn send(
        &self,
        model: &str,
        request: &ChatRequest,
        deadline: Instant,
        sent: &Sent,
    ) -> Result<ChatAnswer, ChatError> {
        let error = match self.negotiate(model, request, deadline, sent).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let wait = match &error {
            ChatError::Connect(_) => RECONNECT,
            ChatError::RateLimited { retry_after: Some(wait), .. }
            | ChatError::Overloaded { retry_after: Some(wait), .. } => *wait,
            _ => return Err(error),
        };
        if deadline.saturating_duration_since(Instant::now()) < wait + SHORTEST_CALL {
            return Err(error);
        }
        sleep(wait).await;
        self.negotiate(model, request, deadline, sent).await
    }

    /// Sends a request, and again without each parameter that the model refuses. The provider does not bill
    /// requests that it refuses.
    async fn negotiate(
        &self,
        model: &str,
        request: &ChatRequest,
        deadline: Instant,
        sent: &Sent,
    ) -> Result<ChatAnswer, ChatError> {
        let mut last = Detail::new("", []);
        for _ in 0..MAX_NEGOTIATION {
            let dialect = self.state(model).dialect;
            let (parameter, detail) = match self.attempt(model, request, dialect, deadline, sent).await {
                Err(ChatError::Unsupported { parameter, detail }) => (parameter, detail),
                Ok(answer) => {
                    self.notice_ignored_schema(model, request, dialect, &answer);
                    return Ok(answer);
                }
                Err(ChatError::NotRecorded(detail)) => {
                    return self.replay(model, request, deadline, detail, sent).await;
                }
                Err(error) => return Err(error),
            };
            let next = dialect.without(parameter, self.wire.fallback());
            let Some(next) = next.filter(|_| is_used(parameter, request)) else {
                return Err(ChatError::Configuration(detail));
            };
            tracing::info!(model, ?parameter, detail = detail.as_str(), "parameter of a model left out");
            self.learn(model, dialect, next);
            last = detail;
        }
        Err(ChatError::Configuration(last))
    }

    /// From now on conveys the schema in another way, if the answer is not JSON. Some servers
    /// ignore parameters that they do not know, so the model has never seen the schema.
    fn notice_ignored_schema(
        &self,
        model: &str,
        request: &ChatRequest,
        dialect: Dialect,
        answer: &ChatAnswer,
    ) {
        let Some(text) = answer.text.as_deref().filter(|_| answer.finish == Finish::Complete) else { return };
        if request.schema.is_none() || serde_json::from_str::<IgnoredAny>(json_text(text)).is_ok() {
            return;
        }
        if let Some(next) = dialect.without(Parameter::Structure, self.wire.fallback()) {
            tracing::info!(model, structure = ?dialect.structure, "a model ignored the schema of its answer");
            self.learn(model, dialect, next);
        }
    }

    /// Replaces a dialect. If another call has replaced it in the meantime, that is tried first.
    fn learn(&self, model: &str, dialect: Dialect, next: Dialect) {
        self.change(model, |state| {
            if state.dialect == dialect {
                state.dialect = next;
            }
        });
    }

    /// Looks for a request in a recording under every other dialect. When it was recorded, another request
    /// may have found out what the model supports, because requests run in any order.
    async fn replay(
        &self,
        model: &str,
        request: &ChatRequest,
        deadline: Instant,
        missing: Detail,
        sent: &Sent,
    ) -> Result<ChatAnswer, ChatError> {
        for dialect in Dialect::all(self.wire.fallback()) {
            match self.attempt(model, request, dialect, deadline, sent).await {
                Err(ChatError::NotRecorded(_) | ChatError::Unsupported { .. }) => {}
                other => return other,
            }
        }
        tracing::warn!(model, detail = missing.as_str(), "request is not in the recording");
        Err(ChatError::NotRecorded(missing))
    }

    /// Sends one request.
    async fn attempt(
        &self,
        model: &str,
        request: &ChatRequest,
        dialect: Dialect,
        deadline: Instant,
        sent: &Sent,
    ) -> Result<ChatAnswer, ChatError> {
        self.circuit.check()?;
        let _permit = self.enter(model, deadline).await?;
        let time = deadline.saturating_duration_since(Instant::now());
        if time < SHORTEST_CALL {
            return Err(ChatError::Busy { retry_after: None });
        }
        let http = self.wire.request(model, request, dialect, self.clock.now())?;
        let call = self.circuit.admit()?;
        sent.begin();
        let (result, health) = self.call(http, time).await;
        sent.end(result.as_ref().err().is_none_or(ChatError::was_sent));
        call.settle(health);
        match &result {
            // `negotiate` and `replay` report these errors.
            Ok(_) | Err(ChatError::Unsupported { .. } | ChatError::NotRecorded(_)) => {}
            Err(error) => tracing::warn!(model, %error, detail = error.detail(), "call to a model failed"),
        }
        if let Err(
            ChatError::RateLimited { retry_after: Some(wait), .. }
            | ChatError::Overloaded { retry_after: Some(wait), .. },
        ) = &result
        {
            let until = Instant::now() + (*wait).min(LONGEST_PAUSE);
            self.change(model, |state| state.paused_until = state.paused_until.max(Some(until)));
        }
        result
    }

    /// Sends an HTTP request and reads the response.
    async fn call(&self, http: Request<Bytes>, time: Duration) -> (Result<ChatAnswer, ChatError>, Health) {
        // A transport that ignores its time-out must not delay the caller.
        let sent = timeout(time, self.transport.send(http, time)).await;
        match sent.unwrap_or(Err(TransportError::Timeout)) {
            Ok(response) => {
                let result = self.wire.answer(&response, self.clock.now());
                let health = match &result {
                    // The provider is overloaded. The pause that it asked for lets it recover.
                    Err(ChatError::Overloaded { retry_after: Some(_), .. }) => Health::Unknown,
                    Err(error @ (ChatError::Overloaded { .. } | ChatError::Failed { status: 500.., .. })) => {
                        Health::Down(error.to_string())
                    }
                    _ => Health::Up,
                };
                (result, health)
            }
            Err(error) => {
                let error = ChatError::from_transport(error, self.wire.secrets());
                let health = unreachable(&error, time);
                (Err(error), health)
            }
        }
    }

    /// Waits until the provider wants requests for this model, and for room within its limits. A call that
    /// waits for the former has no permit, since other models may go ahead.
    async fn enter(&self, model: &str, deadline: Instant) -> Result<SemaphorePermit<'_>, ChatError> {
        let mut permit = None;
        loop {
            let until = self.state(model).paused_until.filter(|until| *until > Instant::now());
            match (until, permit) {
                (None, Some(permit)) => return Ok(permit),
                (None, None) => permit = Some(self.limiter.enter(deadline).await?),
                (Some(until), _) if until + SHORTEST_CALL > deadline => {
                    return Err(ChatError::Busy { retry_after: Some(until - Instant::now()) });
                }
                (Some(until), given_back) => {
                    drop(given_back);
                    sleep_until(until).await;
                    permit = None;
                }
            }
        }
    }

    fn state(&self, model: &str) -> ModelState {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.get(model).copied().unwrap_or_else(|| self.unknown())
    }

    fn change(&self, model: &str, change: impl FnOnce(&mut ModelState)) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.len() >= MAX_MODELS && !models.contains_key(model) {
            models.clear();
        }
        change(models.entry(model.to_owned()).or_insert_with(|| self.unknown()));
    }

    fn unknown(&self) -> ModelState {
        ModelState { dialect: self.wire.dialect(), paused_until: None }
    }
}

/// Whether a request has a parameter at all.
fn is_used(parameter: Parameter, request: &ChatRequest) -> bool {
    match parameter {
        Parameter::Structure => request.schema.is_some(),
        Parameter::Temperature => request.temperature.is_some(),
        Parameter::Seed => request.seed.is_some(),
        Parameter::Limit => true,
    }
}

/// The health of a provider from which no response arrived.
fn unreachable(error: &ChatError, time: Duration) -> Health {
    match error {
        ChatError::Timeout if time < FAIR_CALL => Health::Unknown,
        ChatError::NotRecorded(_) => Health::Unknown,
        error => Health::Down(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
