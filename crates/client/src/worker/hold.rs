//! One conversation, from its start to its end.

use std::{sync::OnceLock, time::Duration};

use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{Agent, AgentError, AgentSession, ConversationInfo, Message, WorkerOptions};
use crate::{
    ConversationClient, Error,
    client::idempotency_key,
    resource::{Response, Role, Turn},
    retry::{RetryPolicy, pause},
};

/// How long reporting a failure may take.
const REPORT_TIME: Duration = Duration::from_secs(3);

/// How the work on one conversation ended.
pub(super) enum Ending {
    Held,
    Taken(Error),
    Lost(Error),
    Failed(AgentError),
}

/// A conversation that is held.
pub(super) struct Hold {
    pub(super) client: ConversationClient,
    pub(super) about: ConversationInfo,
    pub(super) options: WorkerOptions,
    /// Becomes true when the conversation must be abandoned.
    pub(super) abandon: watch::Receiver<bool>,
}

/// Why a conversation was not held to its end.
enum Interruption {
    Call(Error),
    Agent(AgentError),
}

impl Hold {
    /// Holds the conversation from its start to its end.
    pub(super) async fn run<A: Agent>(mut self, agent: &A) -> Ending {
        let attempt = OnceLock::new();
        let mut abandon = self.abandon.clone();
        let ending = select! {
            ending = self.start_and_converse(agent, &attempt) => ending,
            // The sender lives as long as the worker.
            _ = abandon.wait_for(|abandon| *abandon) => Ending::Failed("the worker stopped".into()),
        };
        if let (Ending::Failed(error), Some(attempt)) = (&ending, attempt.get()) {
            self.report_failure(*attempt, error).await;
        }
        ending
    }

    /// Reports why the attempt ended, so that the next one need not wait for the end of the lease. Without the
    /// report it waits, as with a server that has no such route.
    async fn report_failure(&self, attempt: u32, reason: &AgentError) {
        let reported = timeout(REPORT_TIME, self.client.fail(attempt, &reason.to_string())).await;
        if let Ok(Err(error)) = reported {
            let conversation = &self.about.conversation_id;
            tracing::debug!(conversation, %error, "the failure was not reported; the lease will expire");
        }
    }

    async fn start_and_converse<A: Agent>(&mut self, agent: &A, attempt: &OnceLock<u32>) -> Ending {
        let idempotency_key = match idempotency_key() {
            Ok(idempotency_key) => idempotency_key,
            Err(error) => return Ending::Failed(error.into()),
        };
        let start = || self.client.start(&idempotency_key);
        let started = self.retry().call("starting a conversation", |error| self.is_transient(error), start);
        self.about.attempt = match started.await {
            Ok(started) => started.attempt,
            Err(error) if is_refused(&error) => return Ending::Taken(error),
            Err(error) => return Ending::Failed(error.into()),
        };
        attempt.get_or_init(|| self.about.attempt);
        match self.converse(agent).await {
            Ok(()) => Ending::Held,
            Err(Interruption::Call(error)) if is_refused(&error) => Ending::Lost(error),
            Err(Interruption::Call(error)) => Ending::Failed(error.into()),
            Err(Interruption::Agent(error)) => Ending::Failed(error),
        }
    }

    async fn converse<A: Agent>(&self, agent: &A) -> Result<(), Interruption> {
        let (id, attempt) = (&self.about.conversation_id, self.about.attempt);
        let mut session = agent.open(&self.about).await.map_err(Interruption::Agent)?;
        let mut transcript: Vec<Message> = Vec::new();
        let mut is_last = false;
        for turn in 0_u32.. {
            let idempotency_key = format!("{id}.{attempt}.{turn}");
            let says = transcript.last().map(|message| message.text.as_str());
            let turn = Turn { attempt, idempotency_key: &idempotency_key, says };
            let response = self.respond(&turn).await.map_err(Interruption::Call)?;
            if response.ended {
                session.close().await;
                return Ok(());
            }
            if is_last {
                break;
            }
            transcript.extend(
                response.output.iter().map(|message| Message { role: Role::Persona, text: message.text() }),
            );
            let reply = session.reply(&transcript).await.map_err(Interruption::Agent)?;
            match reply.text {
                Some(text) => transcript.push(Message { role: Role::Agent, text }),
                None => break,
            }
            is_last = reply.end;
        }
        let end = || self.client.end(attempt);
        let ended = self.retry().call("ending a conversation", |error| self.is_retryable(error), end).await;
        session.close().await;
        ended.map_err(Interruption::Call)
    }

    /// Takes a turn. While the persona's model is slow, the call is repeated with the same key.
    async fn respond(&self, turn: &Turn<'_>) -> Result<Response, Error> {
        let deadline = Instant::now() + self.options.reply_budget;
        loop {
            let is_worth_it = |error: &Error| self.is_retryable(error) && !is_pending(error);
            match self.retry().call("a turn", is_worth_it, || self.client.respond(turn)).await {
                Err(error) if is_pending(&error) && Instant::now() < deadline => {
                    sleep(pause(0, error.retry_after())).await;
                }
                result => return result,
            }
        }
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { budget: self.options.retry_budget }
    }

    /// Whether the same call may succeed later.
    fn is_transient(&self, error: &Error) -> bool {
        // A rotated key may take a while to arrive.
        error.is_transient() || (error.status() == Some(401) && self.client.has_key_source())
    }

    /// Whether a retry of a call in a conversation may succeed. A turn in progress is most likely this
    /// worker's own, whose response was lost.
    fn is_retryable(&self, error: &Error) -> bool {
        self.is_transient(error) || error.code() == Some("turn_in_progress")
    }
}

/// Whether the persona's reply is still being generated.
fn is_pending(error: &Error) -> bool {
    error.code() == Some("turn_pending")
}

/// Whether the server refused because the conversation is not, or no longer, this worker's.
fn is_refused(error: &Error) -> bool {
    matches!(error.status(), Some(400 | 404 | 409))
}
