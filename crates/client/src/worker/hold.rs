//! One conversation, from its start to its end.

use std::{
    any::Any,
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::OnceLock,
    task::Poll,
    time::Duration,
};

use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{Agent, AgentError, AgentSession, ConversationInfo, Message, WorkerOptions};
use crate::{
    ConversationClient, Error,
    client::idempotency_key,
    resource::{Response, Role, Started, Turn},
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
    /// The length of the lease if the conversation is started already.
    pub(super) lease: Option<Duration>,
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
        if self.lease.is_none() {
            match self.start().await {
                Ok(started) => {
                    self.about.attempt = started.attempt;
                    self.lease = started.lease_seconds.map(Duration::from_secs);
                }
                Err(error) if is_refused(&error) => return Ending::Taken(error),
                Err(error) => return Ending::Failed(error.into()),
            }
        }
        attempt.get_or_init(|| self.about.attempt);
        match self.converse(agent).await {
            Ok(()) => Ending::Held,
            Err(Interruption::Call(error)) if is_refused(&error) => Ending::Lost(error),
            Err(Interruption::Call(error)) => Ending::Failed(error.into()),
            Err(Interruption::Agent(error)) => Ending::Failed(error),
        }
    }

    async fn start(&self) -> Result<Started, Error> {
        let idempotency_key = idempotency_key()?;
        let start = || self.client.start(&idempotency_key);
        self.retry().call("starting a conversation", |error| self.is_transient(error), start).await
    }

    async fn converse<A: Agent>(&self, agent: &A) -> Result<(), Interruption> {
        let (id, attempt) = (&self.about.conversation_id, self.about.attempt);
        // Earlier attempts failed, perhaps because the agent is down for a moment.
        sleep(self.options.poll_interval.saturating_mul(attempt.saturating_sub(1))).await;
        let mut session = self.while_held(agent.open(&self.about)).await?;
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
            let reply = self.while_held(session.reply(&transcript)).await?;
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

    /// Waits for the agent and renews the lease meanwhile. Once the server refuses that, the agent's work is given up.
    async fn while_held<T>(
        &self,
        work: impl Future<Output = Result<T, AgentError>>,
    ) -> Result<T, Interruption> {
        select! {
            done = catch_panic(work) => done.and_then(|done| done).map_err(Interruption::Agent),
            refusal = self.renew_lease() => Err(Interruption::Call(refusal)),
        }
    }

    /// Renews the lease again and again. Returns the server's refusal. A server that does not know renewals is not
    /// asked again.
    async fn renew_lease(&self) -> Error {
        let Some(lease) = self.lease else { return pending().await };
        let (interval, soon) = (lease / 3, lease / 12);
        let mut wait = interval;
        loop {
            sleep(wait).await;
            wait = match timeout(interval, self.client.renew(self.about.attempt)).await {
                Ok(Ok(_)) => interval,
                Ok(Err(error)) if is_unknown_route(&error) => pending().await,
                Ok(Err(error)) if is_refused(&error) => return error,
                Ok(Err(error)) => {
                    let conversation = &self.about.conversation_id;
                    tracing::debug!(conversation, %error, "the lease was not renewed; trying again");
                    soon
                }
                Err(_) => soon,
            };
        }
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

/// Turns a panic into an error with the panic's message.
async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, AgentError> {
    let mut work = pin!(work);
    let poll = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        // It is not polled again.
        Err(panic) => Poll::Ready(Err(panic_message(panic.as_ref()).into())),
    });
    poll.await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    match text {
        Some(text) => format!("the agent panicked: {text}"),
        None => "the agent panicked".to_owned(),
    }
}

/// Whether the server does not know the route: it is older, or another implementation.
pub(super) fn is_unknown_route(error: &Error) -> bool {
    const RESOURCES: [&str; 4] =
        ["agent_not_found", "conversation_not_found", "project_not_found", "simulation_not_found"];
    match error.status() {
        Some(405) => true,
        Some(404) => !error.code().is_some_and(|code| RESOURCES.contains(&code)),
        _ => false,
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
