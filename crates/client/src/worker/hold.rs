//! One conversation, from its start to its end.

use tokio::time::{Instant, sleep};

use super::{Agent, AgentError, Message, WorkerOptions};
use crate::{
    ConversationClient, Error,
    client::idempotency_key,
    resource::{Response, Role, Turn},
    retry::{RetryPolicy, pause},
};

/// How the work on one conversation ended.
pub(super) enum Ending {
    Held,
    Taken(Error),
    Lost(Error),
    Failed(AgentError),
}

/// Holds one conversation from its start to its end.
pub(super) async fn hold<A: Agent>(
    client: &ConversationClient,
    id: &str,
    agent: &A,
    options: WorkerOptions,
) -> Ending {
    let retry = RetryPolicy { budget: options.retry_budget };
    let idempotency_key = match idempotency_key() {
        Ok(idempotency_key) => idempotency_key,
        Err(error) => return Ending::Failed(error.into()),
    };
    let started =
        retry.call("starting a conversation", Error::is_transient, || client.start(&idempotency_key)).await;
    let attempt = match started {
        Ok(started) => started.attempt,
        Err(error) if is_refused(&error) => return Ending::Taken(error),
        Err(error) => return Ending::Failed(error.into()),
    };
    match converse(client, id, attempt, agent, options).await {
        Ok(()) => Ending::Held,
        Err(Interruption::Call(error)) if is_refused(&error) => Ending::Lost(error),
        Err(Interruption::Call(error)) => Ending::Failed(error.into()),
        Err(Interruption::Agent(error)) => Ending::Failed(error),
    }
}

/// Why a conversation was not held to its end.
enum Interruption {
    Call(Error),
    Agent(AgentError),
}

async fn converse<A: Agent>(
    client: &ConversationClient,
    id: &str,
    attempt: u32,
    agent: &A,
    options: WorkerOptions,
) -> Result<(), Interruption> {
    let retry = RetryPolicy { budget: options.retry_budget };
    let mut transcript: Vec<Message> = Vec::new();
    for turn in 0_u32.. {
        let idempotency_key = format!("{id}.{attempt}.{turn}");
        let says = transcript.last().map(|message| message.text.as_str());
        let turn = Turn { attempt, idempotency_key: &idempotency_key, says };
        let response = respond(client, &turn, options).await.map_err(Interruption::Call)?;
        if response.ended {
            return Ok(());
        }
        transcript.extend(
            response.output.iter().map(|message| Message { role: Role::Persona, text: message.text() }),
        );
        match agent.reply(&transcript).await.map_err(Interruption::Agent)? {
            Some(text) => transcript.push(Message { role: Role::Agent, text }),
            None => break,
        }
    }
    retry
        .call("ending a conversation", is_retryable, || client.end(attempt))
        .await
        .map_err(Interruption::Call)
}

/// Takes a turn. While the persona's model is slow, the call is repeated with the same key.
async fn respond(
    client: &ConversationClient,
    turn: &Turn<'_>,
    options: WorkerOptions,
) -> Result<Response, Error> {
    let retry = RetryPolicy { budget: options.retry_budget };
    let deadline = Instant::now() + options.reply_budget;
    loop {
        let is_worth_it = |error: &Error| is_retryable(error) && !is_pending(error);
        match retry.call("a turn", is_worth_it, || client.respond(turn)).await {
            Err(error) if is_pending(&error) && Instant::now() < deadline => {
                sleep(pause(0, error.retry_after())).await;
            }
            result => return result,
        }
    }
}

/// Whether the persona's reply is still being generated.
fn is_pending(error: &Error) -> bool {
    error.code() == Some("turn_pending")
}

/// Whether a retry of a call in a conversation may succeed. A turn in progress is most likely this
/// worker's own, whose response was lost.
fn is_retryable(error: &Error) -> bool {
    error.is_transient() || error.code() == Some("turn_in_progress")
}

/// Whether the server refused because the conversation is not, or no longer, this worker's.
fn is_refused(error: &Error) -> bool {
    matches!(error.status(), Some(400 | 404 | 409))
}
